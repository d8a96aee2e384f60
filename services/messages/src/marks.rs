//! Receipts as marks: how far each user has received and seen a channel. Everything that waits is
//! merged into one statement. Marks only move forward, and how far they are is published.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    io,
    time::Duration,
};

use fail::fail_point;
use natter_bus::{Bus, batch_span};
use natter_pg::Writer;
use natter_process::Process;
use natter_protocol::{
    FriendshipId, MessageId, UserId,
    call::{HowFar, Mark, MarkReply, Refusal},
    event::{Event, MarkEvent},
    subject,
};
use sqlx::PgConnection;
use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};
use tracing::{Instrument, Span};
use uuid::Uuid;

use crate::{
    channels::Channels,
    error::Error,
    store::{self, KnownMark, MovedMark, Newest, Store},
};

const QUEUE: usize = 10_000;
const MAX_BATCH: usize = 1_000;
/// For how long marks are gathered: nobody waits for a receipt as for a message.
const GATHER: Duration = Duration::from_millis(10);
/// The longest a batch may take, whatever the database does.
const BATCH_TIMEOUT: Duration = Duration::from_secs(6);

#[derive(Clone)]
pub struct Marker {
    queue: mpsc::Sender<Incoming>,
    store: Store,
    channels: Channels,
    bus: Bus,
}

/// A mark to store. It was checked, or a gateway has delivered its message to its user.
struct Incoming {
    channel: FriendshipId,
    mark: Mark,
    reply: oneshot::Sender<MarkReply>,
    /// The span of the request.
    span: Span,
}

impl Marker {
    pub fn start(store: &Store, channels: &Channels, bus: &Bus, process: &Process) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let worker = Worker {
            db: Writer::new(store.pool(), &[]),
            store: store.clone(),
            bus: bus.clone(),
            untold: BTreeSet::new(),
        };
        process.tasks.spawn(worker.run(waiting));
        Self {
            queue,
            store: store.clone(),
            channels: channels.clone(),
            bus: bus.clone(),
        }
    }

    /// Publishes again how far the members of some channels are.
    pub async fn tell(&self, channels: &[FriendshipId]) -> sqlx::Result<()> {
        tell(&self.store, &self.bus, channels).await.map(drop)
    }

    /// Moves a mark; the answer comes once it is committed.
    pub async fn mark(&self, channel: FriendshipId, mark: Mark) -> MarkReply {
        // What a gateway has delivered is there, and its reader a member.
        if !mark.delivered
            && let Err(refusal) = self.check(channel, &mark).await
        {
            return MarkReply::Refused(refusal);
        }
        let (reply, answer) = oneshot::channel();
        let unavailable = MarkReply::Refused(Refusal::Unavailable);
        match self.queue.try_send(Incoming {
            channel,
            mark,
            reply,
            span: Span::current(),
        }) {
            Ok(()) => answer.await.unwrap_or(unavailable),
            Err(_) => unavailable,
        }
    }

    async fn check(&self, id: FriendshipId, mark: &Mark) -> Result<(), Refusal> {
        match self.channels.of_member(id, mark.user).await {
            Ok(_) => {}
            Err(Error::FriendshipNotFound) => return Err(Refusal::NotAMember),
            Err(_) => return Err(Refusal::Unavailable),
        }
        match self.store.has_message(id, mark.message).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Refusal::MessageNotFound),
            Err(_) => Err(Refusal::Unavailable),
        }
    }
}

impl Newest {
    fn add(&mut self, mark: &Mark) {
        let later = |known: Option<MessageId>| match known {
            Some(known) if known.seq() >= mark.message.seq() => Some(known),
            _ => Some(mark.message),
        };
        // Seen implies received.
        self.received = later(self.received);
        if mark.seen {
            self.seen = later(self.seen);
        }
    }
}

type Key = (FriendshipId, UserId);

struct Worker {
    db: Writer,
    store: Store,
    bus: Bus,
    /// Channels with marks that are stored and could not be told.
    untold: BTreeSet<FriendshipId>,
}

impl Worker {
    async fn run(mut self, mut waiting: mpsc::Receiver<Incoming>) {
        self.db.connect_early(BATCH_TIMEOUT).await;
        let mut missed = self.bus.missed();
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                received = waiting.recv_many(&mut batch, MAX_BATCH) => if received == 0 {
                    return;
                },
                Ok(()) = missed.changed() => {
                    self.tell_untold().await;
                    continue;
                }
            }
            sleep(GATHER).await;
            while batch.len() < MAX_BATCH
                && let Ok(incoming) = waiting.try_recv()
            {
                batch.push(incoming);
            }
            let mut newest: HashMap<Key, Newest> = HashMap::new();
            for Incoming { channel, mark, .. } in &batch {
                newest.entry((*channel, mark.user)).or_default().add(mark);
            }
            let span = batch_span(batch.iter().map(|incoming| &incoming.span));
            let stored = self.store(&newest).instrument(span.clone()).await;
            let reply = match &stored {
                Ok(_) => MarkReply::Done,
                Err(error) => {
                    tracing::warn!(%error, "marks wait");
                    MarkReply::Refused(Refusal::Unavailable)
                }
            };
            for incoming in batch.drain(..) {
                // The caller may be gone; a mark that was stored stays.
                let _ = incoming.reply.send(reply.clone());
            }
            self.publish_all(stored.unwrap_or_default(), &newest)
                .instrument(span)
                .await;
        }
    }

    /// Stores the marks and returns how far they are. Also returns marks that did not move: the
    /// replica that stored them may have stopped before publishing them.
    async fn store(&mut self, newest: &HashMap<Key, Newest>) -> sqlx::Result<Vec<MovedMark>> {
        let moves: BTreeMap<Key, Newest> =
            newest.iter().map(|(key, newest)| (*key, *newest)).collect();
        let mut marks = self
            .db
            .run(BATCH_TIMEOUT, async |db: &mut PgConnection| {
                store::move_marks(db, &moves).await
            })
            .await?;
        fail_point!("marks-stored", |_| std::process::abort());
        let moved: HashSet<Key> = marks.iter().map(|mark| mark.key()).collect();
        let others: Vec<Key> = moves
            .into_keys()
            .filter(|key| !moved.contains(key))
            .collect();
        if !others.is_empty() {
            let others = timeout(BATCH_TIMEOUT, self.store.marks_of(&others)).await;
            marks.extend(others.map_err(|_| sqlx::Error::Io(io::ErrorKind::TimedOut.into()))??);
        }
        Ok(marks)
    }

    /// After the first that cannot be published the others wait too: each would take as long to fail.
    async fn publish_all(&mut self, marks: Vec<MovedMark>, newest: &HashMap<Key, Newest>) {
        let mut is_told = true;
        for mark in marks {
            let newest = newest.get(&mark.key()).copied().unwrap_or_default();
            is_told = is_told && publish(&self.bus, mark.key(), mark.seqs(), newest).await;
            if !is_told {
                let (channel, _) = mark.key();
                self.untold.insert(channel);
            }
        }
        if is_told {
            self.tell_untold().await;
        }
    }

    async fn tell_untold(&mut self) {
        if self.untold.is_empty() {
            return;
        }
        let channels: Vec<FriendshipId> = self.untold.iter().copied().collect();
        let told = timeout(BATCH_TIMEOUT, tell(&self.store, &self.bus, &channels)).await;
        if matches!(told, Ok(Ok(true))) {
            self.untold.clear();
        }
    }
}

/// Publishes how far the members of some channels are, up to the first mark that cannot be
/// published. Returns whether all were.
async fn tell(store: &Store, bus: &Bus, channels: &[FriendshipId]) -> sqlx::Result<bool> {
    let channels: Vec<Uuid> = channels.iter().map(|channel| channel.0).collect();
    for known in store.known_marks(&channels).await? {
        let KnownMark {
            mark,
            received,
            seen,
        } = known;
        let newest = Newest {
            received: received.map(MessageId),
            seen: seen.map(MessageId),
        };
        if !publish(bus, mark.key(), mark.seqs(), newest).await {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Publishes how far a user is in a channel, in one event or two. Returns whether that succeeded.
async fn publish(bus: &Bus, (channel, user): Key, mark: HowFar, newest: Newest) -> bool {
    let HowFar {
        received_seq,
        seen_seq,
    } = mark;
    let Newest { received, seen } = newest;
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
        let told = bus.publish(subject::chat_mark(channel), &event).await;
        if let Err(error) = told {
            // The event is not kept: Postgres has the mark.
            tracing::debug!(%error, "a mark was not told");
            return false;
        }
    }
    true
}
