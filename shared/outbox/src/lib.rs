//! The transactional outbox: rows and the events about them commit together, a relay publishes.
//!
//! A service's own migrations create its table `outbox`. The relay of one replica at a time
//! publishes in the order of `id`; rows of one key are in order because whoever wrote them held
//! that key's row lock until commit. A published row is kept as long as its stream keeps the event,
//! and published again when the stream has lost it ([`audit()`]).
//!
//! Deliberately absent: what the events mean. The messages service publishes its log itself, and
//! uses only [`audit()`] and its lock ([`try_lock_outbox`]) from here.

mod audit;
mod push;
mod relay;

pub use audit::{audit, try_lock_outbox};
pub use push::{Batch, push, push_notice};
pub use relay::relay;
