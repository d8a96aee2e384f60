//! Where a request comes from, and the URL that links in its answer start with.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{HeaderMap, HeaderName, Uri, Version, header, request::Parts, uri::Authority},
};
use ipnet::IpNet;

use crate::{HttpSettings, Problem};

/// Scheme and authority, without a trailing slash: the configured public URL, else the request's.
/// Whoever keeps it long (a connection) shares it.
pub struct BaseUrl(pub Arc<str>);

/// How a [`BaseUrl`] is found and whose pages are let in; an extension of every request.
#[derive(Clone)]
pub(crate) struct Origins {
    public_url: Option<Arc<str>>,
    trusted_proxies: Arc<[IpNet]>,
    allowed: Arc<[String]>,
}

impl Origins {
    pub fn new(settings: &HttpSettings) -> Self {
        Self {
            public_url: settings.public_url.as_deref().map(Into::into),
            trusted_proxies: settings.trusted_proxies.as_slice().into(),
            allowed: settings.allowed_origins.as_slice().into(),
        }
    }

    fn trusts(&self, address: IpAddr) -> bool {
        let mut trusted = self.trusted_proxies.iter();
        trusted.any(|network| network.contains(&address))
    }

    /// Whether pages of other hosts are let in at all.
    pub fn has_allowed(&self) -> bool {
        !self.allowed.is_empty()
    }

    /// Whether pages of this origin may use the HTTP API from another host.
    pub fn allows(&self, origin: &str) -> bool {
        self.allowed.iter().any(|one| one == origin)
    }
}

/// Whether the page that sends a request may open a WebSocket: one of an allowed origin, or where
/// none is set, of the same host. What is no page sends no `Origin`.
pub struct PageOrigin {
    pub is_allowed: bool,
}

impl<S: Sync> FromRequestParts<S> for PageOrigin {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let Ok(base) = BaseUrl::from_request_parts(parts, state).await;
        let Some(origin) = parts.headers.get(header::ORIGIN) else {
            return Ok(Self { is_allowed: true });
        };
        let origin = origin.to_str().unwrap_or_default();
        let is_allowed = match parts.extensions.get::<Origins>() {
            Some(origins) if origins.has_allowed() => origins.allows(origin),
            _ => {
                let asked = BaseUrl(asked_url(parts).into());
                let is_same = |base| is_same_host(origin, &parts.headers, base);
                is_same(&base) || is_same(&asked)
            }
        };
        Ok(Self { is_allowed })
    }
}

/// Whether a page's origin is the host that it asks, by its `Host` or by the URL of its links.
fn is_same_host(origin: &str, headers: &HeaderMap, base: &BaseUrl) -> bool {
    let Ok(uri) = origin.parse::<Uri>() else {
        return false;
    };
    let base: Option<Uri> = base.0.parse().ok();
    if base.as_ref().and_then(origin_of) == origin_of(&uri) && uri.authority().is_some() {
        return true;
    }
    // A proxy that ends TLS and is not trusted leaves the host as it was.
    match (only_host(headers), uri.authority()) {
        (Some(host), Some(authority)) => authority.as_str().eq_ignore_ascii_case(host.as_str()),
        _ => false,
    }
}

/// Scheme, host and port as browsers write them; of http and https only.
pub(crate) fn origin_of(uri: &Uri) -> Option<String> {
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let usual_port = match scheme.as_str() {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let authority = uri.authority()?;
    let host = authority.host().to_ascii_lowercase();
    match authority.port_u16().filter(|port| *port != usual_port) {
        Some(port) => Some(format!("{scheme}://{host}:{port}")),
        None => Some(format!("{scheme}://{host}")),
    }
}

/// Who sent the request: the peer, or the address that a trusted proxy names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddress(pub IpAddr);

impl<S: Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let mut address = peer.map_or(IpAddr::from([0; 4]), |peer| peer.0.ip().to_canonical());
        let origins = parts.extensions.get::<Origins>();
        // From the nearest hop back to the first that is no proxy of ours: what stands before it
        // anybody can have written.
        let mut hops = hops(&parts.headers).into_iter().rev();
        while origins.is_some_and(|origins| origins.trusts(address)) {
            match hops.next().as_deref().and_then(parse_hop) {
                Some(hop) => address = hop,
                None => break,
            }
        }
        Ok(Self(address))
    }
}

/// The address from which each proxy got the request, the nearest proxy's last: by
/// `X-Forwarded-For`, else `Forwarded`.
fn hops(headers: &HeaderMap) -> Vec<String> {
    if headers.contains_key(X_FORWARDED_FOR) {
        return list(headers, X_FORWARDED_FOR);
    }
    let elements = list(headers, header::FORWARDED);
    let of = |element: &String| parameter(element, "for").unwrap_or_default();
    elements.iter().map(of).collect()
}

/// An address as proxies write it: `1.2.3.4`, `1.2.3.4:5`, `2001:db8::1`, `[2001:db8::1]:5`, each
/// also in quotes. A port may be a word (`1.2.3.4:_x`): it is not asked for.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"').trim();
    let address = text.parse::<IpAddr>().ok();
    let in_brackets = || text.strip_prefix('[')?.split_once(']')?.0.parse().ok();
    let before_port = || text.split_once(':')?.0.parse().ok();
    let address = address.or_else(in_brackets).or_else(before_port)?;
    Some(address.to_canonical())
}

impl<S: Sync> FromRequestParts<S> for BaseUrl {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let origins = parts.extensions.get::<Origins>();
        let url = origins.and_then(|origins| origins.public_url.clone());
        Ok(Self(url.unwrap_or_else(|| asked_url(parts).into())))
    }
}

/// Scheme and authority that the client asked for, as far as a trusted proxy tells.
fn asked_url(parts: &Parts) -> String {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    let (scheme, host) = match (parts.extensions.get::<Origins>(), peer) {
        (Some(origins), Some(peer)) if origins.trusts(peer.0.ip().to_canonical()) => {
            let told = |name, of_forwarded| forwarded(origins, &parts.headers, name, of_forwarded);
            (
                told(X_FORWARDED_PROTO, "proto"),
                told(X_FORWARDED_HOST, "host"),
            )
        }
        _ => (None, None),
    };
    let scheme = scheme.and_then(|scheme| match scheme.to_ascii_lowercase().as_str() {
        // As some proxies (Traefik) call it where a WebSocket is asked for.
        "http" | "ws" => Some("http"),
        "https" | "wss" => Some("https"),
        _ => None,
    });
    let host = host.and_then(|host| parse_host(&host));
    let host = host.or_else(|| only_host(&parts.headers));
    let scheme = scheme.unwrap_or("http");
    match host {
        Some(host) => format!("{scheme}://{host}"),
        None => format!("{scheme}://localhost"),
    }
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What the client asked the outermost proxy for: the first value of the header `name`, or else the
/// parameter `in_forwarded` of the `Forwarded` element that our outermost proxy added (of the first
/// element, if each names a proxy of ours).
fn forwarded(
    origins: &Origins,
    headers: &HeaderMap,
    name: HeaderName,
    in_forwarded: &str,
) -> Option<String> {
    if let Some(own) = list(headers, name).into_iter().next() {
        return Some(own);
    }
    let elements = list(headers, header::FORWARDED);
    let is_ours = |element: &&String| {
        let hop = parameter(element, "for").as_deref().and_then(parse_hop);
        hop.is_some_and(|hop| origins.trusts(hop))
    };
    let ours = elements.iter().rev().take_while(is_ours).count();
    let first = elements.iter().rev().nth(ours).or(elements.first());
    parameter(first?, in_forwarded)
}

/// The values of a header that is a list, of all its lines. What is in quotes is not split; a quote
/// without its end is none.
fn list(headers: &HeaderMap, name: HeaderName) -> Vec<String> {
    let lines = headers.get_all(name).iter();
    // What a client wrote before, in whatever encoding, does not hide what a proxy added.
    let lines = lines.map(|line| String::from_utf8_lossy(line.as_bytes()));
    let values = lines.flat_map(|line| match line.matches('"').count() % 2 {
        0 => split(&line, ','),
        _ => line.split(',').map(|part| part.trim().to_owned()).collect(),
    });
    values.filter(|value| !value.is_empty()).collect()
}

/// A parameter of an element of `Forwarded`.
fn parameter(element: &str, name: &str) -> Option<String> {
    split(element, ';').into_iter().find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        let is_it = key.trim().eq_ignore_ascii_case(name);
        is_it.then(|| value.trim().trim_matches('"').to_owned())
    })
}

fn split(text: &str, at: char) -> Vec<String> {
    let mut is_quoted = false;
    let parts = text.split(|c| {
        is_quoted ^= c == '"';
        c == at && !is_quoted
    });
    parts.map(|part| part.trim().to_owned()).collect()
}

/// The one `Host` of a request, if it is one.
fn only_host(headers: &HeaderMap) -> Option<Authority> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next()?.to_str().ok()?;
    hosts.next().is_none().then(|| parse_host(host))?
}

/// A host and its port, without anything else that an authority may have.
fn parse_host(text: &str) -> Option<Authority> {
    let authority: Authority = text.parse().ok()?;
    let host = authority.host();
    let is_host = match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => {
            let is_fine = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
            !host.is_empty() && host.chars().all(is_fine)
        }
    };
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let is_plain = match text.strip_prefix(host)? {
        "" => true,
        rest => rest.strip_prefix(':').is_some_and(is_port) && authority.port_u16().is_some(),
    };
    (is_host && is_plain).then_some(authority)
}

/// Refuses a request that does not name one host: links in its answer would lead anywhere.
pub(crate) fn check_host(version: Version, headers: &HeaderMap) -> Result<(), Problem> {
    // Before HTTP/1.1 the header was not required.
    let may_be_missing = version < Version::HTTP_11 && !headers.contains_key(header::HOST);
    if may_be_missing || only_host(headers).is_some() {
        Ok(())
    } else {
        Err(Problem::bad_request(
            "invalid_host",
            "The request must have one Host header that names a host.",
        ))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, Request, request};

    use super::*;

    fn parts(
        peer: &str,
        trusted: &[&str],
        headers: &[(&str, &str)],
        set: impl FnOnce(&mut Origins),
    ) -> Parts {
        let mut builder: request::Builder = Request::builder().uri("/");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        let (mut parts, ()) = builder.body(()).expect("a request").into_parts();
        let peer: IpAddr = peer.parse().expect("an address");
        let peer = ConnectInfo(SocketAddr::new(peer, 1));
        parts.extensions.insert(peer);
        let trusted = trusted.iter();
        let trusted = trusted.map(|one| crate::settings::parse_network(one).expect("a network"));
        let mut origins = Origins {
            public_url: None,
            trusted_proxies: trusted.collect(),
            allowed: [].into(),
        };
        set(&mut origins);
        parts.extensions.insert(origins);
        parts
    }

    async fn address(peer: &str, trusted: &[&str], name: &str, lines: &[&str]) -> IpAddr {
        let headers: Vec<_> = lines.iter().map(|line| (name, *line)).collect();
        let mut parts = parts(peer, trusted, &headers, |_| {});
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
            // As proxies write them.
            ("10.0.0.1", &["10.0.0.1"], &["1.1.1.1:4711"], "1.1.1.1"),
            (
                "10.0.0.1",
                &["10.0.0.1"],
                &["[2001:db8::1]:80"],
                "2001:db8::1",
            ),
            ("10.0.0.1", &["10.0.0.1"], &["[2001:db8::1]"], "2001:db8::1"),
            (
                "10.0.0.1",
                &["10.0.0.1"],
                &["\"[2001:db8::1]:80\""],
                "2001:db8::1",
            ),
            (
                "10.0.0.1",
                &["10.0.0.1"],
                &[" 6.6.6.6 ,", " \"1.1.1.1\" "],
                "1.1.1.1",
            ),
            ("10.0.0.1", &["10.0.0.1"], &["::ffff:1.1.1.1"], "1.1.1.1"),
            // A quote that the client began and nobody ended.
            ("10.0.0.1", &["10.0.0.1"], &["\", 1.1.1.1"], "1.1.1.1"),
        ] {
            let expected: IpAddr = expected.parse().expect("an address");
            let found = address(peer, trusted, "x-forwarded-for", lines).await;
            assert_eq!(found, expected, "{lines:?}");
        }
    }

    #[tokio::test]
    async fn what_a_client_wrote_in_another_encoding_hides_no_hop() {
        let headers = [("forwarded", "for=7.7.7.7")];
        let mut parts = parts("10.0.0.1", &["10.0.0.1"], &headers, |_| {});
        let line = HeaderValue::from_bytes(b"\xe9, 1.1.1.1").expect("a value");
        parts.headers.insert(X_FORWARDED_FOR, line);
        let Ok(found) = ClientAddress::from_request_parts(&mut parts, &()).await;
        assert_eq!(found.0, IpAddr::from([1, 1, 1, 1]));
    }

    #[tokio::test]
    async fn the_standard_header_is_read_where_the_usual_one_is_missing() {
        for (lines, expected) in [
            (&["for=1.1.1.1;proto=https"][..], "1.1.1.1"),
            (
                &["for=\"[2001:db8::1]:47011\", For=10.0.0.1"],
                "2001:db8::1",
            ),
            (
                &["for=6.6.6.6", "by=10.0.0.1; for=\"1.1.1.1:80\""],
                "1.1.1.1",
            ),
            (&["for=_hidden"], "10.0.0.1"),
            (&["for=\"1.1.1.1:_port\""], "1.1.1.1"),
            (&["for=\"[2001:db8::1]:_port\""], "2001:db8::1"),
            (&["proto=https"], "10.0.0.1"),
        ] {
            let expected: IpAddr = expected.parse().expect("an address");
            let found = address("10.0.0.1", &["10.0.0.1"], "forwarded", lines).await;
            assert_eq!(found, expected, "{lines:?}");
        }
    }

    #[tokio::test]
    async fn links_start_with_what_the_client_asked_for() {
        for (peer, headers, expected) in [
            ("10.0.0.1", &[("host", "a.example")][..], "http://a.example"),
            (
                "10.0.0.1",
                &[
                    ("host", "a.example"),
                    ("x-forwarded-proto", "https"),
                    ("x-forwarded-host", "b.example"),
                ],
                "https://b.example",
            ),
            (
                "10.0.0.1",
                &[("host", "a.example"), ("x-forwarded-proto", "wss")],
                "https://a.example",
            ),
            (
                "9.9.9.9",
                &[("host", "a.example"), ("x-forwarded-host", "b.example")],
                "http://a.example",
            ),
            (
                "10.0.0.1",
                &[
                    ("host", "a.example"),
                    ("x-forwarded-proto", "javascript"),
                    ("x-forwarded-host", "evil/x?"),
                ],
                "http://a.example",
            ),
            (
                "10.0.0.1",
                &[
                    ("host", "a.example"),
                    (
                        "forwarded",
                        "for=1.1.1.1;host=\"b.example:8443\";proto=HTTPS",
                    ),
                ],
                "https://b.example:8443",
            ),
            // The client wrote the first element.
            (
                "10.0.0.1",
                &[
                    ("host", "a.example"),
                    (
                        "forwarded",
                        "host=evil.example;proto=http, for=1.1.1.1;host=b.example;proto=https",
                    ),
                ],
                "https://b.example",
            ),
            (
                "10.0.0.1",
                &[
                    ("host", "a.example"),
                    (
                        "forwarded",
                        "for=1.1.1.1;host=b.example, for=10.0.0.1;host=inner.example",
                    ),
                ],
                "http://b.example",
            ),
        ] {
            let mut parts = parts(peer, &["10.0.0.1"], headers, |_| {});
            let Ok(base) = BaseUrl::from_request_parts(&mut parts, &()).await;
            assert_eq!(&*base.0, expected, "{headers:?}");
        }
    }

    #[tokio::test]
    async fn pages_of_the_same_host_or_of_an_allowed_origin_are_let_in() {
        let listed = |origins: &mut Origins| {
            origins.allowed = ["https://app.example".to_owned()].into();
        };
        let public = |origins: &mut Origins| origins.public_url = Some("https://p.example".into());
        let plain = |_: &mut Origins| {};
        let proxied = [
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "front.example"),
        ];
        type Case<'a> = (
            &'a dyn Fn(&mut Origins),
            Option<&'a str>,
            &'a [(&'static str, &'static str)],
            bool,
        );
        let cases: [Case<'_>; 14] = [
            (&plain, Some("http://chat.example"), &[][..], true),
            (&plain, None, &[], true),
            (&plain, Some("http://chat.example:8080"), &[], false),
            (&plain, Some("https://evil.example"), &[], false),
            (&plain, Some("null"), &[], false),
            (&plain, Some("https://front.example"), &proxied, true),
            (&plain, Some("https://front.example:443"), &proxied, true),
            (&plain, Some("http://front.example"), &proxied, false),
            (&listed, Some("https://app.example"), &[], true),
            (&listed, Some("http://app.example"), &[], false),
            (&listed, Some("http://chat.example"), &[], false),
            (&public, Some("https://p.example"), &[], true),
            (&public, Some("https://q.example"), &[], false),
            (&public, Some("https://front.example"), &proxied, true),
        ];
        for (set, origin, extra, is_allowed) in cases {
            let mut headers = vec![("host", "chat.example")];
            headers.extend(origin.map(|origin| ("origin", origin)));
            headers.extend(extra);
            let mut parts = parts("10.0.0.1", &["10.0.0.1"], &headers, set);
            let Ok(page) = PageOrigin::from_request_parts(&mut parts, &()).await;
            assert_eq!(page.is_allowed, is_allowed, "{headers:?}");
        }
    }

    #[test]
    fn a_host_is_one_name_or_address() {
        for (hosts, is_fine) in [
            (&["chat.example"][..], true),
            (&["chat.example:8080"], true),
            (&["127.0.0.1:1"], true),
            (&["[::1]:8080"], true),
            (&["[::1]"], true),
            (&[], false),
            (&["a.example", "b.example"], false),
            (&["evil/x?"], false),
            (&[""], false),
            (&["user@chat.example"], false),
            (&["chat.example:port"], false),
            (&["chat.example:99999"], false),
            (&["a b"], false),
            (&["a.example,b.example"], false),
            (&["[zzz]"], false),
            (&["x'y=(z)"], false),
            (&["chat.example:+80"], false),
            (&["chat_1.example"], true),
        ] {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(header::HOST, host.parse().expect("a value"));
            }
            let checked = check_host(Version::HTTP_11, &headers);
            assert_eq!(checked.is_ok(), is_fine, "{hosts:?}");
        }
        assert!(check_host(Version::HTTP_10, &HeaderMap::new()).is_ok());
    }
}
