//! Settings that every process has. Each is an environment variable; `--help` lists them.

use std::{net::SocketAddr, time::Duration};

use clap::{Args, ValueEnum, value_parser};

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

    /// Comma-separated addresses of proxies whose X-Forwarded-For, -Host and -Proto are believed
    #[arg(
        long,
        env = "NATTER_TRUSTED_PROXIES",
        value_name = "NATTER_TRUSTED_PROXIES",
        value_delimiter = ','
    )]
    pub trusted_proxies: Vec<std::net::IpAddr>,

    /// Rate limits; off leaves only that on the failed logins of one account
    #[arg(
        long,
        env = "NATTER_RATE_LIMITS",
        value_name = "NATTER_RATE_LIMITS",
        default_value = "on"
    )]
    pub rate_limits: RateLimits,

    /// How long a stopping process may take to finish what it has begun, in seconds
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

fn parse_public_url(text: &str) -> Result<String, String> {
    let uri: axum::http::Uri = text.parse().map_err(|_| "it is not a URL".to_owned())?;
    match (uri.scheme_str(), uri.authority(), uri.query()) {
        (Some("http" | "https"), Some(_), None) => Ok(text.trim_end_matches('/').to_owned()),
        _ => Err("it must look like https://chat.example".to_owned()),
    }
}
