//! Adding to the outbox.

use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

/// Adds an event that a stream keeps to the transaction.
pub async fn push(
    tx: &mut PgConnection,
    event_id: Uuid,
    subject: &str,
    payload: &impl Serialize,
) -> sqlx::Result<()> {
    insert(tx, event_id, subject, payload, true).await
}

/// Adds a notice to the transaction. Only those get it who are subscribed when it is published.
pub async fn push_notice(
    tx: &mut PgConnection,
    event_id: Uuid,
    subject: &str,
    payload: &impl Serialize,
) -> sqlx::Result<()> {
    insert(tx, event_id, subject, payload, false).await
}

async fn insert(
    tx: &mut PgConnection,
    event_id: Uuid,
    subject: &str,
    payload: &impl Serialize,
    durable: bool,
) -> sqlx::Result<()> {
    let payload =
        serde_json::to_string(payload).map_err(|error| sqlx::Error::Encode(error.into()))?;
    sqlx::query(
        "WITH row AS (
             INSERT INTO outbox (event_id, subject, payload, durable, traceparent)
             VALUES ($1, $2, $3, $4, $5)
         )
         SELECT pg_notify(current_schema || '_outbox', '')",
    )
    .bind(event_id)
    .bind(subject)
    .bind(payload)
    .bind(durable)
    .bind(natter_bus::traceparent())
    .execute(tx)
    .await?;
    Ok(())
}
