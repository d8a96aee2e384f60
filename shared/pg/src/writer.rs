//! A connection of one task's own, for statements that are sent all the time.
//!
//! The pool asks Postgres whether a connection lives before it lends it and again when it comes
//! back; a writer finds out with its next statement. A connection on which something was
//! interrupted is thrown away with all that it was doing: it may hang for minutes where the other
//! machine is gone.

use std::time::Duration;

use sqlx::{ConnectOptions, Connection, PgConnection, PgPool, postgres::PgConnectOptions};
use tokio::time::timeout;

/// Plans are made once, without the parameters: with them each execution would be planned again.
/// No statement of a writer may read a whole table, whatever its statistics say: of a table that
/// is young they say that it is empty.
const SETTINGS: [(&str, &str); 4] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    // A writer that stops in the midst of a transaction lets go of its locks.
    ("idle_in_transaction_session_timeout", "500"),
    ("lock_timeout", "400"),
];

pub struct Writer {
    options: PgConnectOptions,
    connection: Option<PgConnection>,
}

impl Writer {
    /// With the settings of a pool's connections, and `settings` beside them.
    pub fn new(pool: &PgPool, settings: &[(&str, &str)]) -> Self {
        let options = pool.connect_options().as_ref().clone();
        let options = options.options(SETTINGS.iter().chain(settings).copied());
        Self {
            options,
            connection: None,
        }
    }

    /// Works on the connection, no longer than this.
    pub async fn run<T>(
        &mut self,
        longest: Duration,
        work: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> sqlx::Result<T> {
        // Only put back after the end: what is interrupted takes the connection with it.
        let taken = self.connection.take();
        let working = async {
            let mut connection = match taken {
                Some(connection) => connection,
                None => self.options.connect().await?,
            };
            let done = work(&mut connection).await;
            if done.as_ref().err().is_none_or(is_answer) {
                return Ok::<_, sqlx::Error>((done, Some(connection)));
            }
            let _ = connection.close_hard().await;
            Ok((done, None))
        };
        let (done, connection) = timeout(longest, working)
            .await
            .unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
        self.connection = connection;
        done
    }
}

/// Whether the database itself said so, on a connection that goes on.
fn is_answer(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => {
            // Class 57: it is shutting down, or ends this connection; 25P03: it has ended it.
            !error
                .code()
                .is_some_and(|code| code.starts_with("57P") || code == "25P03")
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::WorkerCrashed => false,
        _ => true,
    }
}
