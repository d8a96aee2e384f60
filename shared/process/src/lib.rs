//! What every Natter process is made of, once: the `main`, settings, telemetry, health and
//! shutdown.
//!
//! A service hands [`run()`] a function that sets it up and returns its router; everything from the
//! signal handler to the last log line is here. Deliberately absent: NATS, Postgres and anything about
//! chat, and what an endpoint answers, which is `natter-http`'s.

mod health;
mod options;
mod probe;
mod run;
mod settings;
mod sql_spans;
mod telemetry;

pub use health::Health;
pub use run::{Process, run, run_task};
pub use settings::{LogFormat, ProcessSettings, RateLimits};
