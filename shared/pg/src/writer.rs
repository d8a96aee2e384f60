//! A connection of one task's own, for statements that are sent all the time.
//!
//! The pool asks Postgres whether a connection lives when it comes back, and after a pause before
//! it lends it; a writer asks only after a pause. A connection on which something was
//! interrupted is thrown away with all that it was doing: it may hang for minutes where the other
//! machine is gone.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool, postgres::PgConnectOptions};
use tokio::time::{Instant, timeout};

use crate::pool::{PING_TIMEOUT, TRUSTED, lives};

/// Plans are made once, without the parameters: with them each execution would be planned again.
/// No statement of a writer may read a whole table, whatever its statistics say: of a table that
/// is young they say that it is empty.
const SETTINGS: [(&str, &str); 5] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    // What is random must be made anew for each row.
    ("enable_memoize", "off"),
    // A writer that stops in the midst of a transaction lets go of its locks.
    ("idle_in_transaction_session_timeout", "500"),
    ("lock_timeout", "400"),
];

/// What is done on a new connection before its first use. One that fails it is not used.
pub type Greeting =
    Arc<dyn for<'a> Fn(&'a mut PgConnection) -> BoxFuture<'a, sqlx::Result<()>> + Send + Sync>;

pub struct Writer {
    options: PgConnectOptions,
    greeting: Option<Greeting>,
    connection: Option<PgConnection>,
    /// When the connection was used last.
    used: Instant,
}

impl Writer {
    /// With the settings of a pool's connections, and `settings` beside them.
    pub fn new(pool: &PgPool, settings: &[(&str, &str)]) -> Self {
        let options = pool.connect_options().as_ref().clone();
        let options = options.options(SETTINGS.iter().chain(settings).copied());
        Self {
            options,
            greeting: None,
            connection: None,
            used: Instant::now(),
        }
    }

    pub fn greeted_by(self, greeting: Greeting) -> Self {
        Self {
            greeting: Some(greeting),
            ..self
        }
    }

    async fn connect(&self) -> sqlx::Result<PgConnection> {
        let mut connection = self.options.connect().await?;
        if let Some(greeting) = &self.greeting {
            greeting(&mut connection).await?;
        }
        Ok(connection)
    }

    /// Connects before there is something to do. Should that fail, the first work tries again.
    pub async fn connect_early(&mut self, longest: Duration) {
        if let Err(error) = self.run(longest, async |_| Ok(())).await {
            tracing::info!(%error, "a writer connects later");
        }
    }

    /// Works on the connection, no longer than this.
    pub async fn run<T>(
        &mut self,
        longest: Duration,
        work: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> sqlx::Result<T> {
        // Put back only when the work has ended: work that is interrupted takes the connection with
        // it.
        let taken = self.connection.take();
        let is_doubted = self.used.elapsed() > TRUSTED;
        let working = async {
            let mut connection = match taken {
                Some(connection) if is_doubted => self.connection_that_lives(connection).await?,
                Some(connection) => connection,
                None => self.connect().await?,
            };
            let done = work(&mut connection).await;
            let goes_on = match &done {
                Ok(_) => true,
                // With the ping goes the rollback that sqlx has queued for a failed transaction.
                Err(error) => is_answer(error) && connection.ping().await.is_ok(),
            };
            Ok::<_, sqlx::Error>((done, goes_on.then_some(connection)))
        };
        let (done, connection) = timeout(longest, working)
            .await
            .unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
        self.connection = connection;
        self.used = Instant::now();
        done
    }

    /// A connection that nothing was said on for a while, or a new one in its place: whoever
    /// waits shall not be the one who finds out that the server was restarted meanwhile.
    async fn connection_that_lives(
        &self,
        mut connection: PgConnection,
    ) -> sqlx::Result<PgConnection> {
        match lives(&mut connection, PING_TIMEOUT).await {
            Ok(_) => Ok(connection),
            Err(_) => self.connect().await,
        }
    }
}

/// Whether the error is the database's answer to this one statement, and the connection is still
/// usable.
fn is_answer(error: &sqlx::Error) -> bool {
    match error {
        // A statement that took too long is no sign of a bad connection; a server that is shutting
        // down, or that may not be written to any more, is one.
        sqlx::Error::Database(database) => {
            let is_timeout = database.code().is_some_and(|code| code == "57014");
            is_timeout || crate::is_locked(error) || !crate::is_unavailable(error)
        }
        _ => false,
    }
}
