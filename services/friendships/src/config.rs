//! Settings of the friendship service.

use clap::{Args, value_parser};
use natter_bus::Password;
use natter_pg::DatabaseUrl;

#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Settings {
    /// Password of the NATS user friendships
    #[arg(
        long,
        env = "NATTER_FRIENDSHIPS_NATS_PASSWORD",
        value_name = "NATTER_FRIENDSHIPS_NATS_PASSWORD"
    )]
    pub friendships_nats_password: Password,

    /// Postgres URL of the role natter_friendships
    #[arg(
        long,
        env = "NATTER_FRIENDSHIPS_DATABASE_URL",
        value_name = "NATTER_FRIENDSHIPS_DATABASE_URL"
    )]
    friendships_database_url: DatabaseUrl,

    /// Its password, where the URL has none
    #[arg(
        long,
        env = "NATTER_FRIENDSHIPS_DATABASE_PASSWORD",
        value_name = "NATTER_FRIENDSHIPS_DATABASE_PASSWORD"
    )]
    friendships_database_password: Option<Password>,

    /// Maximum database connections
    #[arg(long, env = "NATTER_FRIENDSHIPS_DATABASE_CONNECTIONS", value_name = "NATTER_FRIENDSHIPS_DATABASE_CONNECTIONS", default_value_t = 10, value_parser = value_parser!(u32).range(2..))]
    pub friendships_database_connections: u32,
}

impl Settings {
    /// The database, in the role of this service.
    pub fn database(&self) -> DatabaseUrl {
        let password = self.friendships_database_password.as_ref();
        self.friendships_database_url.with_password(password)
    }
}
