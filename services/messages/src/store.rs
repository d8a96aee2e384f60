//! All SQL of the schema `messages`.

mod append;
mod backup;
mod conversations;
mod epoch;
mod log;
mod marks;
mod media;
mod outbox;
mod search;
mod trace;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use natter_protocol::{FriendshipId, UserId, event::FriendshipState};
use sqlx::PgPool;
use uuid::Uuid;

pub use append::{Appended, PlainSend, append, insert, lock_and_read};
pub use backup::{BACKUP, CHANNELS};
pub use epoch::{LogEpoch, begin_epoch, has_entry, log_epoch};
pub use log::LogRow;
pub use marks::{KnownMark, MarkSeqs, MovedMark, Newest, move_marks};
pub use outbox::{OutboxRow, Published, published};
pub use search::{
    Candidate, Searched, SearchedChannel, Unsearched, compare, lock_search, merge_words, unsearched,
};
pub use trace::{Traced, TracedBatch, TracedMark, traced, traced_batch, traced_marks};

use crate::channel::Channel;

#[derive(Clone)]
pub struct Store(PgPool);

/// The columns of a [`ChannelRow`].
macro_rules! channel_columns {
    () => {
        "friendship_id, from_user, to_user, is_open, last_seq, messages, from_messages, last_at"
    };
}
use channel_columns;

#[derive(Debug, sqlx::FromRow)]
struct ChannelRow {
    friendship_id: Uuid,
    from_user: Uuid,
    to_user: Uuid,
    is_open: bool,
    last_seq: i64,
    messages: i64,
    from_messages: i64,
    last_at: DateTime<Utc>,
}

impl From<ChannelRow> for Channel {
    fn from(row: ChannelRow) -> Self {
        Self {
            id: FriendshipId(row.friendship_id),
            members: [UserId(row.from_user), UserId(row.to_user)],
            is_open: row.is_open,
            last_seq: row.last_seq.unsigned_abs(),
            messages: row.messages.unsigned_abs(),
            from_messages: row.from_messages.unsigned_abs(),
            last_at: row.last_at.into(),
        }
    }
}

impl Store {
    pub fn new(pool: PgPool) -> Self {
        Self(pool)
    }

    pub async fn channel(&self, id: FriendshipId) -> sqlx::Result<Option<Channel>> {
        let row: Option<ChannelRow> = sqlx::query_as(concat!(
            "SELECT ",
            channel_columns!(),
            " FROM channels WHERE friendship_id = $1"
        ))
        .bind(id.0)
        .fetch_optional(&self.0)
        .await?;
        Ok(row.map(Channel::from))
    }

    pub async fn channels(&self, ids: &[Uuid]) -> sqlx::Result<HashMap<FriendshipId, Channel>> {
        let rows: Vec<ChannelRow> = sqlx::query_as(concat!(
            "SELECT ",
            channel_columns!(),
            " FROM channels WHERE friendship_id = ANY($1)"
        ))
        .bind(ids)
        .fetch_all(&self.0)
        .await?;
        Ok(by_id(rows))
    }

    /// Takes over a friendship's state, unless a newer one is known.
    pub async fn project(&self, state: &FriendshipState) -> sqlx::Result<()> {
        let friendship = &state.friendship;
        sqlx::query(
            "INSERT INTO channels
                 (friendship_id, from_user, to_user, is_open, revision, created_at)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (friendship_id) DO UPDATE
             SET is_open = excluded.is_open, revision = excluded.revision
             WHERE channels.revision < excluded.revision",
        )
        .bind(friendship.id.0)
        .bind(friendship.from_user.0)
        .bind(friendship.to_user.0)
        .bind(friendship.is_open)
        .bind(state.revision)
        .bind(friendship.date_created.utc())
        .execute(&self.0)
        .await?;
        Ok(())
    }

    pub async fn heads(&self, channels: &[Uuid]) -> sqlx::Result<HashMap<FriendshipId, u64>> {
        let rows: Vec<(Uuid, i64)> = sqlx::query_as(
            "SELECT friendship_id, last_seq FROM channels WHERE friendship_id = ANY($1)",
        )
        .bind(channels)
        .fetch_all(&self.0)
        .await?;
        Ok(rows
            .into_iter()
            .map(|(id, seq)| (FriendshipId(id), seq.unsigned_abs()))
            .collect())
    }
}

fn by_id(rows: Vec<ChannelRow>) -> HashMap<FriendshipId, Channel> {
    rows.into_iter()
        .map(|row| (FriendshipId(row.friendship_id), row.into()))
        .collect()
}

/// Postgres has no unsigned numbers. A number too large for it becomes the largest, which is past
/// any end.
fn as_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
