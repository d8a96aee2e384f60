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
use ipnet::IpNet;

/// Scheme and authority, without a trailing slash: the configured public URL, else the request's.
pub struct BaseUrl(pub String);

/// How a [`BaseUrl`] is found; an extension of every request.
#[derive(Clone)]
pub(crate) struct Origins {
    pub public_url: Option<Arc<str>>,
    pub trusted_proxies: Arc<[IpNet]>,
}

impl Origins {
    fn trusts(&self, address: IpAddr) -> bool {
        let mut trusted = self.trusted_proxies.iter();
        trusted.any(|network| network.contains(&address))
    }
}

/// Who sent the request: the peer, or whom a trusted proxy names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddress(pub IpAddr);

impl<S: Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let mut address = peer.map_or(IpAddr::from([0; 4]), |peer| peer.0.ip().to_canonical());
        let origins = parts.extensions.get::<Origins>();
        let lines = parts.headers.get_all("x-forwarded-for").iter();
        let lines: Vec<&str> = lines.filter_map(|line| line.to_str().ok()).collect();
        let hops = lines.join(",");
        // From the nearest hop back to the first that is no proxy of ours: what stands before it
        // anybody can have written.
        let mut hops = hops.rsplit(',').map(|hop| hop.trim().parse());
        while origins.is_some_and(|origins| origins.trusts(address)) {
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
            (Some(origins), Some(peer)) => origins.trusts(peer.0.ip().to_canonical()),
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

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    async fn address(peer: &str, trusted: &[&str], lines: &[&str]) -> IpAddr {
        let mut request = Request::builder().uri("/");
        for line in lines {
            request = request.header("x-forwarded-for", *line);
        }
        let (mut parts, ()) = request.body(()).expect("a request").into_parts();
        let peer: IpAddr = peer.parse().expect("an address");
        parts
            .extensions
            .insert(ConnectInfo(SocketAddr::new(peer, 1)));
        let trusted: Vec<IpNet> = trusted
            .iter()
            .map(|one| crate::settings::parse_network(one).expect("a network"))
            .collect();
        parts.extensions.insert(Origins {
            public_url: None,
            trusted_proxies: trusted.into(),
        });
        let Ok(address) = ClientAddress::from_request_parts(&mut parts, &()).await;
        address.0
    }

    #[tokio::test]
    async fn only_a_trusted_proxy_is_believed_and_only_what_it_added_itself() {
        for (peer, trusted, lines, expected) in [
            ("9.9.9.9", &["10.0.0.1"][..], &["1.1.1.1"][..], "9.9.9.9"),
            ("10.0.0.1", &["10.0.0.1"], &["1.1.1.1"], "1.1.1.1"),
            // What stands before the proxy's own hop the client may have made up.
            ("10.0.0.1", &["10.0.0.1"], &["6.6.6.6, 1.1.1.1"], "1.1.1.1"),
            (
                "10.0.0.1",
                &["10.0.0.1"],
                &["6.6.6.6", "1.1.1.1"],
                "1.1.1.1",
            ),
            (
                "10.0.0.1",
                &["10.0.0.1", "10.0.0.2"],
                &["1.1.1.1, 10.0.0.2"],
                "1.1.1.1",
            ),
            ("::ffff:10.0.0.1", &["10.0.0.1"], &["1.1.1.1"], "1.1.1.1"),
            // A network, of which each hop is ours.
            (
                "10.2.0.9",
                &["10.0.0.0/8"],
                &["6.6.6.6, 1.1.1.1, 10.1.0.7"],
                "1.1.1.1",
            ),
            ("11.0.0.1", &["10.0.0.0/8"], &["1.1.1.1"], "11.0.0.1"),
            ("10.0.0.1", &["10.0.0.1"], &["unknown"], "10.0.0.1"),
            ("10.0.0.1", &["10.0.0.1"], &[], "10.0.0.1"),
        ] {
            let expected: IpAddr = expected.parse().expect("an address");
            assert_eq!(address(peer, trusted, lines).await, expected, "{lines:?}");
        }
    }
}
