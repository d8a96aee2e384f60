//! Settings that every process has. Each is an environment variable; `--help` lists them.

use std::{net::SocketAddr, time::Duration};

use clap::{Args, ValueEnum};
use natter_http::HttpSettings;

#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct ProcessSettings {
    /// Address of the public listener; port 0 takes a free one
    #[arg(long, env = "NATTER_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// Address of the admin listener (/healthz, /readyz, /metrics)
    #[arg(long, env = "NATTER_ADMIN_LISTEN", default_value = "127.0.0.1:9090")]
    pub admin_listen: SocketAddr,

    #[command(flatten)]
    pub http: HttpSettings,

    /// Rate limits; `off` disables all of them except the limit on failed logins of one account
    #[arg(long, env = "NATTER_RATE_LIMITS", default_value = "on")]
    pub rate_limits: RateLimits,

    /// How long a start waits for Postgres, NATS and the set-up before it gives up, in seconds
    #[arg(long, env = "NATTER_START_SECONDS", default_value_t = 30)]
    start_seconds: u64,

    /// How long a process that was told to stop goes on serving, unready, before it drains, in seconds; set it to the time that the load balancer needs to stop sending traffic to the process
    #[arg(long, env = "NATTER_SHUTDOWN_DELAY_SECONDS", default_value_t = 0)]
    shutdown_delay_seconds: u64,

    /// How long a process that drains may take to finish what it has begun, in seconds
    #[arg(long, env = "NATTER_SHUTDOWN_SECONDS", default_value_t = 25)]
    shutdown_seconds: u64,

    /// Log format; by default text on a terminal, else json
    #[arg(long, env = "NATTER_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,

    /// What is logged, as tracing directives
    #[arg(long, env = "RUST_LOG", default_value = "info")]
    pub log_filter: String,

    /// Where traces go (OTLP over HTTP); off when unset. The other standard OTEL_ variables hold too
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RateLimits {
    On,
    Off,
}

impl ProcessSettings {
    pub fn start_patience(&self) -> Duration {
        Duration::from_secs(self.start_seconds)
    }

    pub(crate) fn shutdown_delay(&self) -> Duration {
        Duration::from_secs(self.shutdown_delay_seconds)
    }

    pub fn shutdown_timeout(&self) -> Duration {
        Duration::from_secs(self.shutdown_seconds)
    }
}
