//! The relay: publishes what is committed, in the order of `id`, one replica at a time.

use std::time::Duration;

use fail::fail_point;
use natter_bus::{Bus, PublishError, StreamPosition, outbox_span};
use sqlx::{PgConnection, PgPool, postgres::PgListener};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use uuid::Uuid;

/// How many rows are read at a time.
const BATCH: i64 = 100;
/// The longest that a transaction stays open for publishing: below the limit of idle ones.
const TURN: Duration = Duration::from_secs(2);
const IDLE_TURN_TIMEOUT_MS: &str = "6000";
/// After which a turn is given up, whatever the database does.
const TURN_TIMEOUT: Duration = Duration::from_secs(20);
/// A wake-up that was lost (the listening connection broke) costs at most this.
const FALLBACK_POLL: Duration = Duration::from_secs(2);
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// The advisory lock that makes one relay of a schema the active one; hashed with the schema.
const RELAY_LOCK: i32 = 0x6e61;

/// One event on its way out.
#[derive(sqlx::FromRow)]
struct Outgoing {
    id: i64,
    /// The event's own id, and its `Nats-Msg-Id`.
    event_id: Uuid,
    subject: String,
    payload: String,
    /// Whether a stream keeps it. If not (a notice), only those get it who are subscribed now.
    durable: bool,
    /// The trace of the request that wrote it, if that is traced.
    traceparent: Option<String>,
}

/// Publishes what is committed until `stop`.
pub async fn relay(pool: PgPool, bus: Bus, stop: CancellationToken) {
    metrics::describe_counter!("outbox_published_total", "Events published by the relay");
    metrics::describe_gauge!(
        "outbox_waiting_seconds",
        "For how long the oldest event waits to be published"
    );
    // The counter is shown from the start on, with the value 0.
    metrics::counter!("outbox_published_total").increment(0);
    let turns = async {
        let mut wake = None;
        let mut was_woken = true;
        loop {
            let turned = timeout(TURN_TIMEOUT, turn(&pool, &bus)).await;
            match turned.unwrap_or_else(|_| Err("the database does not answer".to_owned())) {
                Ok(Turned { published, more }) => {
                    if published && !was_woken {
                        // A listener that says nothing of a commit may have lost its database.
                        wake = None;
                    }
                    if more {
                        continue;
                    }
                }
                Err(error) => {
                    tracing::warn!(error, "the outbox waits");
                    sleep(RETRY_PAUSE).await;
                    continue;
                }
            }
            was_woken = wait(&pool, &mut wake).await;
        }
    };
    stop.run_until_cancelled(turns).await;
}

/// The result of a turn.
#[derive(Default)]
struct Turned {
    /// Whether it published anything.
    published: bool,
    /// Whether there may be more to publish.
    more: bool,
}

/// Publishes the next rows in order, if no other replica holds the lock.
async fn turn(pool: &PgPool, bus: &Bus) -> Result<Turned, String> {
    let as_text = |error: sqlx::Error| error.to_string();
    let mut tx = pool.begin().await.map_err(as_text)?;
    // Between two statements is at most one turn and one publish: a process that is frozen lets go
    // of the lock soon after.
    sqlx::query("SELECT set_config('idle_in_transaction_session_timeout', $1, true)")
        .bind(IDLE_TURN_TIMEOUT_MS)
        .execute(&mut *tx)
        .await
        .map_err(as_text)?;
    let (active, schema): (bool, String) = sqlx::query_as(
        "SELECT pg_try_advisory_xact_lock($1, hashtext(current_schema)), current_schema",
    )
    .bind(RELAY_LOCK)
    .fetch_one(&mut *tx)
    .await
    .map_err(as_text)?;
    let waiting = metrics::gauge!("outbox_waiting_seconds", "schema" => schema);
    if !active {
        // Only the replica that publishes shows how long events wait.
        waiting.set(0.0);
        return Ok(Turned::default());
    }
    waiting.set(oldest(&mut tx).await.map_err(as_text)?);
    let mut until = Instant::now() + TURN;
    let mut done = Done::default();
    let mut held_back: Vec<String> = Vec::new();
    let mut failure = None;
    // Notices go before each batch of events: they act on live connections.
    let (mut durable, mut were_notices) = (false, false);
    // A stream that takes nothing holds back its own events, in their order, and no others.
    let more = 'rounds: loop {
        let rows: Vec<Outgoing> = sqlx::query_as(
            "SELECT id, event_id, subject, payload, durable, traceparent FROM outbox
             WHERE published_at IS NULL AND durable = $4
               AND id <> ALL($2) AND NOT subject LIKE ANY($3)
             ORDER BY id LIMIT $1",
        )
        .bind(BATCH)
        .bind(&done.ids)
        .bind(&held_back)
        .bind(durable)
        .fetch_all(&mut *tx)
        .await
        .map_err(as_text)?;
        if durable && rows.is_empty() && !were_notices {
            break false;
        }
        were_notices = !durable && !rows.is_empty();
        durable = !durable;
        for row in rows {
            if Instant::now() > until {
                break 'rounds true;
            }
            fail_point!("outbox-publish", |_| std::process::abort());
            let (id, stream) = (row.id, stream_pattern(&row.subject));
            match publish(bus, row).await {
                Ok(stored) => done.push(id, stored),
                Err(error) => {
                    failure = Some(error.to_string());
                    held_back.push(stream);
                    // What it cost to wait for this stream is not taken from the others' time.
                    until = Instant::now() + TURN;
                    continue 'rounds;
                }
            }
            fail_point!("outbox-published", |_| std::process::abort());
        }
    };
    let published = !done.ids.is_empty();
    if published {
        done.mark(&mut tx).await.map_err(as_text)?;
        fail_point!("outbox-marked", |_| std::process::abort());
        tx.commit().await.map_err(as_text)?;
        metrics::counter!("outbox_published_total").increment(done.ids.len() as u64);
    }
    match failure {
        Some(failure) => Err(failure),
        None => Ok(Turned { published, more }),
    }
}

/// For how many seconds the oldest event has waited.
async fn oldest(tx: &mut PgConnection) -> sqlx::Result<f64> {
    sqlx::query_scalar(
        "SELECT coalesce(extract(epoch FROM now() - (
             SELECT created_at FROM outbox WHERE published_at IS NULL ORDER BY id LIMIT 1
         )), 0)::float8",
    )
    .fetch_one(tx)
    .await
}

/// Rows that were published, and where their streams put them.
#[derive(Default)]
struct Done {
    ids: Vec<i64>,
    streams: Vec<Option<String>>,
    seqs: Vec<Option<i64>>,
}

impl Done {
    fn push(&mut self, id: i64, stored: Option<StreamPosition>) {
        self.ids.push(id);
        let seq = stored.as_ref().map(|stored| stored.seq.cast_signed());
        self.seqs.push(seq);
        self.streams.push(stored.map(|stored| stored.stream));
    }

    async fn mark(&self, tx: &mut PgConnection) -> sqlx::Result<()> {
        sqlx::query(
            "UPDATE outbox SET published_at = now(), stream = done.stream,
                    stream_first = done.seq, stream_seq = done.seq
             FROM unnest($1::bigint[], $2::text[], $3::bigint[]) AS done (id, stream, seq)
             WHERE outbox.id = done.id",
        )
        .bind(&self.ids)
        .bind(&self.streams)
        .bind(&self.seqs)
        .execute(tx)
        .await?;
        Ok(())
    }
}

/// Publishes an event to its stream, or a notice to those who are subscribed now.
async fn publish(bus: &Bus, row: Outgoing) -> Result<Option<StreamPosition>, PublishError> {
    let id = row.event_id.to_string();
    let span = outbox_span(&row.subject, &id, row.traceparent.as_deref());
    async {
        if !row.durable {
            bus.tell(row.subject, row.payload.into()).await?;
            return Ok(None);
        }
        let sent = bus.store(row.subject, &id, row.payload.into()).await?;
        Ok(Some(sent.confirmed().await?))
    }
    .instrument(span)
    .await
}

/// What matches the subjects of the same stream: they share their first two tokens.
fn stream_pattern(subject: &str) -> String {
    let tokens: Vec<&str> = subject.split('.').take(2).collect();
    format!("{}.%", tokens.join(".").replace('_', "\\_"))
}

/// Waits until a transaction with events commits, or [`FALLBACK_POLL`] is over. Returns whether
/// events may have come before that was over.
async fn wait(pool: &PgPool, wake: &mut Option<PgListener>) -> bool {
    if wake.is_none() {
        *wake = listener(pool).await;
        if wake.is_none() {
            sleep(RETRY_PAUSE).await;
        }
        // Whatever was committed before it listened is looked for at once.
        return true;
    }
    let Some(listener) = wake else {
        return true;
    };
    match timeout(FALLBACK_POLL, listener.recv()).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => {
            tracing::debug!(%error, "the outbox listener broke");
            *wake = None;
            sleep(RETRY_PAUSE).await;
            true
        }
        Err(_) => false,
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
