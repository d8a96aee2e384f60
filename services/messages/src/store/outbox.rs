//! Which committed batches the stream may not have yet.

use natter_bus::Stored;
use natter_protocol::MessageId;
use sqlx::PgPool;
use uuid::Uuid;

use super::Store;

/// Where a stream put a batch.
pub struct Published {
    /// The number of the first event there.
    pub first: u64,
    /// The last event there, and its place.
    pub event: MessageId,
    pub at: Stored,
}

/// A committed batch that the stream may not have yet.
#[derive(Debug, sqlx::FromRow)]
pub struct OutboxRow {
    pub id: i64,
    pub channels: Vec<Uuid>,
    pub first_seqs: Vec<i64>,
    pub last_seqs: Vec<i64>,
}

impl Store {
    /// Batches whose publication was not confirmed within the time that it may take.
    pub async fn unpublished(
        &self,
        limit: i64,
        older_than_seconds: f64,
    ) -> sqlx::Result<Vec<OutboxRow>> {
        sqlx::query_as(
            "SELECT id, channels, first_seqs, last_seqs FROM outbox
             WHERE published_at IS NULL AND created_at < now() - make_interval(secs => $2)
             ORDER BY id LIMIT $1",
        )
        .bind(limit)
        .bind(older_than_seconds)
        .fetch_all(&self.0)
        .await
    }

    /// Notes that a stream has all of a batch, and where.
    pub async fn published(&self, id: i64, published: &Published) -> sqlx::Result<()> {
        sqlx::query(
            "UPDATE outbox SET published_at = now(), stream = $2, stream_first = $3,
                    stream_seq = $4, event_id = $5
             WHERE id = $1",
        )
        .bind(id)
        .bind(&published.at.stream)
        .bind(published.first.cast_signed())
        .bind(published.at.seq.cast_signed())
        .bind(published.event.0)
        .execute(&self.0)
        .await?;
        Ok(())
    }

    pub fn pool(&self) -> &PgPool {
        &self.0
    }
}
