//! The figures in `tests/bench/README.md`: each is printed by a subcommand, measured against real Natter
//! processes with a Postgres and a NATS of their own. Nothing is asserted here.
//!
//! `deploy/bench history` and so on builds in release mode and runs it.

mod crowd;
mod explain;
mod history;
mod idle;
mod logins;
mod memory;
mod messages;
mod returns;
mod soak;
mod table;

use clap::Parser;

/// What is measured
#[derive(Parser)]
enum Bench {
    /// Pages of history and searches on a generated data set: small, and with 1 million users, 10
    /// million messages and a conversation of 1 million
    History(history::Options),
    /// What other routes' callers notice of 200 logins at a time
    Logins,
    /// What a message costs: delivered a second, latency and CPU of each process, beside the floors
    Messages(messages::Options),
    /// A relay for the floors, which starts it
    #[command(hide = true)]
    Relay,
    /// How much memory 500 sign-ups leave allocated in standalone
    Memory,
    /// The gateway's memory for each idle connection, at 1,000 and 10,000
    Idle,
    /// 10,000 connections that come back at once, as after an ingress that cut them all
    Returns,
    /// Devices that come and go at random while processes are restarted; what each has is checked
    Soak(soak::Options),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Bench::parse() {
        Bench::History(options) => history::run(options).await,
        Bench::Logins => logins::run().await,
        Bench::Messages(options) => messages::run(options).await,
        Bench::Relay => messages::relay().await,
        Bench::Memory => memory::run().await,
        Bench::Idle => idle::run().await,
        Bench::Returns => returns::run().await,
        Bench::Soak(options) => soak::run(options).await,
    }
}
