//! The connection pool of one service.

use std::{fmt, str::FromStr, time::Duration};

use anyhow::{Context, bail};
use sqlx::{
    AssertSqlSafe, Connection, PgConnection, PgPool, Postgres,
    migrate::Migrator,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::Instant;

/// How long a start waits for a database that does not answer yet.
const CONNECT_PATIENCE: Duration = Duration::from_secs(30);
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// How long a request waits for a connection before it is answered `unavailable`.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// Milliseconds, as Postgres settings: a statement, a lock wait and an abandoned transaction end.
const STATEMENT_TIMEOUT_MS: &str = "5000";
const LOCK_TIMEOUT_MS: &str = "2000";
const IDLE_TRANSACTION_TIMEOUT_MS: &str = "15000";
/// SQLSTATE of a table that is not there, or not for this role to see.
const UNDEFINED_TABLE: &str = "42P01";

/// Where a service's database is. Never shows its password.
#[derive(Clone)]
pub struct DatabaseUrl(PgConnectOptions);

impl FromStr for DatabaseUrl {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let refuse = || "it must look like postgres://user:password@host:5432/database".to_owned();
        // Anything else would be taken for a path, and shown as the name of a database.
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(refuse());
        }
        let options = PgConnectOptions::from_str(url).map_err(|_| refuse())?;
        Ok(Self(options))
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let database = self.0.get_database().unwrap_or("postgres");
        write!(f, "{}:{}/{database}", self.0.get_host(), self.0.get_port())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Connects a service to its schema, in the role that may read and write its rows and nothing
/// else. Waits a while for a database that is still starting, or still being set up; refuses one
/// that could lose what it has committed.
pub async fn connect(
    url: &DatabaseUrl,
    schema: &'static str,
    connections: u32,
    migrations: &Migrator,
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
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_lazy_with(options);
    let give_up = Instant::now() + CONNECT_PATIENCE;
    loop {
        let missing = match missing(&pool, migrations).await {
            Ok(0) => break,
            Ok(missing) => format!("the schema {schema} lacks {missing} migrations"),
            Err(error) if !crate::is_unavailable(&error) => match error.as_database_error() {
                Some(cause) if cause.code().as_deref() == Some(UNDEFINED_TABLE) => {
                    format!("the schema {schema} is not there")
                }
                _ => return Err(error).with_context(|| cannot_be_used(url)),
            },
            Err(error) if Instant::now() < give_up => error.to_string(),
            Err(error) => return Err(error).with_context(|| cannot_be_used(url)),
        };
        if Instant::now() >= give_up {
            bail!("{missing} in the database at {url}: natter-admin setup brings it up to date");
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
    require_durable(&pool, url).await?;
    Ok(pool)
}

/// Brings a schema up to date, in the role that owns it.
pub async fn migrate(
    url: &DatabaseUrl,
    schema: &'static str,
    migrations: &Migrator,
) -> anyhow::Result<()> {
    let options = options(url, schema);
    let give_up = Instant::now() + CONNECT_PATIENCE;
    let mut connection = loop {
        match PgConnection::connect_with(&options).await {
            Ok(connection) => break connection,
            Err(error) if crate::is_unavailable(&error) && Instant::now() < give_up => {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            Err(error) => return Err(error).with_context(|| cannot_be_used(url)),
        }
    };
    // Without the limits of requests: one waits for another here, and an index may take its time.
    migrations
        .run(&mut connection)
        .await
        .with_context(|| format!("the schema {schema} could not be migrated"))?;
    // The set-up gave it all tables; which of its migrations are done is not for the service to say.
    let revoke = format!("REVOKE INSERT, UPDATE, DELETE ON _sqlx_migrations FROM natter_{schema}");
    sqlx::raw_sql(AssertSqlSafe(revoke))
        .execute(&mut connection)
        .await
        .with_context(|| format!("the schema {schema} is not as the set-up makes it"))?;
    connection.close().await?;
    Ok(())
}

fn options(url: &DatabaseUrl, schema: &'static str) -> PgConnectOptions {
    let options = url.0.clone().application_name(schema);
    options.options([("search_path", schema)])
}

fn cannot_be_used(url: &DatabaseUrl) -> String {
    format!("the database at {url} cannot be used")
}

/// How many migrations this service needs and the schema has not. It may have newer ones.
async fn missing(pool: &PgPool, migrations: &Migrator) -> sqlx::Result<usize> {
    let applied: Vec<i64> =
        sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success")
            .fetch_all(pool)
            .await?;
    let wanted = migrations.iter();
    Ok(wanted.filter(|one| !applied.contains(&one.version)).count())
}

/// What is acknowledged is committed, and what is committed must survive a power cut.
async fn require_durable(pool: &PgPool, url: &DatabaseUrl) -> anyhow::Result<()> {
    let unsafe_ones: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM pg_settings
         WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes') AND setting = 'off'
         ORDER BY name",
    )
    .fetch_all(pool)
    .await?;
    if !unsafe_ones.is_empty() {
        let names = unsafe_ones.join(", ");
        bail!("the database at {url} may lose what it has committed: it has {names} switched off");
    }
    Ok(())
}

/// The right to do something that one replica does at a time, for as long as the connection is
/// held; `None` where another has it. `lock` is the kind of work, hashed with `name`.
pub async fn try_lock(
    pool: &PgPool,
    lock: i32,
    name: &str,
) -> sqlx::Result<Option<PoolConnection<Postgres>>> {
    let mut connection = pool.acquire().await?;
    // The lock goes with the connection, however the work ends.
    connection.close_on_drop();
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
