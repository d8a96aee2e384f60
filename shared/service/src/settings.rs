//! Settings that every process has. Each is an environment variable; `--help` lists them.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use clap::{Args, ValueEnum, value_parser};
use ipnet::IpNet;

use crate::deadline::Deadlines;

#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct ProcessSettings {
    /// Address of the public listener; port 0 takes a free one
    #[arg(
        long,
        env = "NATTER_LISTEN",
        value_name = "NATTER_LISTEN",
        default_value = "127.0.0.1:8080"
    )]
    pub listen: SocketAddr,

    /// Address of the admin listener (/healthz, /readyz, /metrics)
    #[arg(
        long,
        env = "NATTER_ADMIN_LISTEN",
        value_name = "NATTER_ADMIN_LISTEN",
        default_value = "127.0.0.1:9090"
    )]
    pub admin_listen: SocketAddr,

    /// URL that clients reach this deployment by, for links in answers; without it links follow the request's Host
    #[arg(long, env = "NATTER_PUBLIC_URL", value_name = "NATTER_PUBLIC_URL", value_parser = parse_public_url)]
    pub public_url: Option<String>,

    /// Comma-separated origins of web clients on other hosts, like `https://chat.example`: they may use the HTTP API and connect; without it only pages of the same host may connect
    #[arg(
        long,
        env = "NATTER_ALLOWED_ORIGINS",
        value_name = "NATTER_ALLOWED_ORIGINS",
        value_delimiter = ',',
        value_parser = parse_origin
    )]
    pub allowed_origins: Vec<String>,

    /// Comma-separated addresses and networks (10.0.0.0/8) of proxies whose X-Forwarded-For, -Host and -Proto (or Forwarded) are believed
    #[arg(long, env = "NATTER_TRUSTED_PROXIES", value_name = "NATTER_TRUSTED_PROXIES", value_delimiter = ',', value_parser = parse_network)]
    pub trusted_proxies: Vec<IpNet>,

    /// Rate limits; off leaves only that on the failed logins of one account
    #[arg(
        long,
        env = "NATTER_RATE_LIMITS",
        value_name = "NATTER_RATE_LIMITS",
        default_value = "on"
    )]
    pub rate_limits: RateLimits,

    /// How long a start waits for Postgres, NATS and the set-up before it gives up, in seconds
    #[arg(
        long,
        env = "NATTER_START_SECONDS",
        value_name = "NATTER_START_SECONDS",
        default_value_t = 30
    )]
    start_seconds: u64,

    /// How long a process that was told to stop goes on serving, unready, before it drains, in seconds; as long as it takes until no traffic is sent to it any more
    #[arg(
        long,
        env = "NATTER_SHUTDOWN_DELAY_SECONDS",
        value_name = "NATTER_SHUTDOWN_DELAY_SECONDS",
        default_value_t = 0
    )]
    shutdown_delay_seconds: u64,

    /// How long it may then take to finish what it has begun, in seconds
    #[arg(
        long,
        env = "NATTER_SHUTDOWN_SECONDS",
        value_name = "NATTER_SHUTDOWN_SECONDS",
        default_value_t = 25
    )]
    shutdown_seconds: u64,

    /// How long a connection may take to bring a request's head, or stay idle between two, in seconds
    #[arg(
        long,
        env = "NATTER_HEADER_SECONDS",
        value_name = "NATTER_HEADER_SECONDS",
        default_value_t = 60,
        value_parser = value_parser!(u64).range(1..)
    )]
    header_seconds: u64,

    /// How long a request's body may take to arrive before it is answered with 408, in seconds
    #[arg(
        long,
        env = "NATTER_BODY_SECONDS",
        value_name = "NATTER_BODY_SECONDS",
        default_value_t = 120,
        value_parser = value_parser!(u64).range(1..)
    )]
    body_seconds: u64,

    /// How long a request that has arrived may take before it is answered with 503, in seconds
    #[arg(
        long,
        env = "NATTER_REQUEST_SECONDS",
        value_name = "NATTER_REQUEST_SECONDS",
        default_value_t = 10
    )]
    request_seconds: u64,

    /// Log format; by default text on a terminal, else json
    #[arg(long, env = "NATTER_LOG_FORMAT", value_name = "NATTER_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,

    /// What is logged, as tracing directives
    #[arg(
        long,
        env = "RUST_LOG",
        value_name = "RUST_LOG",
        default_value = "info"
    )]
    pub log_filter: String,

    /// Where traces go (OTLP over HTTP); off when unset. The other standard OTEL_ variables hold too
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        value_name = "OTEL_EXPORTER_OTLP_ENDPOINT"
    )]
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

    pub(crate) fn head_timeout(&self) -> Duration {
        Duration::from_secs(self.header_seconds)
    }

    pub(crate) fn deadlines(&self) -> Deadlines {
        Deadlines {
            body: Duration::from_secs(self.body_seconds),
            answer: Duration::from_secs(self.request_seconds),
        }
    }
}

pub(crate) fn parse_network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let address = text.parse::<IpAddr>().map(IpNet::from);
    address
        .or_else(|_| text.parse())
        .map_err(|_| "it must look like 10.0.0.1 or 10.0.0.0/8".to_owned())
}

/// An origin as browsers write it: in lower case, without a path, without the usual port.
fn parse_origin(text: &str) -> Result<String, String> {
    let refuse = || "it must look like https://chat.example".to_owned();
    let uri: axum::http::Uri = text.trim().parse().map_err(|_| refuse())?;
    let is_bare = uri.query().is_none() && matches!(uri.path(), "" | "/");
    let origin = crate::origin::origin_of(&uri).filter(|_| is_bare);
    origin.ok_or_else(refuse)
}

fn parse_public_url(text: &str) -> Result<String, String> {
    let uri: axum::http::Uri = text.parse().map_err(|_| "it is not a URL".to_owned())?;
    match (uri.scheme_str(), uri.authority(), uri.query()) {
        (Some("http" | "https"), Some(_), None) => Ok(text.trim_end_matches('/').to_owned()),
        _ => Err("it must look like https://chat.example".to_owned()),
    }
}
