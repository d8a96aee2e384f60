//! Group commit: one transaction for all that is waiting.
//!
//! Requests are shared out to writers by channel. A writer takes everything that waits for it
//! (alone, a send commits at once; while one commit runs, the next batch gathers), stores it,
//! and only then answers and publishes. Plain messages, which is nearly all, take one statement
//! ([`store::append`]). What that passes over, and every edit, deletion, reply and message with
//! files, is decided by the [`Plan`] in a transaction. Should a batch fail, it is taken apart and
//! each channel is tried alone.

mod plain;
mod request;

use std::{collections::VecDeque, time::Duration};

use natter_bus::{Bus, Message as BusMessage, batch_span};
use natter_pg::Writer;
use natter_process::Process;
use natter_protocol::{
    FriendshipId, MessageId, Timestamp,
    call::{OneOrMore, Refusal, SendReply, SendRequest, Stored},
    event::LogEvent,
};
use sqlx::{Connection, PgConnection};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep},
};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::{
    channels::Channels,
    epoch::{Epochs, greeting},
    feed::{Feed, event_of},
    plan::{Entry, Outcome, Plan},
    search::Index,
    store::{self, Store},
};
use plain::{event, plain};
use request::{Answer, Request, by_channel, split};

/// Writers, each with a connection of its own: while one waits for the disk, another prepares.
const WRITERS: usize = 2;
/// The most sends in one transaction, unless a single request has more.
const MAX_BATCH: usize = 500;
/// The most requests waiting for one writer; past it they are refused at once.
const QUEUE: usize = 10_000;
/// The longest a batch may take, whatever the database does.
const BATCH_TIMEOUT: Duration = Duration::from_secs(6);
/// The pause before a channel that another database session holds is tried again.
const LOCKED_PAUSE: Duration = Duration::from_millis(20);

/// Takes what is to be stored in the logs, and hands it to the writer of its channel.
#[derive(Clone)]
pub struct Committer {
    writers: Vec<mpsc::Sender<Request>>,
    bus: Bus,
}

impl Committer {
    pub fn start(
        store: &Store,
        channels: &Channels,
        epochs: &Epochs,
        bus: &Bus,
        feed: &Feed,
        index: &Index,
        process: &Process,
    ) -> Self {
        register_metrics();
        let writers = (0..WRITERS).map(|_| {
            let (queue, waiting) = mpsc::channel(QUEUE);
            let worker = Worker {
                db: Writer::new(store.pool(), &[]).greeted_by(greeting(epochs)),
                channels: channels.clone(),
                feed: feed.clone(),
                index: index.clone(),
                bus: bus.clone(),
                again: queue.downgrade(),
                tasks: process.tasks.clone(),
            };
            process.tasks.spawn(worker.run(waiting));
            queue
        });
        Self {
            writers: writers.collect(),
            bus: bus.clone(),
        }
    }

    /// Stores a send; the answer comes once it is committed.
    pub async fn store(&self, channel: FriendshipId, send: SendRequest) -> SendReply {
        let (answer, answered) = oneshot::channel();
        self.offer(Request::new(channel, vec![send], Answer::Task(answer)))
            .await;
        answered
            .await
            .unwrap_or(SendReply::Refused(Refusal::Unavailable))
    }

    /// Stores what a gateway asks for, and answers it once it is committed.
    pub async fn request(
        &self,
        channel: FriendshipId,
        sends: OneOrMore<SendRequest>,
        request: BusMessage,
    ) {
        let answer = Answer::Bus(request, sends.is_array());
        self.offer(Request::new(channel, sends.all(), answer)).await;
    }

    async fn offer(&self, request: Request) {
        let writer = usize::from(request.channel.0.as_bytes()[15]) % self.writers.len();
        if let Err(refused) = self.writers[writer].try_send(request) {
            let request = refused.into_inner();
            metrics::counter!("sends_overflowed_total").increment(request.sends.len() as u64);
            request.answer(&self.bus).await;
        }
    }
}

/// Says what each metric is, and shows every counter from the start on.
fn register_metrics() {
    for (name, means) in [
        (
            "sends_overflowed_total",
            "Sends refused because the queue was full",
        ),
        (
            "sends_expired_total",
            "Sends refused because their sender had stopped waiting",
        ),
    ] {
        metrics::describe_counter!(name, means);
        metrics::counter!(name).increment(0);
    }
    metrics::describe_histogram!(
        "send_queue_seconds",
        "How long the oldest send of a batch waited"
    );
    metrics::describe_histogram!("commit_duration_seconds", "How long a batch took");
    metrics::describe_histogram!("commit_batch_size", "Entries that a batch stored");
}

struct Worker {
    db: Writer,
    channels: Channels,
    feed: Feed,
    index: Index,
    bus: Bus,
    /// Weak: the queue ends when nobody can send any more.
    again: mpsc::WeakSender<Request>,
    tasks: TaskTracker,
}

impl Worker {
    async fn run(mut self, mut waiting: mpsc::Receiver<Request>) {
        self.db.connect_early(BATCH_TIMEOUT).await;
        let mut line = VecDeque::new();
        loop {
            if line.is_empty() {
                match waiting.recv().await {
                    Some(request) => line.push_back(request),
                    None => break,
                }
            }
            while line.len() < MAX_BATCH
                && let Ok(request) = waiting.try_recv()
            {
                line.push_back(request);
            }
            let batch = self.next_batch(&mut line).await;
            if batch.is_empty() {
                continue;
            }
            let is_all = line.is_empty();
            let span = batch_span(batch.iter().map(|request| &request.span));
            let locked = self.store(batch).instrument(span).await;
            if !locked.is_empty() && is_all {
                sleep(LOCKED_PAUSE).await;
            }
            line.extend(locked);
        }
        // The last answers must not be lost with the connection.
        self.bus.flush().await;
    }

    /// Takes the next batch from the line. Refuses requests whose sender has stopped waiting.
    async fn next_batch(&self, line: &mut VecDeque<Request>) -> Vec<Request> {
        let mut batch = Vec::new();
        let mut sends = 0;
        let now = Instant::now();
        while let Some(request) = line.pop_front() {
            if request.until <= now {
                metrics::counter!("sends_expired_total").increment(request.sends.len() as u64);
                request.answer(&self.bus).await;
                continue;
            }
            if sends > 0 && sends + request.sends.len() > MAX_BATCH {
                line.push_front(request);
                break;
            }
            sends += request.sends.len();
            batch.push(request);
        }
        if let Some(oldest) = batch.iter().map(|request| request.since).min() {
            metrics::histogram!("send_queue_seconds").record(oldest.elapsed());
        }
        batch
    }

    /// Stores a batch, answers and publishes it. What is given back could not be tried, since
    /// another session holds its channel.
    async fn store(&mut self, batch: Vec<Request>) -> Vec<Request> {
        let started = Instant::now();
        let (mut plain, mut other) = split(batch);
        if !plain.is_empty() {
            match self.append(&mut plain).await {
                Ok(()) => {}
                Err(error) if natter_pg::violated_constraint(&error).is_some() => {
                    tracing::debug!(%error, "a send was stored by another replica meanwhile");
                }
                Err(error) => other.extend(self.take_apart(plain.split_off(0), error).await),
            }
        }
        // Sends that the statement skipped are decided by the plan, which also finds the reason.
        for request in plain {
            if request.is_done() {
                request.answer(&self.bus).await
            } else {
                other.push(request)
            }
        }
        let mut locked = Vec::new();
        if !other.is_empty()
            && let Err(error) = self.transact(&mut other).await
        {
            locked = self.take_apart_planned(other.split_off(0), error).await;
        }
        for request in other {
            self.finish(request).await;
        }
        metrics::histogram!("commit_duration_seconds").record(started.elapsed());
        locked
    }

    /// Answers a request whose sends are all decided; for another, asks the friendships service
    /// about the channel.
    async fn finish(&self, request: Request) {
        if request.is_done() {
            request.answer(&self.bus).await
        } else {
            self.ask(request)
        }
    }

    /// Tries each channel of a failed statement alone. What still has no answer is given back, to
    /// be planned.
    async fn take_apart(&mut self, batch: Vec<Request>, error: sqlx::Error) -> Vec<Request> {
        let mut rest = Vec::new();
        let mut channels = by_channel(batch);
        if !natter_pg::is_locked(&error) && natter_pg::is_unavailable(&error) {
            self.give_up(channels.drain(..).flatten(), &error).await;
            return rest;
        }
        tracing::warn!(%error, channels = channels.len(), "a batch is taken apart");
        for mut requests in channels {
            match self.append(&mut requests).await {
                Ok(()) => {}
                Err(error) if natter_pg::violated_constraint(&error).is_some() => {}
                // Locked by another session: the transaction waits for it once more.
                Err(error) if natter_pg::is_locked(&error) => {}
                Err(error) => {
                    self.give_up(requests.drain(..), &error).await;
                }
            }
            rest.extend(requests);
        }
        rest
    }

    /// The same for a batch whose transaction failed; requests whose channel is locked are given
    /// back.
    async fn take_apart_planned(
        &mut self,
        batch: Vec<Request>,
        error: sqlx::Error,
    ) -> Vec<Request> {
        let mut locked = Vec::new();
        let mut channels = by_channel(batch);
        let is_passing = !natter_pg::is_locked(&error) && natter_pg::is_unavailable(&error);
        if is_passing {
            self.give_up(channels.drain(..).flatten(), &error).await;
            return locked;
        }
        for mut requests in channels {
            match self.transact(&mut requests).await {
                Ok(()) => {
                    for request in requests {
                        self.finish(request).await;
                    }
                }
                Err(error) if natter_pg::is_locked(&error) => locked.extend(requests),
                Err(error) => self.give_up(requests.drain(..), &error).await,
            }
        }
        locked
    }

    async fn give_up(&self, batch: impl Iterator<Item = Request>, error: &sqlx::Error) {
        if natter_pg::is_unavailable(error) {
            tracing::warn!(%error, "nothing can be stored right now")
        } else {
            tracing::error!(%error, "a send could not be stored")
        }
        for request in batch {
            request.answer(&self.bus).await;
        }
    }

    /// Stores plain messages with one statement and publishes them. On an error nothing was
    /// stored as far as is known; if it was all the same, a repeat finds it by its client id and
    /// the outbox publishes it.
    async fn append(&mut self, batch: &mut [Request]) -> sqlx::Result<()> {
        let mut places = Vec::new();
        let mut sends = Vec::new();
        for (request, one) in batch.iter().enumerate() {
            for (place, send) in one.open() {
                places.push((request, place));
                sends.extend(plain(one.channel, send));
            }
        }
        let now = Timestamp::now();
        let appended = self
            .db
            .run(BATCH_TIMEOUT, async |db: &mut PgConnection| {
                store::append(db, &sends, now).await
            })
            .await?;
        drop(sends);
        let Some(outbox_id) = appended.first().map(|one| one.outbox_id) else {
            return Ok(());
        };
        metrics::histogram!("commit_batch_size").record(appended.len() as f64);
        let mut events = Vec::with_capacity(appended.len());
        for one in appended {
            let place = usize::try_from(one.number - 1).unwrap_or(usize::MAX);
            let Some((request, place)) = places.get(place).copied() else {
                continue;
            };
            let request = &mut batch[request];
            request.replies[place] = Some(SendReply::Ack(Stored {
                message: MessageId(one.id),
                seq: one.seq.unsigned_abs(),
                created_at: one.at.into(),
                duplicate: false,
            }));
            events.push(event(request.channel, &mut request.sends[place], &one));
        }
        // Each log in its order: otherwise gateways would hold events back until those before come.
        events.sort_unstable_by_key(|event: &LogEvent| event.seq);
        self.publish(outbox_id, events).await;
        Ok(())
    }

    /// Decides every send of a batch that has no answer yet, stores what is to be stored, and
    /// publishes it. For sends without an answer after that, the friendships service must be asked.
    async fn transact(&mut self, batch: &mut [Request]) -> sqlx::Result<()> {
        let asked: Vec<_> = batch
            .iter()
            .flat_map(|request| request.open().map(|(_, send)| (request.channel, send)))
            .collect();
        let committed = self
            .db
            .run(BATCH_TIMEOUT, async |db: &mut PgConnection| {
                let mut tx = db.begin().await?;
                let facts = store::lock_and_read(&mut tx, &asked).await?;
                let mut plan = Plan::new(facts, Timestamp::now());
                let mut entries = Vec::new();
                let mut replies = Vec::with_capacity(batch.len());
                for request in batch.iter() {
                    replies.push(decide(&mut plan, request, &mut entries));
                }
                if entries.is_empty() {
                    tx.rollback().await?;
                    return Ok((replies, None));
                }
                let channels = plan.channels();
                let outbox_id = store::insert(&mut tx, &entries, &channels).await?;
                tx.commit().await?;
                Ok((replies, Some((outbox_id, entries))))
            })
            .await;
        drop(asked);
        let (replies, committed) = committed?;
        for (request, replies) in batch.iter_mut().zip(replies) {
            for (place, reply) in replies {
                request.replies[place] = Some(reply);
            }
        }
        if let Some((outbox_id, entries)) = committed {
            metrics::histogram!("commit_batch_size").record(entries.len() as f64);
            let events = entries.into_iter().map(event_of).collect();
            self.publish(outbox_id, events).await;
        }
        Ok(())
    }

    /// Publishes what was committed, and has it indexed for the search.
    async fn publish(&self, outbox_id: i64, events: Vec<LogEvent>) {
        self.index
            .appended(events.iter().map(|event| event.channel));
        self.feed.publish(outbox_id, events).await;
    }

    /// Asks the friendships service about the channel, and puts the request back into the queue.
    fn ask(&self, mut request: Request) {
        let (bus, channels, again) = (self.bus.clone(), self.channels.clone(), self.again.clone());
        let span = request.span.clone();
        let asking = async move {
            if let Err(error) = channels.refresh(request.channel).await {
                tracing::warn!(%error, "a channel is not known and cannot be asked for");
                return request.answer(&bus).await;
            }
            request.confirmed = true;
            let refused = match again.upgrade() {
                Some(queue) => queue.try_send(request).err().map(|full| full.into_inner()),
                None => Some(request),
            };
            if let Some(request) = refused {
                request.answer(&bus).await;
            }
        };
        self.tasks.spawn(asking.instrument(span));
    }
}

/// Decides the sends of a request that have no answer yet. From the first on for which the
/// friendships service must be asked, all wait, so that their order stays.
fn decide(plan: &mut Plan, request: &Request, entries: &mut Vec<Entry>) -> Vec<(usize, SendReply)> {
    let mut replies = Vec::new();
    for (place, send) in request.open() {
        let reply = match plan.decide(request.channel, send, request.confirmed) {
            Outcome::Store(entry, stored) => {
                entries.push(*entry);
                SendReply::Ack(stored)
            }
            Outcome::Answer(reply) => reply,
            Outcome::Ask => break,
        };
        replies.push((place, reply));
    }
    replies
}
