//! What an operator runs beside the services: the set-up before each new version, and the dead
//! letters.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use natter_bus::{Bus, BusSettings, Password, StreamSettings};
use natter_pg::DatabaseUrl;

#[derive(Subcommand)]
enum Task {
    /// Migrates the schemas and makes the streams; what is there already stays
    Setup(Box<Setup>),
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
