//! Takes the logs over into the table that is searched.
//!
//! The log is the truth: how far each channel's was taken over is stored with what was, so nothing
//! is missed, whoever appended to it and whoever crashed. Replicas say to themselves what they
//! appended; what nobody said is found by comparing, at the start and from time to time.

use std::{
    collections::HashSet,
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use natter_pg::Writer;
use natter_protocol::{FriendshipId, message::Kind};
use natter_service::Process;
use sqlx::{Connection, PgConnection};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{SLICE, grams_of, slice};
use crate::store::{self, Searched, Store, Unsearched};

/// How long entries are gathered before they are taken over.
const EVERY: Duration = Duration::from_secs(1);
/// For appends that no running replica knows of.
const COMPARE_EVERY: Duration = Duration::from_secs(600);
/// Channels that are compared, and taken over, with one statement.
const CHANNELS: usize = 100;
/// Entries that are taken over in one transaction, in equal parts of its channels.
const ENTRIES: usize = 5_000;
const TIMEOUT: Duration = Duration::from_secs(30);
/// New rows wait for their place in the index, where a search reads them one by one: so many, and
/// so long.
const MERGE_ROWS: usize = 2_000;
const MERGE_EVERY: Duration = Duration::from_secs(10);
/// What is lost is taken over again, so it need not be on disk before others go on.
const SETTINGS: [(&str, &str); 1] = [("synchronous_commit", "off")];

/// Which channels have entries that were not taken over yet.
#[derive(Clone, Default)]
pub struct Index(Arc<Mutex<HashSet<Uuid>>>);

impl Index {
    pub fn start(store: &Store, process: &Process) -> Self {
        let index = Self::default();
        let keeper = Keeper {
            index: index.clone(),
            db: Writer::new(store.pool(), &SETTINGS),
            unmerged: 0,
            merged: Instant::now(),
        };
        let stop = process.shutdown.clone();
        process.tasks.spawn(async move {
            tokio::select! {
                () = keeper.run() => {}
                () = stop.cancelled() => {}
            }
        });
        index
    }

    /// To be told after each commit.
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
    /// Rows that wait for their place in the index.
    unmerged: usize,
    merged: Instant,
}

impl Keeper {
    async fn run(mut self) {
        let mut compare_at = Instant::now();
        loop {
            if Instant::now() >= compare_at {
                match self.compare().await {
                    Ok(()) => compare_at = Instant::now() + COMPARE_EVERY,
                    Err(error) => tracing::debug!(%error, "the logs are compared later"),
                }
            }
            let behind = self.index.take();
            for channels in behind.chunks(CHANNELS) {
                self.keep_up(channels).await;
            }
            if let Err(error) = self.merge().await {
                tracing::debug!(%error, "new words are merged later");
            }
            sleep(EVERY).await;
        }
    }

    /// Takes over whatever was not, of all channels.
    async fn compare(&mut self) -> sqlx::Result<()> {
        let mut after = Uuid::nil();
        loop {
            let behind = self.db.run(TIMEOUT, async |db: &mut PgConnection| {
                store::behind(db, after, CHANNELS).await
            });
            let behind = behind.await?;
            let Some(last) = behind.last() else {
                return Ok(());
            };
            after = *last;
            self.keep_up(&behind).await;
        }
    }

    /// Takes over what these channels have; what cannot be now is tried again.
    async fn keep_up(&mut self, channels: &[Uuid]) {
        let mut channels = channels.to_vec();
        while !channels.is_empty() {
            let taken = self.db.run(TIMEOUT, async |db: &mut PgConnection| {
                take_over(db, &channels).await
            });
            match taken.await {
                Ok(Some((rows, unfinished))) => {
                    self.unmerged += rows;
                    channels = unfinished;
                }
                // Another replica does it, and may have read before what was appended here.
                Ok(None) => return self.index.appended(channels.into_iter().map(FriendshipId)),
                Err(error) => {
                    tracing::debug!(%error, "the search index is brought up later");
                    return self.index.appended(channels.into_iter().map(FriendshipId));
                }
            }
        }
    }

    async fn merge(&mut self) -> sqlx::Result<()> {
        let is_due = self.merged.elapsed() >= MERGE_EVERY || self.unmerged >= MERGE_ROWS;
        if self.unmerged == 0 || !is_due {
            return Ok(());
        }
        let merged = self.db.run(TIMEOUT, async |db: &mut PgConnection| {
            store::merge_words(db).await
        });
        merged.await?;
        self.unmerged = 0;
        self.merged = Instant::now();
        Ok(())
    }
}

/// Takes over some entries of each channel: how many rows came, and the channels that may have
/// more. `None` while another replica does it.
async fn take_over(
    db: &mut PgConnection,
    channels: &[Uuid],
) -> sqlx::Result<Option<(usize, Vec<Uuid>)>> {
    let mut tx = db.begin().await?;
    if !store::lock_search(&mut tx).await? {
        return Ok(None);
    }
    let each = ENTRIES / channels.len().max(1);
    let entries = store::unsearched(&mut tx, channels, each).await?;
    let mut searched = Searched::default();
    let mut unfinished = Vec::new();
    for of_channel in entries.chunk_by(|a, b| a.friendship_id == b.friendship_id) {
        for entry in of_channel {
            add(&mut searched, entry);
        }
        if let Some(last) = of_channel.last() {
            searched.up_to(last.friendship_id, last.seq);
            if of_channel.len() == each {
                unfinished.push(last.friendship_id);
            }
        }
    }
    let rows = searched.store(&mut tx).await?;
    tx.commit().await?;
    Ok(Some((rows, unfinished)))
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
