//! The connection pool of one service.

use std::time::Duration;

use anyhow::{Context, anyhow};
use futures_util::{StreamExt, stream};
use natter_startup::Waiting;
use sqlx::{
    Connection, PgConnection, PgPool, Postgres, migrate::Migrator, pool::PoolConnection,
    postgres::PgPoolOptions,
};

use tokio::time::{Instant, sleep, timeout};

use crate::{
    error::is_awaited,
    schema::{Role, Schema, cannot_be_used, explained},
    url::{DatabaseUrl, options},
};

/// How long a request waits for a connection before it is answered `unavailable`.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long after its last answer a connection is assumed to be alive.
pub(crate) const TRUSTED: Duration = Duration::from_secs(1);
pub(crate) const PING_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a returned connection has to answer a ping: an abandoned statement runs to its end
/// first.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(6);
/// Connections that a start makes at the same time.
const MADE_TOGETHER: usize = 4;
/// After this time requests make the remaining connections.
const FILL_PATIENCE: Duration = Duration::from_secs(10);
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// The longest statement, lock wait and abandoned transaction, as Postgres settings in milliseconds.
const STATEMENT_TIMEOUT_MS: &str = "5000";
const LOCK_TIMEOUT_MS: &str = "2000";
const IDLE_TRANSACTION_TIMEOUT_MS: &str = "15000";
/// Longer than any question to the broker that is asked between two statements.
const IDLE_LOCK_TIMEOUT_MS: &str = "30000";

/// Connects a service to its schema, in the role that may read and write its rows and nothing
/// else. Waits a while for a database that is still starting, or still being set up; refuses one
/// that could lose what it has committed.
pub async fn connect(
    url: &DatabaseUrl,
    schema: &'static str,
    connections: u32,
    migrations: &Migrator,
    patience: Duration,
) -> anyhow::Result<PgPool> {
    let options = options(url, schema).options([
        ("statement_timeout", STATEMENT_TIMEOUT_MS),
        ("lock_timeout", LOCK_TIMEOUT_MS),
        (
            "idle_in_transaction_session_timeout",
            IDLE_TRANSACTION_TIMEOUT_MS,
        ),
    ]);
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .min_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // sqlx's own ping has no time limit: a connection whose server is gone without a word would
        // keep its place in the pool until the kernel gives up, a quarter of an hour later.
        .test_before_acquire(false)
        .before_acquire(|connection, metadata| {
            Box::pin(async move {
                // It answered a ping when it was returned.
                if metadata.idle_for < TRUSTED {
                    return Ok(true);
                }
                lives(connection, PING_TIMEOUT).await
            })
        })
        .after_release(|connection, _| Box::pin(lives(connection, RELEASE_TIMEOUT)))
        .connect_lazy_with(options);
    wait_for_schema(&pool, url, schema, migrations, patience).await?;
    fill(&pool, connections).await;
    tokio::spawn(watch(pool.clone(), schema));
    Ok(pool)
}

/// Tells how many connections are used, until the pool is closed or the process ends.
async fn watch(pool: PgPool, schema: &'static str) {
    metrics::describe_gauge!(
        "database_connections",
        "Connections of the service's pool by state"
    );
    let used = metrics::gauge!("database_connections", "schema" => schema, "state" => "used");
    let idle = metrics::gauge!("database_connections", "schema" => schema, "state" => "idle");
    while !pool.is_closed() {
        let (all, free) = (f64::from(pool.size()), pool.num_idle() as f64);
        used.set((all - free).max(0.0));
        idle.set(free);
        sleep(WATCH_EVERY).await;
    }
}

/// Makes all connections: whoever comes first shall not wait for them. Few at a time: where the
/// machine is busy, all together would take longer than a connection may.
async fn fill(pool: &PgPool, connections: u32) {
    let give_up = Instant::now() + FILL_PATIENCE;
    let made = stream::iter(0..connections).map(|_| async {
        loop {
            match pool.acquire().await {
                Err(sqlx::Error::PoolTimedOut) if Instant::now() < give_up => {}
                made => return made,
            }
        }
    });
    // Held until the last is there: one that is let go would be taken again in place of a new one.
    let made: Vec<_> = made.buffer_unordered(MADE_TOGETHER).collect().await;
    for error in made.into_iter().filter_map(Result::err) {
        tracing::warn!(%error, "a connection to the database is made later");
    }
}

/// Whether a connection can go on, asked with a limit. The error throws it away at once.
pub(crate) async fn lives(connection: &mut PgConnection, longest: Duration) -> sqlx::Result<bool> {
    let answered = timeout(longest, connection.ping()).await;
    answered.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
    Ok(true)
}

/// Waits, for a while, until the schema is there and as new as this version. Says what it waits for.
async fn wait_for_schema(
    pool: &PgPool,
    url: &DatabaseUrl,
    schema: &'static str,
    migrations: &Migrator,
    patience: Duration,
) -> anyhow::Result<()> {
    let fail = || cannot_be_used(url, schema, Role::Service);
    let mut waiting = Waiting::at_most(patience);
    loop {
        let read = async {
            let mut connection = pool.acquire().await?;
            Schema::read(&mut connection, schema, Role::Service, migrations).await
        };
        let lack = match read.await {
            Ok(found) => {
                found.require()?;
                found.require_least_rights()?;
                match found.lack() {
                    None => return Ok(()),
                    Some(lack) => anyhow!(lack),
                }
            }
            Err(error) if is_awaited(&error) => anyhow::Error::new(error).context(fail()),
            Err(error) => return Err(explained(error)).with_context(fail),
        };
        waiting.after(lack).await?;
    }
}

/// The right to do something that one replica does at a time, for as long as the connection is
/// held; `None` where another has it. `lock` is the kind of work, hashed with `name`.
pub async fn try_lock(
    pool: &PgPool,
    lock: i32,
    name: &str,
) -> sqlx::Result<Option<PoolConnection<Postgres>>> {
    let mut connection = pool.acquire().await?;
    // The lock goes with the connection, however the work ends; that of a process that is frozen
    // goes too.
    connection.close_on_drop();
    sqlx::query("SELECT set_config('idle_session_timeout', $1, false)")
        .bind(IDLE_LOCK_TIMEOUT_MS)
        .execute(&mut *connection)
        .await?;
    let locked: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1, hashtext($2))")
        .bind(lock)
        .bind(name)
        .fetch_one(&mut *connection)
        .await?;
    Ok(locked.then_some(connection))
}

/// Whether the database answers.
pub async fn is_ready(pool: PgPool) -> bool {
    sqlx::query("SELECT 1").execute(&pool).await.is_ok()
}
