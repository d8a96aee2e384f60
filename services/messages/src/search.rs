//! Finding messages by words and parts of words.
//!
//! [`index`] takes the logs over into the search table about a second after an entry is committed,
//! so that no message waits for it. The table gives the messages that may match; here the present
//! text of each is compared with the query, which also tells whole words from parts.

mod index;
mod query;
mod text;

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
};

use chrono::{DateTime, Utc};
use futures_util::{TryStreamExt, stream::BoxStream};
use natter_protocol::{FriendshipId, UserId};
use tokio::sync::Semaphore;

use crate::store::{Candidate, SearchedChannel, Store};
pub use index::Index;
use query::Match;
pub use query::Query;
pub use text::{SLICE, slice};
use text::{folded, grams};

/// The most matches that are ranked and counted, chosen from the newest of each conversation, so
/// that a word which is in every message of a long conversation has a bounded cost.
pub const MAX_MATCHES: usize = 10_000;
/// The most candidates whose text is compared with the query. It bounds the cost of a query whose
/// terms are each common but seldom in the same message.
const MAX_CANDIDATES: usize = 100_000;
/// How many log entries the first step of a search covers. Each further step covers twice as many as
/// the one before, up to `MOST_ENTRIES`.
const FIRST_ENTRIES: u64 = 2 * SLICE;
const MOST_ENTRIES: u64 = 64 * SLICE;
/// Searches that run at the same time, so that they leave database connections to other requests.
const AT_A_TIME: usize = 4;
static TURNS: Semaphore = Semaphore::const_new(AT_A_TIME);
/// The most entries of each channel that a search reads from the log because the search table does
/// not have them yet: those of the last second, or more while the table is being filled.
const MAX_TAIL: usize = 1_000;

/// The grams under which the search table has a text, beside the [`slice()`] of its entry.
pub fn grams_of(text: &str) -> Vec<i32> {
    grams(&folded(text))
}

/// How many messages of a user's conversations match, and where those of a page are: whole words
/// before parts, newer before older.
pub async fn search(
    store: &Store,
    user: UserId,
    query: &Query,
    limit: u64,
    offset: u64,
) -> sqlx::Result<(u64, Vec<(FriendshipId, u64)>)> {
    // The semaphore is never closed.
    let _turn = TURNS.acquire().await;
    let channels = store.searched_channels(user).await?;
    let mut found = Found::of(query, &channels);
    let behind: Vec<_> = channels
        .iter()
        .filter(|channel| channel.is_behind())
        .collect();
    if !behind.is_empty() {
        found.look_at(store.tails(&behind, MAX_TAIL)).await?;
    }
    let slices = newest_slices(&channels);
    let mut slices = slices.as_slice();
    let mut entries = FIRST_ENTRIES;
    while !slices.is_empty() && !found.is_enough() {
        let mut covered = 0;
        let enough = slices.iter().position(|(_, length)| {
            covered += length;
            covered >= entries
        });
        let (next, rest) = slices.split_at(enough.map_or(slices.len(), |last| last + 1));
        let next: Vec<i32> = next.iter().map(|(slice, _)| *slice).collect();
        for clause in &query.0 {
            found
                .look_at(store.candidates(&clause.grams(), &next))
                .await?;
        }
        slices = rest;
        entries = (2 * entries).min(MOST_ENTRIES);
    }
    let places = found.best();
    let count = places.len() as u64;
    let [skipped, taken] = [offset, limit].map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    Ok((
        count,
        places.into_iter().skip(skipped).take(taken).collect(),
    ))
}

/// The messages that match, among those looked at.
struct Found<'a> {
    query: &'a Query,
    /// The user's channels: the search table may give entries of other channels, under the same
    /// hash.
    own: HashSet<FriendshipId>,
    places: HashMap<(FriendshipId, u64), (Match, DateTime<Utc>)>,
    candidates: usize,
}

impl<'a> Found<'a> {
    fn of(query: &'a Query, channels: &[SearchedChannel]) -> Self {
        Self {
            query,
            own: channels.iter().map(SearchedChannel::id).collect(),
            places: HashMap::new(),
            candidates: 0,
        }
    }

    async fn look_at(
        &mut self,
        mut candidates: BoxStream<'_, sqlx::Result<Candidate>>,
    ) -> sqlx::Result<()> {
        while !self.is_enough()
            && let Some(text) = candidates.try_next().await?
        {
            self.candidates += 1;
            if self.own.contains(&text.channel())
                && let Some(matched) = self.query.matches(&folded(&text.content))
            {
                let place = (text.channel(), text.seq());
                self.places.insert(place, (matched, text.at));
            }
        }
        Ok(())
    }

    fn is_enough(&self) -> bool {
        self.places.len() >= MAX_MATCHES || self.candidates >= MAX_CANDIDATES
    }

    fn best(self) -> Vec<(FriendshipId, u64)> {
        let mut found: Vec<_> = self.places.into_iter().collect();
        found.sort_unstable_by_key(|(place, (_, at))| Reverse((*at, *place)));
        found.truncate(MAX_MATCHES);
        // Stable: newer stays before older.
        found.sort_by_key(|(_, (matched, _))| Reverse(*matched));
        found.into_iter().map(|(place, _)| place).collect()
    }
}

/// The slices of channels with how many entries each has at most: the newest of each channel
/// before the second newest of any.
fn newest_slices(channels: &[SearchedChannel]) -> Vec<(i32, u64)> {
    let slices = channels.iter().flat_map(|channel| {
        let (id, last_seq) = (channel.id(), channel.last_seq());
        let newest = last_seq / SLICE;
        (0..=newest).map(move |number| {
            let length = (last_seq + 1 - number * SLICE).min(SLICE);
            (newest - number, slice(id.0, number), length)
        })
    });
    let mut slices: Vec<(u64, i32, u64)> = slices.collect();
    // Stable: channels stay in the order of their newest activity.
    slices.sort_by_key(|(age, ..)| *age);
    let slices = slices.into_iter();
    slices.map(|(_, slice, length)| (slice, length)).collect()
}
