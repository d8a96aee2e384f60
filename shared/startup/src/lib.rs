//! For programs that need a server (NATS, Postgres) when they start: its password among the
//! settings, and waiting until it answers.

mod password;
mod waiting;

pub use password::Password;
pub use waiting::Waiting;
