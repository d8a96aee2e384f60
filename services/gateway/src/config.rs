//! Settings of the gateway.

use std::time::Duration;

use clap::{Args, value_parser};
use natter_startup::Password;

#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Settings {
    /// Password of the NATS user gateway
    #[arg(long, env = "NATTER_GATEWAY_NATS_PASSWORD")]
    pub gateway_nats_password: Password,

    /// Seconds between pings; a connection is closed when two pings in a row are unanswered
    #[arg(long, env = "NATTER_HEARTBEAT_SECONDS", default_value_t = 30, value_parser = value_parser!(u64).range(1..))]
    pub heartbeat_seconds: u64,

    /// Most connections that one user may have at this gateway; when there are more, the oldest connection is closed
    #[arg(long, env = "NATTER_USER_CONNECTIONS", default_value_t = 20, value_parser = value_parser!(u32).range(1..))]
    pub user_connections: u32,

    /// How many events a resuming client may be behind in one channel and still get them replayed; a channel that is further behind is named in `resync`
    #[arg(long, env = "NATTER_REPLAY_EVENTS", default_value_t = 1_000)]
    pub replay_events: u64,

    /// The longest time over which a stopping gateway spreads the closing of its connections, in seconds
    #[arg(long, env = "NATTER_DRAIN_SECONDS", default_value_t = 15)]
    drain_seconds: u64,
}

impl Settings {
    pub fn heartbeat(&self) -> Duration {
        Duration::from_secs(self.heartbeat_seconds)
    }

    pub fn longest_drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }
}
