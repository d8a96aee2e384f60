//! Whether the streams still have what they acknowledged.
//!
//! A broker that lost power may come back without the end of a stream, an operator may restore an
//! older one or make it anew. An outbox row remembers where its stream put it, and is kept as long
//! as the stream keeps the event: what the stream has no more is published again from the rows, at
//! least once and after newer events perhaps, so listeners go by `seq` and `revision`.
//!
//! A comparison that finds nothing lost stores a checkpoint: the highest number in the stream that
//! was found intact, and when. The next one checks the checkpoint, the highest number of all, and
//! newer rows whose number the stream seems to have given to another event since; where the broker
//! was away it looks up the event of every newer row. After a loss the checkpoint stays where it is,
//! and the same rows are compared again: the stream may have been set back while it was compared, so
//! that some answers were of the stream before and some of the one after. Nothing here waits within a
//! transaction, and much is done in chunks: an interrupted comparison is begun again and finds the
//! same.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::{StreamExt, TryStreamExt, stream};
use natter_bus::{Bus, Feed, Stream};
use natter_pg::try_lock;
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Postgres, pool::PoolConnection};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How often a stream is compared although nothing happened.
const EVERY: Duration = Duration::from_secs(60);
/// How often it is compared for [`LATE`] after the broker was away: rows are still being marked
/// whose events the broker had acknowledged before, and may have lost. Every row is looked up at the
/// beginning and at the end of that time: a look-up costs the broker as much as an event.
const SOON: Duration = Duration::from_secs(5);
/// After which a comparison is given up, whatever the database and the broker do.
const DEADLINE: Duration = Duration::from_secs(300);
const RETRY_PAUSE: Duration = Duration::from_secs(2);
/// Held while a stream is compared, by one replica at a time; hashed with the stream.
const LOCK: i32 = 0x6e62;
/// How late a row may be marked, after the stream had acknowledged it.
const LATE: Duration = Duration::from_secs(30);
/// Rows that one statement changes.
const CHUNK: i64 = 5_000;
/// Events that are looked up in the stream at the same time: there may be hundreds of rows a second.
const LOOKED_UP: usize = 32;
/// For how long the rows of published notices are kept, whose events no stream keeps.
const KEEP_NOTICES: Duration = Duration::from_secs(3_600);

/// Where a stream put the newest event of a row.
#[derive(sqlx::FromRow)]
struct StreamPlace {
    /// The id of the row; 0 for a checkpoint.
    #[sqlx(default)]
    id: i64,
    stream_seq: i64,
    event_id: Uuid,
    published_at: DateTime<Utc>,
}

/// Compares a stream again and again, at once when the broker was away, until `stop`.
pub async fn audit(pool: PgPool, bus: Bus, stream: Stream, stop: CancellationToken) {
    let name = stream.name();
    let mut reconnected = bus.reconnected();
    metrics::describe_counter!(
        "outbox_refilled_total",
        "Events published again because their stream had lost them"
    );
    // The counter is shown from the start on, with the value 0.
    metrics::counter!("outbox_refilled_total", "stream" => name).increment(0);
    let auditing = async {
        // When every row is to be looked up.
        let mut due = doubts();
        loop {
            let begun = Instant::now();
            let scope = if due.iter().any(|at| *at <= begun) {
                Scope::All
            } else {
                Scope::Suspects
            };
            let comparing = compare(&pool, &bus, stream, scope, &reconnected);
            let compared = timeout(DEADLINE, comparing).await;
            if let Ok(Ok(Some(_))) = compared {
                due.retain(|at| *at > begun);
            }
            let usual = if due.is_empty() { EVERY } else { SOON };
            let pause = match compared.unwrap_or_else(|_| Err(anyhow::anyhow!("it took too long")))
            {
                // Another replica compares, or publishes what the stream has not.
                Ok(None) => RETRY_PAUSE,
                Ok(Some(0)) => usual,
                Ok(Some(rows)) => {
                    tracing::error!(
                        stream = name,
                        rows,
                        "the stream is behind what it acknowledged: it is filled again"
                    );
                    metrics::counter!("outbox_refilled_total", "stream" => name).increment(rows);
                    due = doubts();
                    SOON
                }
                Err(error) => {
                    tracing::warn!(stream = name, "not compared yet: {error:#}");
                    // The stream may have been away, with a server that is not this process's own.
                    due = doubts();
                    RETRY_PAUSE
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                Ok(()) = reconnected.changed() => due = doubts(),
            }
        }
    };
    stop.run_until_cancelled(auditing).await;
}

fn doubts() -> Vec<Instant> {
    vec![Instant::now(), Instant::now() + LATE]
}

/// Which rows since the checkpoint are looked up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    All,
    /// Those whose number the stream seems to have given to an event that was published later.
    Suspects,
}

/// Deletes the rows that need not be kept any more, and compares the others with the stream that
/// acknowledged their events. Rows whose events the stream has lost count as unpublished from then
/// on; returns how many. `None` when another replica holds the lock.
async fn compare(
    pool: &PgPool,
    bus: &Bus,
    stream: Stream,
    scope: Scope,
    reconnected: &watch::Receiver<u64>,
) -> anyhow::Result<Option<u64>> {
    let Some(mut db) = try_lock_outbox(pool, stream).await? else {
        return Ok(None);
    };
    let feed = bus.feed(stream).await?;
    forget(&mut db, &feed).await?;
    let begun: DateTime<Utc> = sqlx::query_scalar("SELECT now()")
        .fetch_one(&mut *db)
        .await?;
    let checkpoint: Option<StreamPlace> = sqlx::query_as(
        "SELECT seq AS stream_seq, event_id, compared_at AS published_at
         FROM outbox_checkpoints WHERE stream = $1",
    )
    .bind(stream.name())
    .fetch_optional(&mut *db)
    .await?;
    let mut lost = 0;
    let was_lost = match &checkpoint {
        Some(checkpoint) => is_lost(&feed, checkpoint).await?,
        None => false,
    };
    if let Some(checkpoint) = checkpoint.as_ref().filter(|_| was_lost) {
        lost += take_back_end(&mut db, &feed, checkpoint).await?;
    }
    lost += take_back_recent(&mut db, &feed, checkpoint.as_ref(), scope).await?;
    let kept = loop {
        match newest(&mut db, stream).await? {
            Some(place) if is_lost(&feed, &place).await? => {
                lost += take_back_end(&mut db, &feed, &place).await?;
            }
            kept => break kept,
        }
    };
    if lost > 0 {
        // What was lost may be published again already, the checkpoint's event under its number.
        return Ok(Some(lost));
    }
    if let Some(checkpoint) = &checkpoint {
        let is_same = is_lost(&feed, checkpoint).await? == was_lost;
        anyhow::ensure!(is_same, "the stream was set back while it was compared");
    }
    // Of what a broker that was away may have lost, suspects are not all: the rows of the time before
    // are left to the comparison that follows.
    let is_sure = scope == Scope::All || !reconnected.has_changed().unwrap_or(true);
    if let Some(kept) = kept.filter(|_| is_sure) {
        set_checkpoint(&mut db, stream, &kept, begun).await?;
    }
    Ok(Some(0))
}

/// The right to say of the rows of a stream's outbox whether the stream has them, for as long as
/// the connection is held: nothing is published again before every lost row is marked as lost.
pub async fn try_lock_outbox(
    pool: &PgPool,
    stream: Stream,
) -> sqlx::Result<Option<PoolConnection<Postgres>>> {
    try_lock(pool, LOCK, stream.name()).await
}

/// Stores the checkpoint: the highest number that was found intact, and when the comparison began.
async fn set_checkpoint(
    db: &mut PgConnection,
    stream: Stream,
    kept: &StreamPlace,
    begun: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO outbox_checkpoints (stream, seq, event_id, compared_at)
         VALUES ($1, $2, $3, $4)
         ON CONFLICT (stream) DO UPDATE SET seq = excluded.seq, event_id = excluded.event_id,
                                            compared_at = excluded.compared_at",
    )
    .bind(stream.name())
    .bind(kept.stream_seq)
    .bind(kept.event_id)
    .bind(begun)
    .execute(db)
    .await?;
    Ok(())
}

async fn is_lost(feed: &Feed, place: &StreamPlace) -> anyhow::Result<bool> {
    let id = place.event_id.to_string();
    feed.has_lost(place.stream_seq.unsigned_abs(), &id).await
}

/// The row with the highest number. Of two with one number the older was lost, and the newer took
/// its place.
async fn newest(db: &mut PgConnection, stream: Stream) -> sqlx::Result<Option<StreamPlace>> {
    sqlx::query_as(
        "SELECT id, stream_seq, event_id, published_at FROM outbox WHERE stream = $1
         ORDER BY stream_seq DESC, published_at, id LIMIT 1",
    )
    .bind(stream.name())
    .fetch_optional(db)
    .await
}

/// Marks rows as unpublished: those from the first lost number on that were published no later than
/// `top`, which is lost. The first lost number is found by halving, since a stream loses its end.
/// Rows that were published after `top` have their numbers in the stream as it is now.
async fn take_back_end(
    db: &mut PgConnection,
    feed: &Feed,
    top: &StreamPlace,
) -> anyhow::Result<u64> {
    let (mut kept, mut lost) = (0, top.stream_seq);
    while kept + 1 < lost {
        let middle = kept + (lost - kept) / 2;
        let place: Option<StreamPlace> = sqlx::query_as(
            "SELECT id, stream_seq, event_id, published_at FROM outbox
             WHERE stream = $1 AND stream_seq > $2 AND stream_seq <= $3 AND published_at <= $4
             ORDER BY stream_seq DESC, published_at, id LIMIT 1",
        )
        .bind(feed.stream.name())
        .bind(kept)
        .bind(middle)
        .bind(top.published_at)
        .fetch_optional(&mut *db)
        .await?;
        match place {
            Some(place) if is_lost(feed, &place).await? => lost = place.stream_seq,
            _ => kept = middle,
        }
    }
    let mut all = 0;
    loop {
        // The lowest first: the highest is still found if this is interrupted.
        let waiting = sqlx::query(
            "UPDATE outbox
             SET published_at = NULL, stream = NULL, stream_seq = NULL, stream_first = NULL
             WHERE id IN (SELECT id FROM outbox
                          WHERE stream = $1 AND stream_seq >= $2 AND published_at <= $3
                          ORDER BY stream_seq LIMIT $4)",
        )
        .bind(feed.stream.name())
        .bind(lost)
        .bind(top.published_at)
        .bind(CHUNK)
        .execute(&mut *db)
        .await?
        .rows_affected();
        all += waiting;
        if waiting < CHUNK.unsigned_abs() {
            return Ok(all);
        }
    }
}

/// Marks rows since the checkpoint as unpublished if the stream has lost their events. Each that
/// `scope` has is looked up, for the table does not tell: rows that replicas marked out of order look
/// like those whose numbers newer events have taken. Such newer events there may be none, where the
/// server kept the number of the last (nats-server does if its index outlived the messages) or a row
/// was marked long after its event was stored: those only [`Scope::All`] finds.
async fn take_back_recent(
    db: &mut PgConnection,
    feed: &Feed,
    checkpoint: Option<&StreamPlace>,
    scope: Scope,
) -> anyhow::Result<u64> {
    let recent: Vec<StreamPlace> = sqlx::query_as(
        "SELECT id, stream_seq, event_id, published_at FROM (
             SELECT id, stream_seq, event_id, published_at, min(stream_first) OVER (
                 ORDER BY published_at DESC, id DESC
                 ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
             ) AS given_later
             FROM outbox
             WHERE stream = $1
               AND (published_at > coalesce($2 - make_interval(secs => $3), '-infinity')
                    OR stream_seq > $4)
         ) AS recent
         WHERE given_later <= stream_seq OR $5
         ORDER BY stream_seq",
    )
    .bind(feed.stream.name())
    .bind(checkpoint.map(|place| place.published_at))
    .bind(2.0 * LATE.as_secs_f64())
    .bind(checkpoint.map(|place| place.stream_seq))
    .bind(scope == Scope::All)
    .fetch_all(&mut *db)
    .await?;
    let mut recent = recent.into_iter();
    let mut all = 0;
    loop {
        let some: Vec<StreamPlace> = recent.by_ref().take(CHUNK as usize).collect();
        if some.is_empty() {
            return Ok(all);
        }
        let looked_up = stream::iter(some).map(|place| async move {
            let lost = is_lost(feed, &place).await?;
            anyhow::Ok(lost.then_some(place.id))
        });
        let lost: Vec<Option<i64>> = looked_up.buffer_unordered(LOOKED_UP).try_collect().await?;
        let lost: Vec<i64> = lost.into_iter().flatten().collect();
        // Also where none is lost: the database ends a session, and with it the lock, on which
        // nothing was said for long.
        all += sqlx::query(
            "UPDATE outbox
             SET published_at = NULL, stream = NULL, stream_seq = NULL, stream_first = NULL
             WHERE id = ANY($1)",
        )
        .bind(lost)
        .execute(&mut *db)
        .await?
        .rows_affected();
    }
}

/// Deletes rows whose events the stream no longer keeps, and after [`KEEP_NOTICES`] those of
/// notices, which no stream keeps.
async fn forget(db: &mut PgConnection, feed: &Feed) -> sqlx::Result<()> {
    let is_last_place_old = "stream = $1 AND stream_seq < $2::float8::bigint";
    let is_old = "stream IS NOT DISTINCT FROM $1
                  AND published_at < now() - make_interval(secs => $2)";
    let name = Some(feed.stream.name());
    let first = feed.first_seq as f64;
    for (rows, stream, limit) in [
        (is_last_place_old, name, first),
        (is_old, name, feed.max_age.as_secs_f64()),
        (is_old, None, KEEP_NOTICES.as_secs_f64()),
    ] {
        let statement =
            format!("DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE {rows} LIMIT $3)");
        loop {
            let deleted = sqlx::query(AssertSqlSafe(statement.clone()))
                .bind(stream)
                .bind(limit)
                .bind(CHUNK)
                .execute(&mut *db)
                .await?
                .rows_affected();
            if deleted < CHUNK.unsigned_abs() {
                break;
            }
        }
    }
    Ok(())
}
