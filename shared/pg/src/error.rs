//! What a database error means to a caller.

use sqlx::Error;

/// SQLSTATE classes and codes of a database that is not there, stopping, full or overloaded, and
/// of work that another try may finish.
const PASSING: [&str; 8] = ["08", "53", "57", "58", "40", "55P03", "25006", "25P03"];

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

/// The constraint that a statement would have broken.
pub fn violated_constraint(error: &Error) -> Option<&str> {
    error.as_database_error()?.constraint()
}
