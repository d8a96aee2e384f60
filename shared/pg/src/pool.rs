//! The connection pool of one service.

use std::{fmt, str::FromStr, time::Duration};

use anyhow::{Context, bail};
use sqlx::{
    Connection, PgConnection, PgPool,
    migrate::Migrator,
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

/// Connects a service to its schema and brings the schema up to date. Waits a while for a
/// database that is still starting.
pub async fn connect(
    url: &DatabaseUrl,
    schema: &'static str,
    connections: u32,
    migrations: &Migrator,
) -> anyhow::Result<PgPool> {
    let unlimited = url.0.clone().application_name(schema);
    let unlimited = unlimited.options([("search_path", schema)]);
    let options = unlimited.clone().options([
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
        match sqlx::query("SELECT 1").execute(&pool).await {
            Ok(_) => break,
            Err(error) if crate::is_unavailable(&error) && Instant::now() < give_up => {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            Err(error) => {
                return Err(error).with_context(|| format!("the database at {url} cannot be used"));
            }
        }
    }
    let exists: bool = sqlx::query_scalar("SELECT to_regnamespace($1) IS NOT NULL")
        .bind(schema)
        .fetch_one(&pool)
        .await?;
    if !exists {
        bail!("the database at {url} has no schema {schema}; the set-up creates it with its role");
    }
    // On a connection without the limits of requests: replicas wait for each other here, and
    // an index may take its time.
    let mut connection = PgConnection::connect_with(&unlimited).await?;
    migrations
        .run(&mut connection)
        .await
        .with_context(|| format!("the schema {schema} could not be migrated"))?;
    connection.close().await?;
    Ok(pool)
}

/// Whether the database answers.
pub async fn is_ready(pool: PgPool) -> bool {
    sqlx::query("SELECT 1").execute(&pool).await.is_ok()
}
