//! Settings of the message-history service.

use clap::{Args, value_parser};
use natter_pg::DatabaseUrl;

#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Settings {
    /// Postgres URL of the role that owns the schema messages
    #[arg(
        long,
        env = "NATTER_MESSAGES_DATABASE_URL",
        value_name = "NATTER_MESSAGES_DATABASE_URL"
    )]
    pub messages_database_url: DatabaseUrl,

    /// Most connections to it
    #[arg(long, env = "NATTER_MESSAGES_DATABASE_CONNECTIONS", value_name = "NATTER_MESSAGES_DATABASE_CONNECTIONS", default_value_t = 12, value_parser = value_parser!(u32).range(4..))]
    pub messages_database_connections: u32,
}
