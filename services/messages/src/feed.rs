//! From the log to `chat.friendship.<id>.log`: live delivery and the stream `CHAT` at once.
//!
//! Entries are published the moment their batch is committed. A batch's outbox row counts as
//! unpublished until the stream has confirmed every entry and that is noted, for many batches
//! together. The entries of unpublished rows are read from the log and published again: after a
//! crash between commit and publish, after the broker was away, and when the stream has lost what it
//! had confirmed.

use std::time::Duration;

use anyhow::Context;
use fail::fail_point;
use natter_bus::{Bus, PendingAck, PublishError, Stream, publish_span};
use natter_pg::Writer;
use natter_process::Process;
use natter_protocol::{
    FriendshipId, MessageId,
    event::{LogEvent, LogTag, VERSION},
    message::Kind,
    subject,
};
use sqlx::PgConnection;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout, timeout_at},
};
use tracing::Instrument;

use crate::{
    epoch::Epochs,
    plan::Entry,
    store::{self, OutboxRow, Published, Store},
};

/// Batches whose confirmation is awaited at a time; any further batch is left to the outbox.
const AWAITED: usize = 1_000;
/// How long confirmed batches are gathered before they are noted.
const NOTE_EVERY: Duration = Duration::from_millis(500);
const NOTE_TIMEOUT: Duration = Duration::from_secs(10);
/// The commit of a note need not wait for the disk: the batches of a lost note are published again.
const NOTE_SETTINGS: [(&str, &str); 1] = [("synchronous_commit", "off")];
/// How often rows that were not confirmed are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
const SLOWEST_SWEEP: Duration = Duration::from_secs(60);
/// The longest that a sweep may take, whatever the database does.
const SWEEP_TIMEOUT: Duration = Duration::from_secs(60);
/// From this age on, in seconds, an unpublished row is overdue.
const OVERDUE_SECONDS: f64 = 4.0;
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
    sent: Sent,
}

/// Events that were sent in one go. Each is confirmed: the stream may refuse one and take the next.
struct Sent(Vec<(MessageId, PendingAck)>);

impl Sent {
    /// Waits until the stream has stored all of them; returns their numbers in the stream.
    async fn confirmed(self) -> Result<Option<Published>, PublishError> {
        let mut published = None;
        for (event, ack) in self.0 {
            let at = ack.confirmed().await?;
            let one = Published {
                first: at.seq,
                event,
                at,
                when: Instant::now(),
            };
            published = joined(published, one);
        }
        Ok(published)
    }
}

impl Feed {
    pub fn start(store: &Store, epochs: &Epochs, bus: &Bus, process: &Process) -> Self {
        let (awaited, batches) = mpsc::channel(AWAITED);
        let notes = Writer::new(store.pool(), &NOTE_SETTINGS);
        process.tasks.spawn(confirm(batches, notes));
        process.tasks.spawn(natter_outbox::audit(
            store.pool().clone(),
            bus.clone(),
            Stream::Chat,
            process.shutdown.clone(),
        ));
        let sweep = sweep(store.clone(), epochs.clone(), bus.clone());
        let stop = process.shutdown.clone();
        process.tasks.spawn(async move {
            stop.run_until_cancelled(sweep).await;
        });
        Self {
            bus: bus.clone(),
            awaited,
        }
    }

    /// Publishes a committed batch. What cannot be sent now is sent again from the outbox.
    pub async fn publish(&self, outbox_id: i64, events: Vec<LogEvent>) {
        let span = publish_span(subject::ALL_LOGS, events.len());
        let sent = match send(&self.bus, &events).instrument(span).await {
            Ok(sent) => sent,
            Err(error) => {
                tracing::warn!("a batch waits in the outbox: {error:#}");
                return;
            }
        };
        fail_point!("feed-sent", |_| std::process::abort());
        if self.awaited.try_send(Batch { outbox_id, sent }).is_err() {
            tracing::debug!(outbox_id, "too many batches await the broker's word");
        }
    }
}

async fn send(bus: &Bus, events: &[LogEvent]) -> anyhow::Result<Sent> {
    anyhow::ensure!(bus.is_connected(), "the broker is away");
    let mut sent = Vec::with_capacity(events.len());
    for event in events {
        fail_point!("feed-publish", |_| std::process::abort());
        let payload = serde_json::to_vec(event)?.into();
        let (subject, id) = (subject::chat_log(event.channel), event.id.to_string());
        sent.push((event.id, bus.store(subject, &id, payload).await?));
    }
    Ok(Sent(sent))
}

/// The event of an entry.
pub fn event_of(entry: Entry) -> LogEvent {
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

/// Notes the batches that the stream has confirmed. Ends with the last sender.
async fn confirm(mut batches: mpsc::Receiver<Batch>, mut db: Writer) {
    db.connect_early(NOTE_TIMEOUT).await;
    let mut confirmed = Vec::new();
    let mut note_at = Instant::now() + NOTE_EVERY;
    loop {
        let mut is_last = false;
        match timeout_at(note_at, batches.recv()).await {
            Ok(Some(batch)) => match batch.sent.confirmed().await {
                Ok(published) => {
                    confirmed.extend(published.map(|published| (batch.outbox_id, published)));
                    fail_point!("feed-confirmed", |_| std::process::abort());
                }
                Err(error) => tracing::warn!(%error, "the stream has not confirmed a batch"),
            },
            Ok(None) => is_last = true,
            Err(_) => {}
        }
        if is_last || Instant::now() >= note_at {
            note(&mut db, std::mem::take(&mut confirmed)).await;
            note_at = Instant::now() + NOTE_EVERY;
        }
        if is_last {
            return;
        }
    }
}

async fn note(db: &mut Writer, confirmed: Vec<(i64, Published)>) {
    if confirmed.is_empty() {
        return;
    }
    let noted = db
        .run(NOTE_TIMEOUT, async |db: &mut PgConnection| {
            store::published(db, &confirmed).await
        })
        .await;
    if let Err(error) = noted {
        tracing::debug!(%error, "published batches will be published again");
    }
}

/// Publishes again what was not confirmed in time: at once when the broker is back, and less and
/// less often while the stream takes nothing.
async fn sweep(store: Store, epochs: Epochs, bus: Bus) {
    metrics::describe_gauge!(
        "outbox_overdue",
        "Committed batches that the stream has not confirmed in time"
    );
    let mut missed = bus.missed();
    // Whatever was on its way when the broker went away, or this process began, may be lost.
    let mut doubted = Instant::now();
    let mut pause = SWEEP_EVERY;
    loop {
        let overdue = doubted.elapsed().as_secs_f64().min(OVERDUE_SECONDS);
        let swept = timeout(SWEEP_TIMEOUT, sweep_some(&store, &epochs, &bus, overdue)).await;
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
            () = sleep(pause) => {}
            changed = missed.changed() => match changed {
                Ok(()) => doubted = Instant::now(),
                Err(_) => sleep(pause).await,
            },
        }
    }
}

/// Publishes overdue batches, as many as are read at a time, in one replica at a time. Returns
/// whether there may be more, or the first failure.
async fn sweep_some(
    store: &Store,
    epochs: &Epochs,
    bus: &Bus,
    overdue: f64,
) -> anyhow::Result<bool> {
    let rows = store.unpublished(SWEEP_ROWS, overdue).await?;
    metrics::gauge!("outbox_overdue").set(rows.len() as f64);
    if rows.is_empty() {
        return Ok(false);
    }
    anyhow::ensure!(bus.is_connected(), "the broker is away");
    let lock = natter_outbox::try_lock_outbox(store.pool(), Stream::Chat);
    let Some(mut lock) = lock.await? else {
        return Ok(false);
    };
    // What is published becomes the newest of the stream, which the log is compared with.
    epochs.check(&mut lock).await?;
    // Read again under the lock: another replica may have published some of them meanwhile.
    let rows = store.unpublished(SWEEP_ROWS, overdue).await?;
    let mut done = 0;
    let mut failure = None;
    for row in &rows {
        match publish_again(store, bus, row).await {
            Ok(published) => {
                store::published(&mut lock, &[(row.id, published)]).await?;
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
            let due = events.iter().take_while(|event| event.seq <= last).count();
            // An entry of a kind that only a later version knows is published by a replica of that
            // version.
            let is_known = events[..due]
                .iter()
                .all(|event| event.kind != Kind::Unknown);
            anyhow::ensure!(is_known, "the log of {} has an unknown kind", channel.id);
            if let Some(part) = send(bus, &events[..due]).await?.confirmed().await? {
                published = joined(published, part);
            }
            after = events.last().map_or(last, |event| event.seq);
        }
    }
    published.context("a batch without entries")
}

/// Where the stream put a batch, of which two parts were published one after the other.
fn joined(one: Option<Published>, other: Published) -> Option<Published> {
    let Some(one) = one else { return Some(other) };
    let first = one.first.min(other.first);
    let last = if one.at.seq > other.at.seq {
        one
    } else {
        other
    };
    Some(Published { first, ..last })
}
