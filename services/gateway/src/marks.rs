//! Marks that this gateway sets itself: what was written to a connection that confirms nothing
//! counts as received. Merged by user and channel while one is on its way, and sent again while
//! the messages service does not answer. What is not told when the process stops is not lost for
//! the reader: the next message's mark, or reading the history, says it too.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use natter_bus::Bus;
use natter_protocol::{
    FriendshipId, MessageId, UserId,
    call::{Mark, MarkReply, Refusal},
    subject,
};
use natter_service::Process;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use crate::registry::Registry;

/// Marks that wait to be merged. Past it a mark is left to the next message's.
const QUEUE: usize = 4_096;
/// Requests on their way.
const IN_FLIGHT: usize = 256;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// A mark that could not be stored this often is given up: history will say it when it is read.
const MAX_TRIES: u32 = 20;

type Key = (FriendshipId, UserId);

#[derive(Clone)]
pub struct Marks(mpsc::Sender<(Key, MessageId)>);

impl Marks {
    pub fn start(bus: &Bus, registry: &Arc<Registry>, process: &Process) -> Self {
        let (queue, received) = mpsc::channel(QUEUE);
        let (bus, registry, stop) = (bus.clone(), registry.clone(), process.shutdown.clone());
        process.tasks.spawn(async move {
            let drained = async {
                registry.drained(&stop).await;
            };
            merge(bus, received, drained).await;
        });
        Self(queue)
    }

    /// `user` has received everything up to `message`.
    pub fn received(&self, channel: FriendshipId, user: UserId, message: MessageId) {
        if self.0.try_send(((channel, user), message)).is_err() {
            metrics::counter!("marks_dropped_total").increment(1);
        }
    }
}

/// Until the last connection has gone and what it left behind is told.
async fn merge(
    bus: Bus,
    mut received: mpsc::Receiver<(Key, MessageId)>,
    drained: impl Future<Output = ()>,
) {
    tokio::pin!(drained);
    let mut is_drained = false;
    // A key is here while its request is on the way; the value is the next one's.
    let mut waiting: HashMap<Key, Option<MessageId>> = HashMap::new();
    let mut requests: FuturesUnordered<BoxFuture<'static, Key>> = FuturesUnordered::new();
    while !(is_drained && requests.is_empty() && received.is_empty()) {
        tokio::select! {
            mark = received.recv(), if requests.len() < IN_FLIGHT => {
                let Some((key, message)) = mark else { return };
                match waiting.get_mut(&key) {
                    Some(next) => {
                        if next.is_none_or(|next| next.seq() < message.seq()) {
                            *next = Some(message);
                        }
                    }
                    None => {
                        waiting.insert(key, None);
                        requests.push(Box::pin(send(bus.clone(), key, message)));
                    }
                }
            }
            () = &mut drained, if !is_drained => is_drained = true,
            Some(key) = requests.next(), if !requests.is_empty() => {
                if let Some(message) = waiting.remove(&key).flatten() {
                    waiting.insert(key, None);
                    requests.push(Box::pin(send(bus.clone(), key, message)));
                }
            }
        }
    }
}

async fn send(bus: Bus, key: Key, message: MessageId) -> Key {
    let (channel, user) = key;
    let mark = Mark {
        user,
        message,
        seen: false,
    };
    for _ in 0..MAX_TRIES {
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        let reply = bus.request(&subject::mark(channel), &mark, deadline).await;
        match reply {
            Ok(MarkReply::Refused(Refusal::Unavailable)) | Err(_) => sleep(RETRY_PAUSE).await,
            Ok(MarkReply::Done | MarkReply::Refused(_)) => return key,
        }
    }
    tracing::warn!(%channel, "a mark could not be stored");
    key
}
