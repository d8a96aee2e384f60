//! What a database error means to a caller.

use sqlx::Error;

/// SQLSTATE classes and codes of a database that is not there, stopping, full or overloaded, and
/// of work that another try may finish.
/// A standby that is not promoted yet cannot be written to (25006) nor say where it writes (55000).
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

/// Whether another session holds what the statement needs, or both waited for each other.
pub fn is_locked(error: &Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code == "55P03" || code == "40P01")
}

/// The constraint that a statement would have broken.
pub fn violated_constraint(error: &Error) -> Option<&str> {
    error.as_database_error()?.constraint()
}
