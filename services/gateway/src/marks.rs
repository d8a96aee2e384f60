//! Marks on what this gateway has delivered: those of clients, and those that it sets itself, since
//! what was written to a connection that confirms nothing counts as received.
//!
//! They are gathered for a moment and merged by channel and user, and sent again while the messages
//! service does not answer. What is not told when the process stops is not lost for the reader: the
//! next message's mark, or reading the history, says it too.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use natter_bus::{Ask, Bus, request_span};
use natter_process::Process;
use natter_protocol::{
    FriendshipId, MessageId, UserId,
    call::{Mark, MarkReply, Refusal},
    subject,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};
use tracing::Instrument;

use crate::registry::Registry;

/// How long marks are gathered before they are sent.
const TICK: Duration = Duration::from_millis(50);
/// Requests on their way.
const IN_FLIGHT: usize = 256;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// The pause before marks that could not be stored are sent again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// The newest marks by channel and user: one entry for each, however many marks wait.
type Waiting = HashMap<(FriendshipId, UserId), Newest>;

#[derive(Clone, Copy, Default)]
struct Newest {
    received: Option<MessageId>,
    seen: Option<MessageId>,
}

impl Newest {
    fn add(&mut self, message: MessageId, seen: bool) {
        let newest = if seen {
            &mut self.seen
        } else {
            &mut self.received
        };
        if newest.is_none_or(|known| known.seq() < message.seq()) {
            *newest = Some(message);
        }
    }

    /// As few marks as say the same: seen implies received.
    fn marks(self, user: UserId) -> impl Iterator<Item = Mark> {
        let seen_seq = self.seen.map_or(0, MessageId::seq);
        let received = self.received.filter(|id| id.seq() > seen_seq);
        let mark = move |message, seen| Mark {
            user,
            message,
            seen,
            delivered: true,
        };
        let received = received.map(|id| mark(id, false));
        received
            .into_iter()
            .chain(self.seen.map(|id| mark(id, true)))
    }
}

#[derive(Clone)]
pub struct MarkSender(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    added: Notify,
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MarkSender {
    pub fn start(bus: &Bus, registry: &Arc<Registry>, process: &Process) -> Self {
        let marks = Self(Arc::default());
        let (bus, registry, stop) = (bus.clone(), registry.clone(), process.shutdown.clone());
        let shared = marks.0.clone();
        process.tasks.spawn(async move {
            let drained = registry.drained(&stop);
            tokio::pin!(drained);
            let mut is_drained = false;
            while !is_drained {
                tokio::select! {
                    () = next(&shared) => {}
                    () = &mut drained => is_drained = true,
                }
                // Not in the `select!`, which would cancel it: the last connections' marks are sent
                // too.
                let is_all = send_waiting(&bus, &shared).await;
                if !is_all && !is_drained {
                    shared.added.notify_one();
                    sleep(RETRY_PAUSE).await;
                }
            }
        });
        marks
    }

    /// Drops the marks that wait: the logs were set back, and their messages may be gone.
    pub fn forget(&self) {
        self.0.waiting().clear();
    }

    /// `user` has received, or seen, everything up to `message`, which was delivered here.
    pub fn add(&self, channel: FriendshipId, user: UserId, message: MessageId, seen: bool) {
        let mut waiting = self.0.waiting();
        let is_first = waiting.is_empty();
        let newest = waiting.entry((channel, user)).or_default();
        newest.add(message, seen);
        drop(waiting);
        if is_first {
            self.0.added.notify_one();
        }
    }
}

/// Waits until there are marks, and then for a moment, in which more are gathered.
async fn next(shared: &Shared) {
    shared.added.notified().await;
    sleep(TICK).await;
}

/// Sends the marks that wait; returns whether all were stored. Those that were not wait again.
async fn send_waiting(bus: &Bus, shared: &Shared) -> bool {
    let waiting = std::mem::take(&mut *shared.waiting());
    let marks = waiting.into_iter().flat_map(|((channel, user), newest)| {
        let marks = newest.marks(user);
        marks.map(move |mark| (channel, mark))
    });
    let sent = stream::iter(marks).map(|(channel, mark)| async move {
        let is_done = send(bus, channel, &mark).await;
        (channel, mark, is_done)
    });
    let mut sent = std::pin::pin!(sent.buffer_unordered(IN_FLIGHT));
    let mut is_all = true;
    while let Some((channel, mark, is_done)) = sent.next().await {
        if !is_done {
            is_all = false;
            let mut waiting = shared.waiting();
            let newest = waiting.entry((channel, mark.user)).or_default();
            newest.add(mark.message, mark.seen);
        }
    }
    is_all
}

/// Sends a mark; returns whether it is settled, so that it need not be sent again.
async fn send(bus: &Bus, channel: FriendshipId, mark: &Mark) -> bool {
    let deadline = Instant::now() + REQUEST_TIMEOUT;
    let subject = subject::mark(channel);
    let reply = bus
        .request(&subject, mark, Ask::Any, deadline)
        .instrument(request_span(subject::ALL_MARKS, &subject, 1))
        .await;
    !matches!(reply, Ok(MarkReply::Refused(Refusal::Unavailable)) | Err(_))
}
