//! The URL that links in answers start with.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{HeaderMap, header, request::Parts},
};

/// Scheme and authority, without a trailing slash: the configured public URL, else the request's.
pub struct BaseUrl(pub String);

/// How a [`BaseUrl`] is found; an extension of every request.
#[derive(Clone)]
pub(crate) struct Origins {
    pub public_url: Option<Arc<str>>,
    pub trusted_proxies: Arc<[IpAddr]>,
}

/// Who sent the request: the peer, or whom a trusted proxy names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddress(pub IpAddr);

impl<S: Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let mut address = peer.map_or(IpAddr::from([0; 4]), |peer| peer.0.ip().to_canonical());
        let trusted = parts
            .extensions
            .get::<Origins>()
            .map(|origins| &origins.trusted_proxies);
        let lines = parts.headers.get_all("x-forwarded-for").iter();
        let lines: Vec<&str> = lines.filter_map(|line| line.to_str().ok()).collect();
        let hops = lines.join(",");
        // From the nearest hop back to the first that is no proxy of ours: what stands before it
        // anybody can have written.
        let mut hops = hops.rsplit(',').map(|hop| hop.trim().parse());
        while trusted.is_some_and(|trusted| trusted.contains(&address)) {
            match hops.next() {
                Some(Ok(hop)) => address = hop,
                _ => break,
            }
        }
        Ok(Self(address))
    }
}

impl<S: Sync> FromRequestParts<S> for BaseUrl {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let origins = parts.extensions.get::<Origins>();
        if let Some(url) = origins.and_then(|origins| origins.public_url.as_deref()) {
            return Ok(Self(url.to_owned()));
        }
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let trusted = match (origins, peer) {
            (Some(origins), Some(peer)) => origins
                .trusted_proxies
                .contains(&peer.0.ip().to_canonical()),
            _ => false,
        };
        let forwarded = |name| first(&parts.headers, name).filter(|_| trusted);
        let scheme = forwarded("x-forwarded-proto").unwrap_or("http");
        let host = forwarded("x-forwarded-host")
            .or_else(|| first(&parts.headers, header::HOST.as_str()))
            .unwrap_or("localhost");
        Ok(Self(format!("{scheme}://{host}")))
    }
}

/// The first of a header's comma-separated values.
fn first<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let value = headers.get(name)?.to_str().ok()?;
    value.split(',').next().map(str::trim)
}
