//! The way of one entry of a log, without its content.

use chrono::{DateTime, Utc};
use natter_protocol::MessageId;
use sqlx::PgConnection;
use uuid::Uuid;

use super::as_i64;

/// Where an entry is, and what became of it.
#[derive(Debug, sqlx::FromRow)]
pub struct Traced {
    pub friendship_id: Uuid,
    pub from_user: Uuid,
    pub to_user: Uuid,
    pub sender: Uuid,
    /// When the messages service took it, before the commit.
    pub at: DateTime<Utc>,
    pub kind: i16,
    /// The message's newest edit.
    pub edit_seq: Option<i64>,
    pub deleted: bool,
}

/// The batch that an entry was committed in.
#[derive(Debug, sqlx::FromRow)]
pub struct TracedBatch {
    pub id: i64,
    pub created_at: DateTime<Utc>,
    /// When the stream confirmed it.
    pub published_at: Option<DateTime<Utc>>,
    /// The numbers of its events in the stream.
    pub stream_first: Option<i64>,
    pub stream_seq: Option<i64>,
}

/// How far a user is in the entry's channel, and since when.
#[derive(Debug, sqlx::FromRow)]
pub struct TracedMark {
    pub user_id: Uuid,
    pub received_seq: i64,
    pub seen_seq: i64,
    pub updated_at: DateTime<Utc>,
}

/// Finds an entry by its id alone: looks, by primary key, in each log that reaches its `seq`.
pub async fn traced(db: &mut PgConnection, id: MessageId) -> sqlx::Result<Option<Traced>> {
    sqlx::query_as(
        "SELECT friendship_id, from_user, to_user, sender, at, kind, edit_seq, deleted
         FROM channels CROSS JOIN LATERAL (
             SELECT sender, at, kind, edit_seq, deleted FROM log
             WHERE log.friendship_id = channels.friendship_id AND seq = $2 AND id = $1
         ) AS entry
         WHERE last_seq >= $2 LIMIT 1",
    )
    .bind(id.0)
    .bind(as_i64(id.seq()))
    .fetch_optional(db)
    .await
}

/// The batch of an entry; `None` once the stream no longer keeps it.
pub async fn traced_batch(
    db: &mut PgConnection,
    entry: &Traced,
    seq: u64,
) -> sqlx::Result<Option<TracedBatch>> {
    // The clocks of the replicas may differ.
    sqlx::query_as(
        "SELECT id, created_at, published_at, stream_first, stream_seq
         FROM outbox, unnest(channels, first_seqs, last_seqs) AS part (channel, first, last)
         WHERE channel = $1 AND $2 BETWEEN first AND last
           AND (published_at IS NULL OR published_at > $3 - interval '1 minute')
         ORDER BY published_at LIMIT 1",
    )
    .bind(entry.friendship_id)
    .bind(as_i64(seq))
    .bind(entry.at)
    .fetch_optional(db)
    .await
}

pub async fn traced_marks(db: &mut PgConnection, entry: &Traced) -> sqlx::Result<Vec<TracedMark>> {
    sqlx::query_as(
        "SELECT user_id, received_seq, seen_seq, updated_at FROM marks
         WHERE friendship_id = $1",
    )
    .bind(entry.friendship_id)
    .fetch_all(db)
    .await
}
