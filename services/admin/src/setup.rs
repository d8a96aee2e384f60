//! The schemas and streams, brought up to date.

use clap::Args;
use natter_bus::StreamSettings;
use natter_pg::DatabaseUrl;
use natter_startup::Password;

use crate::Broker;

#[derive(Args)]
#[group(skip)]
pub struct Setup {
    #[command(flatten)]
    broker: Broker,
    #[command(flatten)]
    streams: StreamSettings,
    #[command(flatten)]
    owners: Owners,
}

/// The roles that own the schemas.
#[derive(Args)]
#[group(skip)]
pub struct Owners {
    #[command(flatten)]
    users: UsersOwner,

    /// Postgres URL of the role natter_friendships_owner
    #[arg(long, env = "NATTER_FRIENDSHIPS_OWNER_DATABASE_URL")]
    friendships_owner_database_url: DatabaseUrl,

    /// Password of the role natter_friendships_owner, if its URL has none
    #[arg(long, env = "NATTER_FRIENDSHIPS_OWNER_DATABASE_PASSWORD")]
    friendships_owner_database_password: Option<Password>,

    #[command(flatten)]
    messages: MessagesOwner,
}

/// The role that owns the schema users.
#[derive(Args)]
#[group(skip)]
pub struct UsersOwner {
    /// Postgres URL of the role natter_users_owner
    #[arg(long, env = "NATTER_USERS_OWNER_DATABASE_URL")]
    users_owner_database_url: DatabaseUrl,

    /// Password of the role natter_users_owner, if its URL has none
    #[arg(long, env = "NATTER_USERS_OWNER_DATABASE_PASSWORD")]
    users_owner_database_password: Option<Password>,
}

/// The role that owns the schema messages.
#[derive(Args)]
#[group(skip)]
pub struct MessagesOwner {
    /// Postgres URL of the role natter_messages_owner
    #[arg(long, env = "NATTER_MESSAGES_OWNER_DATABASE_URL")]
    messages_owner_database_url: DatabaseUrl,

    /// Password of the role natter_messages_owner, if its URL has none
    #[arg(long, env = "NATTER_MESSAGES_OWNER_DATABASE_PASSWORD")]
    messages_owner_database_password: Option<Password>,
}

impl MessagesOwner {
    pub fn url(&self) -> DatabaseUrl {
        let password = self.messages_owner_database_password.as_ref();
        self.messages_owner_database_url.with_password(password)
    }
}

impl UsersOwner {
    pub fn url(&self) -> DatabaseUrl {
        let password = self.users_owner_database_password.as_ref();
        self.users_owner_database_url.with_password(password)
    }
}

impl Owners {
    pub fn users(&self) -> DatabaseUrl {
        self.users.url()
    }

    pub fn friendships(&self) -> DatabaseUrl {
        let password = self.friendships_owner_database_password.as_ref();
        self.friendships_owner_database_url.with_password(password)
    }

    pub fn messages(&self) -> DatabaseUrl {
        self.messages.url()
    }
}

impl Setup {
    /// May be repeated, and run by several at once.
    pub async fn run(self) -> anyhow::Result<()> {
        natter_users::migrate(&self.owners.users()).await?;
        natter_friendships::migrate(&self.owners.friendships()).await?;
        natter_messages::migrate(&self.owners.messages()).await?;
        let bus = self.broker.connect().await?;
        bus.set_up_streams(&self.streams).await
    }
}
