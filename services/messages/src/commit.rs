//! Group commit: one transaction for all that is waiting.
//!
//! A worker takes everything in the queue (alone, a send commits at once; while one commit runs,
//! the next batch gathers), stores it with a few set-based statements, commits once, and
//! only then answers and publishes. A bad send is refused in the plan and never reaches a
//! statement; should a statement fail all the same, the batch is taken apart and each send is
//! tried alone.

use std::{collections::HashMap, sync::Arc, time::Duration};

use natter_protocol::{
    FriendshipId, Timestamp,
    call::{Refusal, Send, SendReply, Stored},
};
use natter_service::Process;
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    time::{Instant, timeout},
};
use tokio_util::task::TaskTracker;

use crate::{
    channel::Channels,
    feed::Feed,
    plan::{Entry, Outcome, Plan},
    store::{self, Store},
};

/// Batches in flight: while one waits for the disk, another prepares.
const WORKERS: usize = 2;
/// The most sends in one transaction: 500 × 8 KiB of text is 4 MiB.
const MAX_BATCH: usize = 500;
/// The most sends waiting; past it they are refused at once.
const QUEUE: usize = 10_000;
/// A send this old was given up by who sent it.
const MAX_AGE: Duration = Duration::from_millis(2_500);
/// The longest a batch may take, whatever the database does.
const BATCH_TIMEOUT: Duration = Duration::from_secs(6);

/// The way into the log.
#[derive(Clone)]
pub struct Committer(mpsc::Sender<Incoming>);

struct Incoming {
    channel: FriendshipId,
    send: Send,
    since: Instant,
    /// The friendship service was asked about the channel already.
    confirmed: bool,
    reply: oneshot::Sender<SendReply>,
}

impl Incoming {
    fn answer(self, reply: SendReply) {
        // Who asked may be gone; the entry stays.
        let _ = self.reply.send(reply);
    }

    fn refuse(self, refusal: Refusal) {
        self.answer(SendReply::Refused(refusal));
    }
}

impl Committer {
    pub fn start(store: &Store, channels: &Channels, feed: Feed, process: &Process) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..WORKERS {
            let worker = Worker {
                store: store.clone(),
                channels: channels.clone(),
                feed: feed.clone(),
                again: queue.downgrade(),
                tasks: process.tasks.clone(),
            };
            process.tasks.spawn(worker.run(waiting.clone()));
        }
        Self(queue)
    }

    /// Stores a send; the answer comes once it is committed.
    pub async fn store(&self, channel: FriendshipId, send: Send) -> SendReply {
        let (reply, answer) = oneshot::channel();
        let incoming = Incoming {
            channel,
            send,
            since: Instant::now(),
            confirmed: false,
            reply,
        };
        if let Err(refused) = self.0.try_send(incoming) {
            metrics::counter!("sends_overflowed_total").increment(1);
            refused.into_inner().refuse(Refusal::Unavailable);
        }
        answer
            .await
            .unwrap_or(SendReply::Refused(Refusal::Unavailable))
    }
}

struct Worker {
    store: Store,
    channels: Channels,
    feed: Feed,
    /// Weak: the queue ends when nobody can send any more.
    again: mpsc::WeakSender<Incoming>,
    tasks: TaskTracker,
}

/// What a batch committed.
struct Committed {
    outbox_id: i64,
    entries: Vec<Entry>,
}

impl Worker {
    async fn run(self, waiting: Arc<Mutex<mpsc::Receiver<Incoming>>>) {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        loop {
            let count = waiting.lock().await.recv_many(&mut batch, MAX_BATCH).await;
            if count == 0 {
                return;
            }
            if let Some(oldest) = batch.iter().map(|incoming| incoming.since).min() {
                metrics::histogram!("send_queue_seconds").record(oldest.elapsed());
            }
            let (fresh, stale): (Vec<_>, Vec<_>) = batch
                .drain(..)
                .partition(|incoming| incoming.since.elapsed() < MAX_AGE);
            for incoming in stale {
                incoming.refuse(Refusal::Unavailable);
            }
            self.commit_or_split(fresh).await;
        }
    }

    async fn commit_or_split(&self, batch: Vec<Incoming>) {
        let Err((batch, error)) = self.commit(batch).await else {
            return;
        };
        let passing = natter_pg::is_unavailable(&error);
        if passing || batch.len() == 1 {
            match passing {
                true => {
                    tracing::warn!(%error, sends = batch.len(), "nothing can be stored right now")
                }
                false => tracing::error!(%error, "a send could not be stored"),
            }
            for incoming in batch {
                incoming.refuse(Refusal::Unavailable);
            }
            return;
        }
        tracing::error!(%error, sends = batch.len(), "a batch failed and is taken apart");
        for incoming in batch {
            if let Err((alone, error)) = self.commit(vec![incoming]).await {
                tracing::error!(%error, "a send could not be stored");
                for incoming in alone {
                    incoming.refuse(Refusal::Unavailable);
                }
            }
        }
    }

    /// Stores a batch, answers and publishes it. On an error nothing was answered, and as far as
    /// is known nothing stored; if it was all the same, a repeat finds it by its client id and
    /// the outbox publishes it.
    async fn commit(&self, batch: Vec<Incoming>) -> Result<(), (Vec<Incoming>, sqlx::Error)> {
        if batch.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        let (outcomes, committed) = match timeout(BATCH_TIMEOUT, self.transact(&batch)).await {
            Ok(Ok(done)) => done,
            Ok(Err(error)) => return Err((batch, error)),
            Err(_) => return Err((batch, sqlx::Error::PoolTimedOut)),
        };
        if let Some(committed) = &committed {
            metrics::histogram!("commit_batch_size").record(committed.entries.len() as f64);
            metrics::histogram!("commit_duration_seconds").record(started.elapsed());
        }
        for (incoming, outcome) in batch.into_iter().zip(outcomes) {
            match outcome {
                Answer::Now(reply) => incoming.answer(reply),
                Answer::Stored(stored) => incoming.answer(SendReply::Ack(stored)),
                Answer::Ask => self.ask(incoming),
            }
        }
        if let Some(Committed { outbox_id, entries }) = committed {
            self.feed.publish(outbox_id, entries).await;
        }
        Ok(())
    }

    async fn transact(
        &self,
        batch: &[Incoming],
    ) -> Result<(Vec<Answer>, Option<Committed>), sqlx::Error> {
        let mut tx = self.store.begin().await?;
        let sends: Vec<_> = batch.iter().map(|one| (one.channel, &one.send)).collect();
        let facts = store::lock_and_read(&mut tx, &sends).await?;
        let mut plan = Plan::new(facts, Timestamp::now());
        let mut entries = Vec::new();
        let mut answers = Vec::with_capacity(batch.len());
        for one in batch {
            answers.push(match plan.decide(one.channel, &one.send, one.confirmed) {
                Outcome::Store(entry, stored) => {
                    entries.push(*entry);
                    Answer::Stored(stored)
                }
                Outcome::Answer(reply) => Answer::Now(reply),
                Outcome::Ask => Answer::Ask,
            });
        }
        if entries.is_empty() {
            tx.rollback().await?;
            return Ok((answers, None));
        }
        let channels: HashMap<_, _> = plan.channels();
        let outbox_id = store::insert(&mut tx, &entries, &channels).await?;
        tx.commit().await?;
        Ok((answers, Some(Committed { outbox_id, entries })))
    }

    /// Asks the friendship service about the channel, and puts the send back into the queue.
    fn ask(&self, mut incoming: Incoming) {
        let channels = self.channels.clone();
        let again = self.again.clone();
        self.tasks.spawn(async move {
            match channels.refresh(incoming.channel).await {
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "a channel is not known and cannot be asked for");
                    return incoming.refuse(Refusal::Unavailable);
                }
            }
            incoming.confirmed = true;
            match again.upgrade() {
                Some(queue) => {
                    if let Err(refused) = queue.try_send(incoming) {
                        refused.into_inner().refuse(Refusal::Unavailable);
                    }
                }
                None => incoming.refuse(Refusal::Unavailable),
            }
        });
    }
}

/// What one send of a batch is answered, and when.
enum Answer {
    Now(SendReply),
    /// Once the batch is committed.
    Stored(Stored),
    /// After the friendship service was asked.
    Ask,
}
