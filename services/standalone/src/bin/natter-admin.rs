//! What an operator runs beside the services: the set-up before each new version, and the dead
//! letters.

use std::{io::Write, process::ExitCode};

use anyhow::ensure;
use clap::{Args, Subcommand};
use natter_bus::{Bus, BusSettings, Password, StreamSettings};
use natter_pg::DatabaseUrl;
use serde_json::json;

#[derive(Subcommand)]
enum Task {
    /// Migrates the schemas and makes the streams; what is there already stays
    Setup(Box<Setup>),
    /// Lists the events that could not be processed, a JSON object a line
    DeadLetters(DeadLetters),
    /// Publishes dead letters again, for every consumer of their stream
    Replay(Replay),
}

#[derive(Args)]
#[group(skip)]
struct DeadLetters {
    #[command(flatten)]
    broker: Broker,

    /// With the events themselves, which may hold what people's profiles do
    #[arg(long)]
    payload: bool,
}

#[derive(Args)]
#[group(skip)]
struct Replay {
    #[command(flatten)]
    broker: Broker,

    /// Numbers of the dead letters
    #[arg(required_unless_present = "all")]
    numbers: Vec<u64>,

    /// All of them
    #[arg(long, conflicts_with = "numbers")]
    all: bool,
}

#[derive(Args)]
#[group(skip)]
struct Broker {
    #[command(flatten)]
    bus: BusSettings,

    /// Password of the NATS user admin
    #[arg(
        long,
        env = "NATTER_ADMIN_NATS_PASSWORD",
        value_name = "NATTER_ADMIN_NATS_PASSWORD"
    )]
    admin_nats_password: Password,
}

#[derive(Args)]
#[group(skip)]
struct Setup {
    #[command(flatten)]
    broker: Broker,
    #[command(flatten)]
    streams: StreamSettings,

    /// Postgres URL of the role natter_users_owner
    #[arg(
        long,
        env = "NATTER_USERS_OWNER_DATABASE_URL",
        value_name = "NATTER_USERS_OWNER_DATABASE_URL"
    )]
    users_owner_database_url: DatabaseUrl,

    /// Postgres URL of the role natter_friendships_owner
    #[arg(
        long,
        env = "NATTER_FRIENDSHIPS_OWNER_DATABASE_URL",
        value_name = "NATTER_FRIENDSHIPS_OWNER_DATABASE_URL"
    )]
    friendships_owner_database_url: DatabaseUrl,

    /// Postgres URL of the role natter_messages_owner
    #[arg(
        long,
        env = "NATTER_MESSAGES_OWNER_DATABASE_URL",
        value_name = "NATTER_MESSAGES_OWNER_DATABASE_URL"
    )]
    messages_owner_database_url: DatabaseUrl,
}

fn main() -> ExitCode {
    natter_service::run_task(
        "natter-admin",
        "Natter's operator's tool.",
        |task: Task| async move {
            match task {
                Task::Setup(setup) => set_up(*setup).await,
                Task::DeadLetters(wanted) => list(wanted).await,
                Task::Replay(wanted) => replay(wanted).await,
            }
        },
    )
}

impl Broker {
    async fn connect(&self) -> anyhow::Result<Bus> {
        Bus::connect(&self.bus, "admin", &self.admin_nats_password).await
    }
}

async fn set_up(settings: Setup) -> anyhow::Result<()> {
    natter_users::migrate(&settings.users_owner_database_url).await?;
    natter_friendships::migrate(&settings.friendships_owner_database_url).await?;
    natter_messages::migrate(&settings.messages_owner_database_url).await?;
    let bus = settings.broker.connect().await?;
    bus.set_up_streams(&settings.streams).await
}

async fn list(wanted: DeadLetters) -> anyhow::Result<()> {
    let bus = wanted.broker.connect().await?;
    let mut out = std::io::stdout().lock();
    for letter in bus.dead_letters().await? {
        let mut line = json!({
            "number": letter.number,
            "time": letter.time,
            "stream": letter.stream,
            "consumer": letter.consumer,
            "subject": letter.subject,
            "reason": letter.reason,
        });
        if wanted.payload {
            line["payload"] = String::from_utf8_lossy(&letter.payload).into();
        }
        writeln!(out, "{line}")?;
    }
    Ok(())
}

async fn replay(wanted: Replay) -> anyhow::Result<()> {
    let bus = wanted.broker.connect().await?;
    let mut letters = bus.dead_letters().await?;
    if !wanted.all {
        for number in &wanted.numbers {
            ensure!(
                letters.iter().any(|letter| letter.number == *number),
                "there is no dead letter {number}"
            );
        }
        letters.retain(|letter| wanted.numbers.contains(&letter.number));
    }
    let mut out = std::io::stdout().lock();
    for letter in letters {
        bus.replay(&letter).await?;
        writeln!(out, "replayed {}", letter.number)?;
    }
    Ok(())
}
