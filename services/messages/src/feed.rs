//! From the log to `chat.friendship.<id>.log`: live delivery and the stream `CHAT` at once.
//!
//! Entries are published the moment their batch is committed. Until the stream has confirmed all
//! of a batch, its outbox row says so, and the row's entries are read from the log and published
//! again: after a crash between commit and publish, after the broker was away, and when the stream
//! has lost what it had confirmed.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use fail::fail_point;
use natter_bus::{Bus, PendingAck, PublishError, Stream};
use natter_protocol::{
    FriendshipId, MessageId,
    event::{LogEvent, LogTag, VERSION},
    subject,
};
use natter_service::Process;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use crate::{
    plan::Entry,
    store::{OutboxRow, Published, Store},
};

/// Batches whose confirmation is awaited; past it the outbox takes care of them.
const AWAITED: usize = 1_000;
/// How often rows that were not confirmed are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
const SLOWEST_SWEEP: Duration = Duration::from_secs(60);
/// After which a sweep is given up, whatever the database does.
const SWEEP_TIMEOUT: Duration = Duration::from_secs(60);
/// From this age on, in seconds, a row is not just on its way.
const OVERDUE_SECONDS: f64 = 4.0;
/// Held by the replica that publishes from the outbox.
const SWEEP_LOCK: i32 = 0x6e63;
const SWEEP_ROWS: i64 = 100;
/// Entries read from the log at a time when a row is published again.
const SWEEP_ENTRIES: i64 = 200;

#[derive(Clone)]
pub struct Feed {
    bus: Bus,
    awaited: mpsc::Sender<Batch>,
}

/// A batch on its way into the stream.
struct Batch {
    outbox_id: i64,
    acks: Vec<(MessageId, PendingAck)>,
}

impl Feed {
    pub fn start(store: &Store, bus: &Bus, process: &Process) -> Self {
        let (awaited, batches) = mpsc::channel(AWAITED);
        process.tasks.spawn(confirm(batches, store.clone()));
        process.tasks.spawn(natter_pg::audit(
            store.pool().clone(),
            bus.clone(),
            Stream::Chat,
            process.shutdown.clone(),
        ));
        let sweep = sweep(store.clone(), bus.clone());
        let stop = process.shutdown.clone();
        process.tasks.spawn(async move {
            tokio::select! {
                () = sweep => {}
                () = stop.cancelled() => {}
            }
        });
        Self {
            bus: bus.clone(),
            awaited,
        }
    }

    /// Publishes a committed batch. What cannot be sent now is sent again from the outbox.
    pub async fn publish(&self, outbox_id: i64, entries: Vec<Entry>) {
        let mut acks = Vec::with_capacity(entries.len());
        let mut unsent = None;
        for entry in entries {
            fail_point!("feed-publish", |_| std::process::abort());
            let event = event_of(entry);
            match send(&self.bus, &event).await {
                Ok(ack) => acks.push((event.id, ack)),
                // Those behind it may still reach who listens.
                Err(error) => unsent = Some(error),
            }
        }
        if let Some(error) = unsent {
            tracing::warn!("a batch waits in the outbox: {error:#}");
            return;
        }
        fail_point!("feed-sent", |_| std::process::abort());
        if self.awaited.try_send(Batch { outbox_id, acks }).is_err() {
            tracing::debug!(outbox_id, "too many batches await the broker's word");
        }
    }
}

async fn send(bus: &Bus, event: &LogEvent) -> anyhow::Result<PendingAck> {
    anyhow::ensure!(bus.is_connected(), "the broker is away");
    let payload: Bytes = serde_json::to_vec(event)?.into();
    let id = event.id.to_string();
    Ok(bus
        .store(subject::chat_log(event.channel), &id, payload)
        .await?)
}

fn event_of(entry: Entry) -> LogEvent {
    LogEvent {
        id: entry.id,
        tag: LogTag::Log,
        time: entry.at,
        version: VERSION,
        channel: entry.message.friendship,
        seq: entry.seq,
        kind: entry.kind,
        members: entry.members,
        message: entry.message,
    }
}

/// Marks the outbox rows of batches that the stream has confirmed. Ends with the last sender.
async fn confirm(mut batches: mpsc::Receiver<Batch>, store: Store) {
    while let Some(batch) = batches.recv().await {
        let published = match all_confirmed(batch.acks).await {
            Ok(Some(published)) => published,
            Ok(None) => continue,
            Err(error) => {
                tracing::warn!(%error, "the stream has not confirmed a batch");
                continue;
            }
        };
        fail_point!("feed-confirmed", |_| std::process::abort());
        if let Err(error) = store.published(batch.outbox_id, &published).await {
            tracing::debug!(%error, "a published batch will be published again");
        }
    }
}

/// Until the stream has all of them; where.
async fn all_confirmed(
    acks: Vec<(MessageId, PendingAck)>,
) -> Result<Option<Published>, PublishError> {
    let mut all = None;
    for (event, ack) in acks {
        let at = ack.confirmed().await?;
        let first = at.seq;
        all = joined(all, Some(Published { first, event, at }));
    }
    Ok(all)
}

/// Where two parts of a batch are.
fn joined(one: Option<Published>, other: Option<Published>) -> Option<Published> {
    let first = one.iter().chain(&other).map(|part| part.first).min()?;
    let last = one
        .into_iter()
        .chain(other)
        .max_by_key(|part| part.at.seq)?;
    Some(Published { first, ..last })
}

/// Publishes what was not confirmed in time, at once when the broker is back; less and less often
/// while the stream takes nothing.
async fn sweep(store: Store, bus: Bus) {
    let mut missed = bus.missed();
    let mut overdue = 0.0;
    let mut pause = SWEEP_EVERY;
    loop {
        let swept = timeout(SWEEP_TIMEOUT, sweep_some(&store, &bus, overdue)).await;
        match swept.unwrap_or_else(|_| Err(anyhow::anyhow!("it took too long"))) {
            Ok(true) => {
                pause = SWEEP_EVERY;
                continue;
            }
            Ok(false) => pause = SWEEP_EVERY,
            Err(error) => {
                tracing::info!("the outbox waits: {error:#}");
                pause = (2 * pause).min(SLOWEST_SWEEP);
            }
        }
        tokio::select! {
            () = sleep(pause) => overdue = OVERDUE_SECONDS,
            changed = missed.changed() => match changed {
                // Whatever was on its way when the broker went is lost.
                Ok(()) => overdue = 0.0,
                Err(_) => sleep(pause).await,
            },
        }
    }
}

/// Publishes overdue batches, as many as are read at a time; whether there may be more. The first
/// failure, if there was one. One replica does it at a time.
async fn sweep_some(store: &Store, bus: &Bus, overdue: f64) -> anyhow::Result<bool> {
    let rows = store.unpublished(SWEEP_ROWS, overdue).await?;
    metrics::gauge!("outbox_overdue").set(rows.len() as f64);
    if rows.is_empty() {
        return Ok(false);
    }
    anyhow::ensure!(bus.is_connected(), "the broker is away");
    let lock = natter_pg::try_lock(store.pool(), SWEEP_LOCK, Stream::Chat.name());
    let Some(_lock) = lock.await? else {
        return Ok(false);
    };
    // What another replica published while this one waited for its turn is none of it.
    let rows = store.unpublished(SWEEP_ROWS, overdue).await?;
    let mut done = 0;
    let mut failure = None;
    for row in &rows {
        match publish_again(store, bus, row).await {
            Ok(published) => {
                store.published(row.id, &published).await?;
                done += 1;
            }
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    tracing::info!(batches = done, "published from the outbox");
    match failure {
        Some(failure) => Err(failure),
        None => Ok(!rows.is_empty()),
    }
}

async fn publish_again(store: &Store, bus: &Bus, row: &OutboxRow) -> anyhow::Result<Published> {
    let ranges = row.channels.iter().zip(&row.first_seqs).zip(&row.last_seqs);
    let mut published = None;
    for ((channel, first), last) in ranges {
        let channel = store.channel(FriendshipId(*channel)).await?;
        let channel = channel.context("a channel with a log is not there")?;
        let mut after = first.unsigned_abs() - 1;
        let last = last.unsigned_abs();
        while after < last {
            let events = store.after(&channel, after, SWEEP_ENTRIES).await?;
            anyhow::ensure!(!events.is_empty(), "the log of {} has a hole", channel.id);
            let mut acks = Vec::new();
            for event in events.iter().filter(|event| event.seq <= last) {
                acks.push((event.id, send(bus, event).await?));
            }
            published = joined(published, all_confirmed(acks).await?);
            after = events.last().map_or(last, |event| event.seq);
        }
    }
    published.context("a batch without entries")
}
