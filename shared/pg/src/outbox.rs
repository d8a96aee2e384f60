//! The transactional outbox: rows and the events about them commit together, a relay publishes.
//!
//! A service's own migrations create its table `outbox`. The relay of one replica at a time
//! publishes in the order of `id`; rows of one key are in order because whoever wrote them held
//! that key's row lock until commit. A published row is kept for [`KEEP_PUBLISHED`], by when the
//! broker must have flushed it to its disk.

use std::{future::Future, time::Duration};

use serde::Serialize;
use sqlx::{PgConnection, PgPool, postgres::PgListener};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How many rows are read at a time.
const BATCH: i64 = 100;
/// The longest that a transaction stays open for publishing: below the limit of idle ones.
const TURN: Duration = Duration::from_secs(5);
/// After which a turn is given up, whatever the database does.
const TURN_TIMEOUT: Duration = Duration::from_secs(20);
/// A wake-up that was lost (the listening connection broke) costs at most this.
const FALLBACK_POLL: Duration = Duration::from_secs(2);
const RETRY_PAUSE: Duration = Duration::from_millis(500);
const KEEP_PUBLISHED: &str = "1 hour";
const CLEAN_EVERY: Duration = Duration::from_secs(300);
/// The advisory lock that makes one relay of a schema the active one; hashed with the schema.
const RELAY_LOCK: i32 = 0x6e61;

/// One event on its way out.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Outgoing {
    pub id: i64,
    /// The event's own id, and its `Nats-Msg-Id`.
    pub event_id: Uuid,
    pub subject: String,
    pub payload: String,
    /// Kept in a stream, or told once to whoever listens now.
    pub durable: bool,
}

/// Adds an event that a stream keeps to the transaction.
pub async fn push(
    tx: &mut PgConnection,
    event_id: Uuid,
    subject: &str,
    payload: &impl Serialize,
) -> sqlx::Result<()> {
    insert(tx, event_id, subject, payload, true).await
}

/// Adds a notice to whoever listens when it is published.
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
             INSERT INTO outbox (event_id, subject, payload, durable) VALUES ($1, $2, $3, $4)
         )
         SELECT pg_notify(current_schema || '_outbox', '')",
    )
    .bind(event_id)
    .bind(subject)
    .bind(payload)
    .bind(durable)
    .execute(tx)
    .await?;
    Ok(())
}

/// Publishes what is committed until `stop`. `publish` returns once the broker has the event.
pub async fn relay<F, Fut, E>(pool: PgPool, stop: CancellationToken, publish: F)
where
    F: Fn(Outgoing) -> Fut,
    Fut: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    let turns = async {
        let mut wake = None;
        let mut cleaned = Instant::now();
        loop {
            let turned = timeout(TURN_TIMEOUT, turn(&pool, &publish)).await;
            match turned.unwrap_or_else(|_| Err("the database does not answer".to_owned())) {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(error, "the outbox waits");
                    sleep(RETRY_PAUSE).await;
                    continue;
                }
            }
            if cleaned.elapsed() > CLEAN_EVERY {
                cleaned = Instant::now();
                clean(&pool).await;
            }
            wait(&pool, &mut wake).await;
        }
    };
    tokio::select! {
        () = turns => {}
        () = stop.cancelled() => {}
    }
}

/// Publishes the next rows in order; whether there may be more. Only the holder of the lock does.
async fn turn<F, Fut, E>(pool: &PgPool, publish: &F) -> Result<bool, String>
where
    F: Fn(Outgoing) -> Fut,
    Fut: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    let as_text = |error: sqlx::Error| error.to_string();
    let mut tx = pool.begin().await.map_err(as_text)?;
    let active: bool =
        sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1, hashtext(current_schema))")
            .bind(RELAY_LOCK)
            .fetch_one(&mut *tx)
            .await
            .map_err(as_text)?;
    if !active {
        return Ok(false);
    }
    let until = Instant::now() + TURN;
    let mut done = Vec::new();
    let mut held_back: Vec<String> = Vec::new();
    let mut failure = None;
    // A stream that takes nothing holds back its own events, in their order, and no others.
    let more = 'rounds: loop {
        let rows: Vec<Outgoing> = sqlx::query_as(
            "SELECT id, event_id, subject, payload, durable FROM outbox
             WHERE published_at IS NULL AND id <> ALL($2) AND NOT subject LIKE ANY($3)
             ORDER BY id LIMIT $1",
        )
        .bind(BATCH)
        .bind(&done)
        .bind(&held_back)
        .fetch_all(&mut *tx)
        .await
        .map_err(as_text)?;
        if rows.is_empty() {
            break false;
        }
        for row in rows {
            if Instant::now() > until {
                break 'rounds true;
            }
            let (id, stream) = (row.id, stream_pattern(&row.subject));
            match publish(row).await {
                Ok(()) => done.push(id),
                Err(error) => {
                    failure = Some(error.to_string());
                    held_back.push(stream);
                    continue 'rounds;
                }
            }
        }
    };
    sqlx::query("UPDATE outbox SET published_at = now() WHERE id = ANY($1)")
        .bind(&done)
        .execute(&mut *tx)
        .await
        .map_err(as_text)?;
    tx.commit().await.map_err(as_text)?;
    metrics::counter!("outbox_published_total").increment(done.len() as u64);
    match failure {
        Some(failure) => Err(failure),
        None => Ok(more),
    }
}

/// What matches the subjects of the same stream: they share their first two tokens.
fn stream_pattern(subject: &str) -> String {
    let tokens: Vec<&str> = subject.split('.').take(2).collect();
    format!("{}.%", tokens.join(".").replace('_', "\\_"))
}

/// Until a transaction with events commits, or the fallback is due.
async fn wait(pool: &PgPool, wake: &mut Option<PgListener>) {
    if wake.is_none() {
        *wake = listener(pool).await;
        if wake.is_none() {
            sleep(RETRY_PAUSE).await;
        }
        // Whatever was committed before it listened is looked for at once.
        return;
    }
    if let Some(listener) = wake {
        let result = tokio::time::timeout(FALLBACK_POLL, listener.recv()).await;
        if let Ok(Err(error)) = result {
            tracing::debug!(%error, "the outbox listener broke");
            *wake = None;
            sleep(RETRY_PAUSE).await;
        }
    }
}

async fn listener(pool: &PgPool) -> Option<PgListener> {
    let schema: String = sqlx::query_scalar("SELECT current_schema")
        .fetch_one(pool)
        .await
        .ok()?;
    let mut listener = PgListener::connect_with(pool).await.ok()?;
    listener.listen(&format!("{schema}_outbox")).await.ok()?;
    Some(listener)
}

async fn clean(pool: &PgPool) {
    let result = sqlx::query("DELETE FROM outbox WHERE published_at < now() - $1::interval")
        .bind(KEEP_PUBLISHED)
        .execute(pool)
        .await;
    if let Err(error) = result {
        tracing::warn!(%error, "published outbox rows could not be deleted");
    }
}
