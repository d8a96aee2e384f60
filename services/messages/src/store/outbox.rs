//! Which committed batches the stream may not have yet.

use natter_bus::StreamPosition;
use natter_protocol::MessageId;
use sqlx::{PgConnection, PgPool};
use tokio::time::Instant;
use uuid::Uuid;

use super::Store;

/// Where a stream put a batch.
pub struct Published {
    /// The number of the first event there.
    pub first: u64,
    /// The last event there, and its place.
    pub event: MessageId,
    pub at: StreamPosition,
    /// When the stream said so.
    pub when: Instant,
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

    pub fn pool(&self) -> &PgPool {
        &self.0
    }
}

/// Notes that a stream has all of some batches, and where. The time is the database's: rows are
/// compared by it, and the clocks of replicas differ.
pub async fn published(db: &mut PgConnection, batches: &[(i64, Published)]) -> sqlx::Result<()> {
    fn column_of<T>(batches: &[(i64, Published)], value: impl Fn(&Published) -> T) -> Vec<T> {
        batches
            .iter()
            .map(|(_, published)| value(published))
            .collect()
    }
    let ids: Vec<i64> = batches.iter().map(|(id, _)| *id).collect();
    sqlx::query(
        "UPDATE outbox SET published_at = clock_timestamp() - make_interval(secs => batch.age),
                stream = batch.stream, stream_first = batch.first, stream_seq = batch.last,
                event_id = batch.event
         FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::uuid[],
                     $6::float8[])
             AS batch (id, stream, first, last, event, age)
         WHERE outbox.id = batch.id",
    )
    .bind(ids)
    .bind(column_of(batches, |one| one.at.stream.clone()))
    .bind(column_of(batches, |one| one.first.cast_signed()))
    .bind(column_of(batches, |one| one.at.seq.cast_signed()))
    .bind(column_of(batches, |one| one.event.0))
    .bind(column_of(batches, |one| one.when.elapsed().as_secs_f64()))
    .execute(db)
    .await?;
    Ok(())
}
