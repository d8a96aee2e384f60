//! Postgres: the pool, migrations, what a database error means, and the transactional outbox.
//!
//! Each service sees one schema and nothing else; the role that owns and migrates it is another.
//! Deliberately absent: any table but the outbox, and any knowledge of what travels through it.

mod audit;
mod error;
pub mod outbox;
mod pool;
mod schema;
mod url;
mod writer;

pub use audit::{audit, try_lock_outbox};
pub use error::{is_locked, is_unavailable, violated_constraint};
pub use pool::{connect, is_ready};
pub use schema::{Role, Schema, inspect, migrate, require_durable};
pub use url::DatabaseUrl;
pub use writer::{Greeting, Writer};
