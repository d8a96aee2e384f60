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
    let mut one = Batch::default();
    one.push(event_id, subject.to_owned(), payload)?;
    one.insert(tx).await
}

/// Adds a notice to the transaction. It reaches only those who are subscribed when it is published.
pub async fn push_notice(
    tx: &mut PgConnection,
    event_id: Uuid,
    subject: &str,
    payload: &impl Serialize,
) -> sqlx::Result<()> {
    let mut one = Batch::default();
    one.push_notice(event_id, subject.to_owned(), payload)?;
    one.insert(tx).await
}

/// Events and notices that one statement adds, in their order.
#[derive(Default)]
pub struct Batch {
    event_ids: Vec<Uuid>,
    subjects: Vec<String>,
    payloads: Vec<String>,
    durable: Vec<bool>,
}

impl Batch {
    /// Adds an event that a stream keeps.
    pub fn push(
        &mut self,
        event_id: Uuid,
        subject: String,
        payload: &impl Serialize,
    ) -> sqlx::Result<()> {
        self.add(event_id, subject, payload, true)
    }

    /// Adds a notice.
    pub fn push_notice(
        &mut self,
        event_id: Uuid,
        subject: String,
        payload: &impl Serialize,
    ) -> sqlx::Result<()> {
        self.add(event_id, subject, payload, false)
    }

    fn add(
        &mut self,
        event_id: Uuid,
        subject: String,
        payload: &impl Serialize,
        durable: bool,
    ) -> sqlx::Result<()> {
        let payload =
            serde_json::to_string(payload).map_err(|error| sqlx::Error::Encode(error.into()))?;
        self.event_ids.push(event_id);
        self.subjects.push(subject);
        self.payloads.push(payload);
        self.durable.push(durable);
        Ok(())
    }

    /// Adds all of it to the transaction.
    pub async fn insert(self, tx: &mut PgConnection) -> sqlx::Result<()> {
        sqlx::query(
            "WITH rows AS (
                 INSERT INTO outbox (event_id, subject, payload, durable, traceparent)
                 SELECT event_id, subject, payload, durable, $5
                 FROM unnest($1::uuid[], $2::text[], $3::text[], $4::boolean[])
                      WITH ORDINALITY AS one (event_id, subject, payload, durable, place)
                 ORDER BY place
             )
             SELECT pg_notify(current_schema || '_outbox', '')",
        )
        .bind(self.event_ids)
        .bind(self.subjects)
        .bind(self.payloads)
        .bind(self.durable)
        .bind(natter_bus::traceparent())
        .execute(tx)
        .await?;
        Ok(())
    }
}
