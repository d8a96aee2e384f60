//! Which committed batches the stream may not have yet.

use uuid::Uuid;

use super::Store;

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

    pub async fn published(&self, ids: &[i64]) -> sqlx::Result<()> {
        sqlx::query("UPDATE outbox SET published_at = now() WHERE id = ANY($1)")
            .bind(ids)
            .execute(&self.0)
            .await?;
        Ok(())
    }

    /// Forgets batches that were published so long ago that the broker has flushed them.
    pub async fn clean_outbox(&self, keep_seconds: f64) -> sqlx::Result<()> {
        sqlx::query("DELETE FROM outbox WHERE published_at < now() - make_interval(secs => $1)")
            .bind(keep_seconds)
            .execute(&self.0)
            .await?;
        Ok(())
    }
}
