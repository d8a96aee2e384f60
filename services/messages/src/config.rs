//! Settings of the messages service.

use std::time::Duration;

use clap::{Args, value_parser};
use natter_pg::DatabaseUrl;
use natter_startup::Password;

#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Settings {
    /// Password of the NATS user messages
    #[arg(long, env = "NATTER_MESSAGES_NATS_PASSWORD")]
    pub messages_nats_password: Password,

    /// Postgres URL of the role natter_messages
    #[arg(long, env = "NATTER_MESSAGES_DATABASE_URL")]
    messages_database_url: DatabaseUrl,

    /// Password of the role natter_messages, if NATTER_MESSAGES_DATABASE_URL has none
    #[arg(long, env = "NATTER_MESSAGES_DATABASE_PASSWORD")]
    messages_database_password: Option<Password>,

    /// Maximum connections of the database pool; in addition each replica opens 5 connections of its own for writing (2 for sends, 1 each for marks, the outbox and the search table)
    #[arg(long, env = "NATTER_MESSAGES_DATABASE_CONNECTIONS", default_value_t = 12, value_parser = value_parser!(u32).range(4..))]
    pub messages_database_connections: u32,

    /// How often files that nothing needs any more are removed, in seconds
    #[arg(long, env = "NATTER_MEDIA_SWEEP_SECONDS", default_value_t = 60, value_parser = value_parser!(u64).range(1..))]
    media_sweep_seconds: u64,
}

impl Settings {
    /// The database, in the role of this service.
    pub fn database(&self) -> DatabaseUrl {
        let password = self.messages_database_password.as_ref();
        self.messages_database_url.with_password(password)
    }

    pub fn sweep_every(&self) -> Duration {
        Duration::from_secs(self.media_sweep_seconds)
    }
}
