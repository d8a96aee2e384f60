//! Settings of what serves HTTP. Each is an environment variable; `--help` lists them.

use std::{net::IpAddr, time::Duration};

use clap::{Args, value_parser};
use ipnet::IpNet;

use crate::deadline::Deadlines;

#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct HttpSettings {
    /// URL that clients reach this deployment by, for links in answers; without it links follow the request's Host
    #[arg(long, env = "NATTER_PUBLIC_URL", value_parser = parse_public_url)]
    pub public_url: Option<String>,

    /// Comma-separated origins of web clients on other hosts, like `https://chat.example`: they may use the HTTP API and connect; without it only pages of the same host may connect
    #[arg(
        long,
        env = "NATTER_ALLOWED_ORIGINS",
        value_delimiter = ',',
        value_parser = parse_origin
    )]
    pub allowed_origins: Vec<String>,

    /// Comma-separated addresses and networks (10.0.0.0/8) of proxies whose X-Forwarded-For, -Host and -Proto (or Forwarded) are believed
    #[arg(long, env = "NATTER_TRUSTED_PROXIES", value_delimiter = ',', value_parser = parse_network)]
    pub trusted_proxies: Vec<IpNet>,

    /// How long a client may take to send a request's head, and how long a connection may stay idle between two requests, in seconds; longer than a proxy in front keeps its own idle connections, which is often 60 seconds
    #[arg(
        long,
        env = "NATTER_HEADER_SECONDS",
        default_value_t = 75,
        value_parser = value_parser!(u64).range(1..)
    )]
    header_seconds: u64,

    /// How long a request's body may take to arrive before it is answered with 408, in seconds
    #[arg(
        long,
        env = "NATTER_BODY_SECONDS",
        default_value_t = 120,
        value_parser = value_parser!(u64).range(1..)
    )]
    body_seconds: u64,

    /// How long a request that has arrived may take before it is answered with 503, in seconds
    #[arg(long, env = "NATTER_REQUEST_SECONDS", default_value_t = 10)]
    request_seconds: u64,
}

impl HttpSettings {
    pub fn head_timeout(&self) -> Duration {
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
