//! What a database error means to a caller.

use sqlx::Error;

/// SQLSTATE classes and codes of a database that is not there, stopping, full or overloaded, and of
/// work that another try may finish. A standby that is not promoted yet cannot be written to
/// (25006) nor say where it writes (55000).
const PASSING: [&str; 9] = [
    "08", "53", "57", "58", "40", "55P03", "25006", "25P03", "55000",
];

/// Whether the same statement may succeed later: the database is down, restarting or overloaded.
pub fn is_unavailable(error: &Error) -> bool {
    match error {
        Error::Io(_)
        | Error::Tls(_)
        | Error::PoolTimedOut
        | Error::PoolClosed
        | Error::WorkerCrashed
        | Error::Protocol(_) => true,
        Error::Database(error) => error
            .code()
            .is_some_and(|code| PASSING.iter().any(|passing| code.starts_with(passing))),
        _ => false,
    }
}

/// Whether there is a pooler in front of the database: it refused the settings that a connection
/// begins with, or gave a prepared statement to another session (26000).
pub(crate) fn is_pooler(error: &Error) -> bool {
    error.as_database_error().is_some_and(|error| {
        error.code().as_deref() == Some("26000")
            || error.message().starts_with("unsupported startup parameter")
    })
}

/// Whether a start waits for the database: not where it will never come.
pub(crate) fn is_awaited(error: &Error) -> bool {
    is_unavailable(error) && !is_pooler(error)
}

/// Whether another session holds what the statement needs, or both waited for each other.
pub fn is_locked(error: &Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code == "55P03" || code == "40P01")
}

/// The constraint that a statement would have broken.
pub fn violated_constraint(error: &Error) -> Option<&str> {
    error.as_database_error()?.constraint()
}
