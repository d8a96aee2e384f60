//! Real parts for tests: a private Postgres, a private NATS, Natter's own processes, and clients
//! that speak the public contract.
//!
//! Everything started here ends with the test: the kernel ends a process whose parent is gone.
//! Waiting is always for an event, with a deadline ([`PATIENCE`]), never for a time.

mod app;
mod choices;
mod client;
mod detour;
pub mod frames;
mod generated;
mod link;
mod lossy;
mod nats;
mod patroni;
mod pgbouncer;
mod ports;
mod postgres;
mod process;
mod recorder;
mod secrets;
mod socket;

use std::time::Duration;

pub use app::App;
pub use choices::Choices;
pub use client::{Friends, PASSWORD, Person, befriend};
pub use generated::check_generated;
pub use link::Link;
pub use lossy::Lossy;
pub use nats::Nats;
pub use patroni::Patroni;
pub use pgbouncer::PgBouncer;
pub use ports::free_port;
pub use postgres::Postgres;
pub use process::{Process, Signal, binary, is_root};
pub use recorder::Recorder;
pub use secrets::leak;
pub use socket::{Socket, refused_with};

/// An image: a 1×1 PNG.
pub const PNG: &[u8] = include_bytes!("pixel.png");

/// How long a test waits for what must come. Generous: a busy machine is no failure.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Repeats a question until it is answered, or [`PATIENCE`] is over.
pub async fn until<T, F, Fut>(what: &str, mut ask: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            // Between two questions, not instead of one.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, asking).await {
        Ok(answer) => answer,
        Err(_) => panic!("waited in vain: {what}"),
    }
}
