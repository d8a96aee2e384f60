//! Takes the logs over into the search table.
//!
//! The log is the truth. How far each channel's log was taken over is stored with the rows, so no
//! entry is missed, whichever replica appended it or crashed. A replica takes over what it appended
//! within about a second; a comparison of all channels with the search table, at the start and
//! every ten minutes, finds the rest.

use std::{
    collections::HashSet,
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use natter_pg::Writer;
use natter_process::Process;
use natter_protocol::{FriendshipId, message::Kind};
use sqlx::{Connection, PgConnection};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{SLICE, grams_of, slice};
use crate::store::{self, Searched, Store, Unsearched};

/// How long entries are gathered before they are taken over.
const EVERY: Duration = Duration::from_secs(1);
/// How often all channels are compared, to find appends that no running replica knows of.
const COMPARE_EVERY: Duration = Duration::from_secs(600);
/// Channels that are compared with one statement.
const COMPARED: usize = 1_000;
/// Channels that are taken over with one statement.
const CHANNELS: usize = 100;
/// Entries that are taken over in one transaction, in equal parts of its channels.
const ENTRIES: usize = 1_000;
/// The most text of these entries, in bytes, unless a single entry has more.
const TEXT_BYTES: usize = 1_000_000;
const TIMEOUT: Duration = Duration::from_secs(30);
/// New rows first go to the GIN index's pending list, which every search scans. The list is merged
/// after this many rows or this much time.
const MERGE_ROWS: usize = 2_000;
const MERGE_EVERY: Duration = Duration::from_secs(10);
const SETTINGS: [(&str, &str); 2] = [
    // A commit need not wait for the disk: what a crash loses is taken over again.
    ("synchronous_commit", "off"),
    ("statement_timeout", "30000"),
];

/// Which channels have entries that were not taken over yet.
#[derive(Clone, Default)]
pub struct Index(Arc<Mutex<HashSet<Uuid>>>);

impl Index {
    pub fn start(store: &Store, process: &Process) -> Self {
        let index = Self::default();
        let keeper = Keeper {
            index: index.clone(),
            db: Writer::new(store.pool(), &SETTINGS),
            failed: 0,
            unmerged: 0,
            merged: Instant::now(),
        };
        let stop = process.shutdown.clone();
        process.tasks.spawn(async move {
            stop.run_until_cancelled(keeper.run()).await;
        });
        index
    }

    /// To be called after each commit, with the channels that it appended to.
    pub fn appended(&self, channels: impl IntoIterator<Item = FriendshipId>) {
        let mut behind = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        behind.extend(channels.into_iter().map(|channel| channel.0));
    }

    fn take(&self) -> Vec<Uuid> {
        let mut behind = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        mem::take(&mut *behind).into_iter().collect()
    }
}

struct Keeper {
    index: Index,
    db: Writer,
    /// Channels of this pass that could not be taken over.
    failed: usize,
    /// Rows that were added since the pending list was last merged.
    unmerged: usize,
    merged: Instant,
}

impl Keeper {
    async fn run(mut self) {
        metrics::describe_gauge!(
            "search_channels_failed",
            "Channels whose newest messages could not be put into the search table in the last pass"
        );
        let mut compare_at = Instant::now();
        loop {
            if Instant::now() >= compare_at {
                compare_at = Instant::now() + COMPARE_EVERY;
                if let Err(error) = self.compare().await {
                    tracing::warn!(%error, "the search index is compared with the logs later");
                }
            }
            self.failed = 0;
            let behind = self.index.take();
            for channels in behind.chunks(CHANNELS) {
                self.keep_up(channels).await;
            }
            self.merge().await;
            metrics::gauge!("search_channels_failed").set(self.failed as f64);
            sleep(EVERY).await;
        }
    }

    /// Compares all channels with the search table, and takes over what it lacks.
    async fn compare(&mut self) -> sqlx::Result<()> {
        let mut after = Uuid::nil();
        loop {
            let compared = self.db.run(TIMEOUT, async |db: &mut PgConnection| {
                store::compare(db, after, COMPARED).await
            });
            let compared = compared.await?;
            let Some((last, _)) = compared.last() else {
                return Ok(());
            };
            after = *last;
            let behind = compared.into_iter().filter(|(_, is_behind)| *is_behind);
            let behind: Vec<Uuid> = behind.map(|(channel, _)| channel).collect();
            for channels in behind.chunks(CHANNELS) {
                self.keep_up(channels).await;
            }
        }
    }

    /// Takes over what these channels have; if that fails, they are tried again in the next pass.
    async fn keep_up(&mut self, channels: &[Uuid]) {
        let mut channels = channels.to_vec();
        while !channels.is_empty() {
            match self.take_over(&channels).await {
                Ok(Some(unfinished)) => channels = unfinished,
                // Another replica holds the lock, and may have read the log before this append.
                Ok(None) => return self.index.appended(channels.into_iter().map(FriendshipId)),
                Err(error) => {
                    tracing::warn!(%error, "the search index is brought up later");
                    self.failed += channels.len();
                    return self.index.appended(channels.into_iter().map(FriendshipId));
                }
            }
            if self.unmerged >= MERGE_ROWS {
                self.merge().await;
            }
        }
    }

    /// Takes over some entries of each channel; returns the channels that may have more. `None`
    /// while another replica takes logs over.
    async fn take_over(&mut self, channels: &[Uuid]) -> sqlx::Result<Option<Vec<Uuid>>> {
        let each = (ENTRIES / channels.len().max(1)).max(1);
        let entries = self.db.run(TIMEOUT, async |db: &mut PgConnection| {
            store::unsearched(db, channels, each).await
        });
        let (searched, mut unfinished) = read(&entries.await?, each);
        let stored = self.db.run(TIMEOUT, async |db: &mut PgConnection| {
            let mut tx = db.begin().await?;
            if !store::lock_search(&mut tx).await? {
                tx.rollback().await?;
                return Ok(None);
            }
            let stored = searched.store(&mut tx).await?;
            tx.commit().await?;
            Ok(Some(stored))
        });
        let Some((rows, overtaken)) = stored.await? else {
            return Ok(None);
        };
        self.unmerged += rows;
        unfinished.retain(|channel| !overtaken.contains(channel));
        unfinished.extend(overtaken);
        Ok(Some(unfinished))
    }

    async fn merge(&mut self) {
        let is_due = self.merged.elapsed() >= MERGE_EVERY || self.unmerged >= MERGE_ROWS;
        if self.unmerged == 0 || !is_due {
            return;
        }
        let merged = self.db.run(TIMEOUT, async |db: &mut PgConnection| {
            store::merge_words(db).await
        });
        match merged.await {
            Ok(()) => self.unmerged = 0,
            Err(error) => tracing::warn!(%error, "new words are merged into their index later"),
        }
        self.merged = Instant::now();
    }
}

/// Makes the rows of entries, which are in the order of their channels; also returns the channels
/// that may have more entries than were read or fit.
fn read(entries: &[Unsearched], each: usize) -> (Searched, Vec<Uuid>) {
    let mut searched = Searched::default();
    let mut unfinished = Vec::new();
    let mut bytes = 0;
    for of_channel in entries.chunk_by(|a, b| a.friendship_id == b.friendship_id) {
        let mut taken = 0;
        for entry in of_channel {
            if bytes > 0 && bytes + entry.content.len() > TEXT_BYTES {
                break;
            }
            bytes += entry.content.len();
            add(&mut searched, entry);
            taken += 1;
        }
        if let Some(last) = of_channel[..taken].last() {
            searched.up_to(last);
        }
        if taken == each || taken < of_channel.len() {
            unfinished.push(of_channel[0].friendship_id);
        }
    }
    (searched, unfinished)
}

fn add(searched: &mut Searched, entry: &Unsearched) {
    match entry.kind() {
        Kind::Message | Kind::Edited => {
            let mut grams = grams_of(&entry.content);
            if !grams.is_empty() {
                grams.push(slice(entry.friendship_id, entry.seq.unsigned_abs() / SLICE));
                searched.add(entry, &grams);
            }
        }
        Kind::Deleted => searched.remove(entry),
        Kind::Unknown => {}
    }
}
