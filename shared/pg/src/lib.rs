//! Postgres: the pool, migrations, and what a database error means.
//!
//! Each service sees one schema and nothing else; the role that owns and migrates it is another.
//! Deliberately absent: any table.

mod backup;
mod error;
mod pool;
mod schema;
mod url;
mod writer;

pub use backup::{Backup, Contents, Rows, Table};
pub use error::{is_locked, is_unavailable, violated_constraint};
pub use pool::{connect, is_ready, try_lock};
pub use schema::{Role, Schema, inspect, migrate, open, require_durable};
pub use url::DatabaseUrl;
pub use writer::{Greeting, Writer};
