//! What an operator runs beside the services: the check and the set-up before each new version, a
//! smoke test after it, another signing key, backups, traces of messages, and the dead letters.

mod backup;
mod check;
mod dead_letters;
mod rotate_key;
#[cfg(test)]
mod settings_page;
mod setup;
mod smoke;
mod trace;

use std::{process::ExitCode, time::Duration};

use clap::{Args, Subcommand};
use natter_bus::{Bus, BusSettings};
use natter_startup::Password;

#[derive(Subcommand)]
enum Task {
    /// Tries every setting, dependency and right; a line each. Changes nothing, but writes and
    /// deletes a file in the media store
    Check(Box<check::Check>),
    /// Migrates the schemas and makes the streams; what is there already stays
    Setup(Box<setup::Setup>),
    /// Adds a key that signs tokens from some minutes on; tokens of earlier keys stay valid until they expire
    RotateKey(Box<rotate_key::RotateKey>),
    /// Writes Natter's data in Postgres to a file while the services run: one consistent snapshot of each schema
    Backup(Box<backup::Take>),
    /// Loads such a file into a database that was set up and never used, and checks it
    Restore(Box<backup::Restore>),
    /// Tells when a message was stored, published, received and seen, and how far it is on the connections of now; not what it says
    Trace(Box<trace::Trace>),
    /// Lets two throwaway people sign up, befriend each other and talk, and tells how long each step took
    Smoke(smoke::Smoke),
    /// Lists the events that could not be processed, a JSON object a line
    DeadLetters(dead_letters::List),
    /// Publishes dead letters again, for every consumer of their stream
    Replay(dead_letters::Replay),
}

/// How long is waited for a broker that is still starting.
const PATIENCE: Duration = Duration::from_secs(30);

/// NATS, as the user admin.
#[derive(Args)]
#[group(skip)]
struct Broker {
    #[command(flatten)]
    bus: BusSettings,

    /// Password of the NATS user admin
    #[arg(long, env = "NATTER_ADMIN_NATS_PASSWORD")]
    admin_nats_password: Password,
}

impl Broker {
    async fn connect(&self) -> anyhow::Result<Bus> {
        Bus::connect(&self.bus, "admin", &self.admin_nats_password, PATIENCE).await
    }
}

fn main() -> ExitCode {
    natter_process::run_task(
        "natter-admin",
        "Natter's operator's tool.",
        |task: Task| async move {
            match task {
                Task::Check(check) => check.run().await,
                Task::Setup(setup) => setup.run().await,
                Task::Backup(take) => take.run().await,
                Task::Restore(restore) => restore.run().await,
                Task::Trace(trace) => trace.run().await,
                Task::RotateKey(rotate) => rotate.run().await,
                Task::Smoke(smoke) => smoke.run().await,
                Task::DeadLetters(list) => list.run().await,
                Task::Replay(replay) => replay.run().await,
            }
        },
    )
}
