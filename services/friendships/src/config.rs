//! Settings of the friendships service.

use clap::{Args, value_parser};
use natter_pg::DatabaseUrl;
use natter_startup::Password;

#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Settings {
    /// Password of the NATS user friendships
    #[arg(long, env = "NATTER_FRIENDSHIPS_NATS_PASSWORD")]
    pub friendships_nats_password: Password,

    /// Postgres URL of the role natter_friendships
    #[arg(long, env = "NATTER_FRIENDSHIPS_DATABASE_URL")]
    friendships_database_url: DatabaseUrl,

    /// Password of the role natter_friendships, if NATTER_FRIENDSHIPS_DATABASE_URL has none
    #[arg(long, env = "NATTER_FRIENDSHIPS_DATABASE_PASSWORD")]
    friendships_database_password: Option<Password>,

    /// Maximum database connections
    #[arg(long, env = "NATTER_FRIENDSHIPS_DATABASE_CONNECTIONS", default_value_t = 10, value_parser = value_parser!(u32).range(2..))]
    pub friendships_database_connections: u32,

    /// How many friendships an account may ask for in a minute
    #[arg(long, env = "NATTER_FRIENDSHIP_REQUESTS_PER_MINUTE", default_value_t = 30, value_parser = value_parser!(u32).range(1..))]
    friendship_requests_per_minute: u32,

    /// How many friendships an account may ask for in a day
    #[arg(long, env = "NATTER_FRIENDSHIP_REQUESTS_PER_DAY", default_value_t = 300, value_parser = value_parser!(u32).range(1..))]
    friendship_requests_per_day: u32,
}

impl Settings {
    /// The database, in the role of this service.
    pub fn database(&self) -> DatabaseUrl {
        let password = self.friendships_database_password.as_ref();
        self.friendships_database_url.with_password(password)
    }

    /// How many friendships an account may ask for, and within how many seconds.
    pub fn request_limits(&self) -> [(u32, u32); 2] {
        [
            (self.friendship_requests_per_minute, 60),
            (self.friendship_requests_per_day, 24 * 3_600),
        ]
    }
}
