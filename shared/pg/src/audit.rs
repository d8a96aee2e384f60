//! Whether the streams still have what they acknowledged.
//!
//! A broker that lost power may come back without the end of a stream, an operator may restore an
//! older one or make it anew. An outbox row remembers where its stream put it, and is kept as long
//! as the stream keeps the event: what the stream has no more is published again from the rows.

use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, Utc};
use natter_bus::{Bus, Kept, Stream};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

/// The advisory lock under which a schema's rows are compared; hashed with the stream.
const AUDIT_LOCK: i32 = 0x6e62;
/// How far back rows are looked at whose numbers were given to newer ones: in this time a stream
/// that is behind is noticed.
const OVERLAP: &str = "10 minutes";
/// For how long rows are kept that no stream keeps.
const KEEP_NOTICES: &str = "1 hour";

/// Where a stream put the newest event of a row.
#[derive(sqlx::FromRow)]
struct Place {
    id: i64,
    stream_seq: i64,
    event_id: Uuid,
    published_at: DateTime<Utc>,
}

/// Compares a stream with what it acknowledged, and forgets what it need not keep any more.
/// What it has lost waits to be published again; how many rows that is.
pub async fn audit(pool: &PgPool, bus: &Bus, stream: Stream) -> anyhow::Result<u64> {
    let keep = bus.max_age(stream).await?;
    let mut tx = pool.begin().await?;
    let active: bool = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1, hashtext($2))")
        .bind(AUDIT_LOCK)
        .bind(stream.name())
        .fetch_one(&mut *tx)
        .await?;
    if !active {
        return Ok(0);
    }
    let mut lost = lost_end(&mut tx, bus, stream).await?;
    lost.extend(overlapped(&mut tx, bus, stream).await?);
    let waiting = sqlx::query(
        "UPDATE outbox
         SET published_at = NULL, stream = NULL, stream_seq = NULL, stream_first = NULL
         WHERE id = ANY($1) AND created_at > now() - make_interval(secs => $2)",
    )
    .bind(&lost)
    .bind(keep.as_secs_f64())
    .execute(&mut *tx)
    .await?
    .rows_affected();
    forget(&mut tx, stream, keep).await?;
    tx.commit().await?;
    if waiting > 0 {
        let name = stream.name();
        tracing::error!(
            stream = name,
            rows = waiting,
            "the stream is behind what it acknowledged: it is filled again"
        );
        metrics::counter!("outbox_refilled_total", "stream" => name).increment(waiting);
    }
    Ok(waiting)
}

/// The rows whose numbers the stream has not, or has given to none of ours: where the newest is
/// one of them, those after the last that is kept, found by halving.
async fn lost_end(tx: &mut PgConnection, bus: &Bus, stream: Stream) -> anyhow::Result<Vec<i64>> {
    // Of two with one number the older was lost, and the newer took its place.
    let newest = sqlx::query_as(
        "SELECT id, stream_seq, event_id, published_at FROM outbox WHERE stream = $1
         ORDER BY stream_seq DESC, published_at, id LIMIT 1",
    );
    let newest: Option<Place> = newest.bind(stream.name()).fetch_optional(&mut *tx).await?;
    let Some(newest) = newest else {
        return Ok(Vec::new());
    };
    if is_kept(bus, stream, &newest).await? {
        return Ok(Vec::new());
    }
    let (mut kept, mut lost) = (0, newest.stream_seq);
    while kept + 1 < lost {
        let middle = kept + (lost - kept) / 2;
        match before(tx, stream, &newest, kept, middle).await? {
            Some(place) if !is_kept(bus, stream, &place).await? => lost = place.stream_seq,
            _ => kept = middle,
        }
    }
    let rows = sqlx::query_scalar(
        "SELECT id FROM outbox WHERE stream = $1 AND stream_seq >= $2 AND published_at <= $3",
    );
    Ok(rows
        .bind(stream.name())
        .bind(lost)
        .bind(newest.published_at)
        .fetch_all(tx)
        .await?)
}

/// The newest row above `after` and up to `seq`, of those that were published before `newest`:
/// what came later has its place in the stream as it is now.
async fn before(
    tx: &mut PgConnection,
    stream: Stream,
    newest: &Place,
    after: i64,
    seq: i64,
) -> sqlx::Result<Option<Place>> {
    sqlx::query_as(
        "SELECT id, stream_seq, event_id, published_at FROM outbox
         WHERE stream = $1 AND stream_seq > $2 AND stream_seq <= $3 AND published_at <= $4
         ORDER BY stream_seq DESC, published_at, id LIMIT 1",
    )
    .bind(stream.name())
    .bind(after)
    .bind(seq)
    .bind(newest.published_at)
    .fetch_optional(tx)
    .await
}

/// The rows whose numbers, or smaller ones, were given again to what was published later, and
/// that are really gone: replicas that mark their rows out of order look alike.
async fn overlapped(tx: &mut PgConnection, bus: &Bus, stream: Stream) -> anyhow::Result<Vec<i64>> {
    let suspects: Vec<Place> = sqlx::query_as(
        "SELECT id, stream_seq, event_id, published_at FROM (
             SELECT *, min(stream_first) OVER (
                 ORDER BY published_at DESC, id DESC
                 ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
             ) AS given_later
             FROM outbox WHERE stream = $1 AND published_at > now() - $2::interval
         ) AS recent
         WHERE given_later <= stream_seq",
    )
    .bind(stream.name())
    .bind(OVERLAP)
    .fetch_all(tx)
    .await?;
    let mut lost = Vec::new();
    for suspect in suspects {
        if !is_kept(bus, stream, &suspect).await? {
            lost.push(suspect.id);
        }
    }
    Ok(lost)
}

async fn is_kept(bus: &Bus, stream: Stream, place: &Place) -> anyhow::Result<bool> {
    let id = place.event_id.to_string();
    let kept = bus.kept(stream, place.stream_seq.unsigned_abs(), &id);
    Ok(kept.await.context("a stream cannot be compared")? != Kept::Lost)
}

/// Deletes what the stream does not keep any more, and what none ever did.
async fn forget(tx: &mut PgConnection, stream: Stream, keep: Duration) -> sqlx::Result<()> {
    sqlx::query(
        "DELETE FROM outbox
         WHERE (stream = $1 AND published_at < now() - make_interval(secs => $2))
            OR (stream IS NULL AND published_at < now() - $3::interval)",
    )
    .bind(stream.name())
    .bind(keep.as_secs_f64())
    .bind(KEEP_NOTICES)
    .execute(tx)
    .await?;
    Ok(())
}
