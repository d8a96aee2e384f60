//! Receipts as marks: how far each user has received and seen a channel. Everything that waits is
//! merged into one statement; marks only move forward, and the ones that moved are told.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use futures_util::future::join_all;
use natter_bus::Bus;
use natter_protocol::{
    FriendshipId, MessageId, UserId,
    call::{Mark, MarkReply, Refusal},
    event::{Event, MarkEvent},
    subject,
};
use natter_service::Process;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{
    channel::{Channel, Channels},
    error::Error,
    store::{NewMark, Store},
};

const QUEUE: usize = 10_000;
const MAX_BATCH: usize = 500;
/// The longest a batch may take, whatever the database does.
const BATCH_TIMEOUT: Duration = Duration::from_secs(6);

#[derive(Clone)]
pub struct Marker(mpsc::Sender<Incoming>);

struct Incoming {
    channel: FriendshipId,
    mark: Mark,
    reply: oneshot::Sender<MarkReply>,
}

impl Marker {
    pub fn start(store: &Store, channels: &Channels, bus: &Bus, process: &Process) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let worker = Worker {
            store: store.clone(),
            channels: channels.clone(),
            bus: bus.clone(),
        };
        process.tasks.spawn(worker.run(waiting));
        Self(queue)
    }

    /// Moves a mark; the answer comes once it is committed.
    pub async fn mark(&self, channel: FriendshipId, mark: Mark) -> MarkReply {
        let (reply, answer) = oneshot::channel();
        let unavailable = MarkReply::Refused(Refusal::Unavailable);
        match self.0.try_send(Incoming {
            channel,
            mark,
            reply,
        }) {
            Ok(()) => answer.await.unwrap_or(unavailable),
            Err(_) => unavailable,
        }
    }
}

/// The newest messages that a batch marks for one user.
#[derive(Clone, Copy, Default)]
struct Newest {
    received: Option<MessageId>,
    seen: Option<MessageId>,
}

impl Newest {
    fn add(&mut self, mark: &Mark) {
        let later = |known: Option<MessageId>| match known {
            Some(known) if known.seq() >= mark.message.seq() => Some(known),
            _ => Some(mark.message),
        };
        self.received = later(self.received);
        if mark.seen {
            self.seen = later(self.seen);
        }
    }
}

struct Worker {
    store: Store,
    channels: Channels,
    bus: Bus,
}

impl Worker {
    async fn run(self, mut waiting: mpsc::Receiver<Incoming>) {
        let mut batch = Vec::new();
        while waiting.recv_many(&mut batch, MAX_BATCH).await > 0 {
            let marks: Vec<(FriendshipId, &Mark)> =
                batch.iter().map(|one| (one.channel, &one.mark)).collect();
            let applied = timeout(BATCH_TIMEOUT, self.apply(&marks)).await;
            let replies = match applied.unwrap_or(Err(Error::Busy)) {
                Ok(replies) => replies,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "marks wait");
                    vec![MarkReply::Refused(Refusal::Unavailable); batch.len()]
                }
            };
            for (incoming, reply) in batch.drain(..).zip(replies) {
                // Who asked may be gone; the mark stays.
                let _ = incoming.reply.send(reply);
            }
        }
    }

    async fn apply(&self, batch: &[(FriendshipId, &Mark)]) -> Result<Vec<MarkReply>, Error> {
        let asked: Vec<(FriendshipId, MessageId)> = batch
            .iter()
            .map(|(channel, mark)| (*channel, mark.message))
            .collect();
        let channels = self.channels_of(batch).await?;
        let there = self.store.markable(&asked).await?;
        let mut moves: BTreeMap<(FriendshipId, UserId), NewMark> = BTreeMap::new();
        let mut newest: HashMap<(FriendshipId, UserId), Newest> = HashMap::new();
        let mut replies = Vec::with_capacity(batch.len());
        for (id, mark) in batch {
            let channel = channels.get(id).copied();
            let refusal = match channel.unwrap_or(Err(Refusal::NotAMember)) {
                Ok(channel) if !channel.has(mark.user) => Some(Refusal::NotAMember),
                Ok(_) if !there.contains(&(*id, mark.message)) => Some(Refusal::MessageNotFound),
                Ok(_) => None,
                Err(refusal) => Some(refusal),
            };
            if let Some(refusal) = refusal {
                replies.push(MarkReply::Refused(refusal));
                continue;
            }
            let seq = mark.message.seq();
            let key = (*id, mark.user);
            let moved = moves.entry(key).or_insert(NewMark {
                received_seq: 0,
                seen_seq: 0,
            });
            // Seen implies received.
            moved.received_seq = moved.received_seq.max(seq);
            if mark.seen {
                moved.seen_seq = moved.seen_seq.max(seq);
            }
            newest.entry(key).or_default().add(mark);
            replies.push(MarkReply::Done);
        }
        if !moves.is_empty() {
            self.store_and_tell(&moves, &newest).await?;
        }
        Ok(replies)
    }

    async fn store_and_tell(
        &self,
        moves: &BTreeMap<(FriendshipId, UserId), NewMark>,
        newest: &HashMap<(FriendshipId, UserId), Newest>,
    ) -> Result<(), Error> {
        for moved in self.store.move_marks(moves).await? {
            let (channel, user) = (FriendshipId(moved.friendship_id), UserId(moved.user_id));
            let (received_seq, seen_seq) = (
                moved.received_seq.unsigned_abs(),
                moved.seen_seq.unsigned_abs(),
            );
            let Newest { received, seen } =
                newest.get(&(channel, user)).copied().unwrap_or_default();
            // One event for both where they are the same message, else one each.
            let received = received.filter(|id| id.seq() == received_seq && received != seen);
            let seen = seen.filter(|id| id.seq() == seen_seq);
            for message in received.into_iter().chain(seen) {
                let event = Event::new(MarkEvent {
                    channel,
                    user,
                    received_seq,
                    seen_seq,
                    message,
                });
                let told = self.bus.publish(subject::chat_mark(channel), &event).await;
                if let Err(error) = told {
                    // Not kept: Postgres has the mark, and the next one tells it.
                    tracing::debug!(%error, "a mark was not told");
                }
            }
        }
        Ok(())
    }

    /// The channels of a batch. One that is neither known nor can be asked for is an error of its
    /// own.
    async fn channels_of(
        &self,
        batch: &[(FriendshipId, &Mark)],
    ) -> Result<HashMap<FriendshipId, Result<Channel, Refusal>>, Error> {
        let ids: Vec<_> = batch.iter().map(|(channel, _)| channel.0).collect();
        let known = self.store.channels(&ids).await?;
        let unknown: HashSet<FriendshipId> = batch
            .iter()
            .map(|(channel, _)| *channel)
            .filter(|channel| !known.contains_key(channel))
            .collect();
        let asked = unknown.into_iter().map(|id| async move {
            let found = self.channels.refresh(id).await;
            let found = found.map_err(|_| Refusal::Unavailable);
            (id, found.and_then(|found| found.ok_or(Refusal::NotAMember)))
        });
        let asked = join_all(asked).await;
        let known = known.into_iter().map(|(id, channel)| (id, Ok(channel)));
        Ok(known.chain(asked).collect())
    }
}
