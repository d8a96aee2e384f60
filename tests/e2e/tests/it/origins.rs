//! Where requests come from: pages of other origins, proxies, hosts, and what is no request.

use natter_e2e::{Topology, World, said_to};
use natter_test_support::{Person, Socket};
use reqwest::{Client, Method};
use serde_json::{Value, json};

const APP: &str = "https://app.example";

fn header<'a>(answer: &'a reqwest::Response, name: &str) -> Option<&'a str> {
    answer
        .headers()
        .get(name)
        .map(|value| value.to_str().expect("text"))
}

#[tokio::test]
async fn pages_of_allowed_origins_may_read_answers_and_others_may_not() {
    let settings = [(
        "NATTER_ALLOWED_ORIGINS",
        "https://app.example, http://localhost:3000",
    )];
    let world = World::start_with(Topology::Apart, &settings).await;
    let alice = Person::sign_up(&world.users(), "alice").await;
    for (base, path) in [
        (world.users(), "/api/users/profile/"),
        (world.friendships(), "/api/users/friendship/"),
        (world.messages(), "/api/messages/conversations/"),
    ] {
        let url = format!("{base}{path}");
        let preflight = async |origin: &str| {
            let request = Client::new()
                .request(Method::OPTIONS, &url)
                .header("origin", origin);
            let request = request.header("access-control-request-method", "PATCH");
            let request = request.header(
                "access-control-request-headers",
                "authorization,content-type",
            );
            request.send().await.expect("an answer")
        };
        let told = preflight(APP).await;
        assert_eq!(told.status(), 204);
        assert_eq!(header(&told, "access-control-allow-origin"), Some(APP));
        assert_eq!(header(&told, "vary"), Some("Origin"));
        for (name, value) in [
            ("access-control-allow-methods", "PATCH"),
            ("access-control-allow-headers", "Authorization"),
            ("access-control-allow-headers", "Content-Type"),
        ] {
            assert!(
                header(&told, name).is_some_and(|all| all.contains(value)),
                "{name}"
            );
        }
        // A preflight is an answer like any other.
        assert_eq!(header(&told, "x-content-type-options"), Some("nosniff"));
        assert!(header(&told, "x-request-id").is_some());
        let age = header(&told, "access-control-max-age");
        assert!(age.and_then(|age| age.parse::<u32>().ok()) > Some(0));
        assert_eq!(header(&told, "access-control-allow-credentials"), None);
        let other = preflight("https://evil.example").await;
        assert_eq!(header(&other, "access-control-allow-origin"), None);
        assert_eq!(header(&other, "access-control-allow-methods"), None);

        for (origin, allowed) in [
            (Some(APP), Some(APP)),
            (Some("http://localhost:3000"), Some("http://localhost:3000")),
            (Some("https://evil.example"), None),
            (Some("null"), None),
            (None, None),
        ] {
            // Also of what is refused: a page must be able to read why.
            for token in [alice.access.as_str(), "none"] {
                let mut request = Client::new().get(&url).bearer_auth(token);
                if let Some(origin) = origin {
                    request = request.header("origin", origin);
                }
                let answer = request.send().await.expect("an answer");
                assert_eq!(header(&answer, "access-control-allow-origin"), allowed);
                assert_eq!(header(&answer, "vary"), Some("Origin"));
                let exposed = header(&answer, "access-control-expose-headers");
                for name in ["X-Request-Id", "Retry-After"] {
                    assert_eq!(
                        exposed.is_some_and(|all| all.contains(name)),
                        allowed.is_some()
                    );
                }
                assert_eq!(header(&answer, "x-content-type-options"), Some("nosniff"));
            }
        }
    }
    // The same list lets pages connect.
    for (origin, is_let_in) in [(APP, true), ("https://evil.example", false)] {
        let mut headers = alice.headers();
        headers.push(("origin", origin.to_owned()));
        let connected = Socket::connect(&world.gateway(), &headers).await;
        assert_eq!(connected.is_ok(), is_let_in, "{origin}");
    }
}

#[tokio::test]
async fn without_a_list_no_answer_is_shared_and_pages_of_the_same_host_connect() {
    let settings = [
        ("NATTER_PUBLIC_URL", "https://chat.example"),
        ("NATTER_TRUSTED_PROXIES", "127.0.0.1"),
    ];
    let world = World::start_with(Topology::Standalone, &settings).await;
    let alice = Person::sign_up(&world.users(), "alice").await;
    let url = format!("{}/api/users/profile/", world.users());
    let answer = Client::new().get(&url).header("origin", APP).send().await;
    let answer = answer.expect("an answer");
    assert_eq!(header(&answer, "access-control-allow-origin"), None);
    for (origin, is_let_in) in [
        (world.gateway(), true),
        ("https://chat.example".to_owned(), true),
        (APP.to_owned(), false),
    ] {
        let mut headers = alice.headers();
        headers.push(("origin", origin.clone()));
        let connected = Socket::connect(&world.gateway(), &headers).await;
        assert_eq!(connected.is_ok(), is_let_in, "{origin}");
    }
}

/// The status and the body of an answer.
fn read(said: &str) -> (u16, Value) {
    let status = said
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let body = said.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (
        status.unwrap_or_default(),
        serde_json::from_str(body).unwrap_or_default(),
    )
}

#[tokio::test]
async fn what_is_no_request_gets_an_error_body() {
    let world = World::start(Topology::Standalone).await;
    let long = |length| "x".repeat(length);
    let many = "X-More: x\r\n".repeat(8_000);
    for (request, status, code) in [
        (
            "GET /api/users/ HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(),
            400,
            "invalid_host",
        ),
        (
            "GET /api/users/ HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n"
                .to_owned(),
            400,
            "invalid_host",
        ),
        (
            "GET /api/users/ HTTP/1.1\r\nHost: evil/x?\r\nConnection: close\r\n\r\n".to_owned(),
            400,
            "invalid_host",
        ),
        (
            "GET /api/users/\r\nHost: x\r\n\r\n".to_owned(),
            400,
            "bad_request",
        ),
        ("nonsense\r\n\r\n".to_owned(), 400, "bad_request"),
        (
            format!(
                "GET /{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                long(40_000)
            ),
            414,
            "uri_too_long",
        ),
        (
            format!("GET /?q={} HTTP/1.1\r\nHost: x\r\n\r\n", long(70_000)),
            414,
            "uri_too_long",
        ),
        (
            format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", long(200_000)),
            414,
            "uri_too_long",
        ),
        (
            format!(
                "GET / HTTP/1.1\r\nHost: x\r\nX-More: {}\r\nConnection: close\r\n\r\n",
                long(100_000)
            ),
            431,
            "headers_too_large",
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n"),
            431,
            "headers_too_large",
        ),
    ] {
        let said = said_to(&world.users(), request.as_bytes()).await;
        let (got, body) = read(&said);
        let shown: String = request.chars().take(60).collect();
        assert_eq!(
            (got, &body["code"]),
            (status, &json!(code)),
            "{shown}: {said}"
        );
        assert!(
            body["error"].is_string() || body["detail"].is_string(),
            "{body}"
        );
        assert!(
            said.to_lowercase()
                .contains("content-type: application/json"),
            "{said}"
        );
        assert!(said.to_lowercase().contains("\r\nx-request-id: "), "{said}");
    }
    for (request, status) in [
        (
            format!("HEAD /{} HTTP/1.1\r\nHost: x\r\n\r\n", long(200_000)),
            414,
        ),
        (format!("HEAD / HTTP/1.1\r\nHost: x\r\n{many}\r\n"), 431),
    ] {
        let said = said_to(&world.users(), request.as_bytes()).await;
        assert_eq!(read(&said).0, status, "{said}");
        assert!(said.ends_with("\r\n\r\n"), "HEAD has no body: {said}");
    }
    // The oldest clients name no host.
    let said = said_to(&world.users(), b"GET /api/users/profile/ HTTP/1.0\r\n\r\n").await;
    assert_eq!(read(&said).0, 401, "{said}");
}

#[tokio::test]
async fn an_encoding_that_is_not_understood_is_said_so() {
    let world = World::start(Topology::Standalone).await;
    let url = format!("{}/api/users/login/", world.users());
    for (encoding, status) in [("gzip", 415), ("br, gzip", 415), ("identity", 401)] {
        let request = Client::new()
            .post(&url)
            .header("content-encoding", encoding);
        let request = request.json(&json!({"username": "nobody", "password": "Wr0ng!pass"}));
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), status, "{encoding}");
        if status == 415 {
            assert!(answer.headers().contains_key("accept-encoding"));
            let body: Value = answer.json().await.expect("JSON");
            assert_eq!(body["code"], "unsupported_encoding");
        }
    }
}

#[tokio::test]
async fn an_upgrade_is_read_as_clients_write_it() {
    let world = World::start(Topology::Standalone).await;
    let alice = Person::sign_up(&world.users(), "alice").await;
    let upgrade = |version: u8, connection: &str| {
        format!(
            "GET /ws/messages/ HTTP/1.1\r\nHost: x\r\n{connection}Upgrade: websocket\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: {version}\r\n\
             Authorization: Bearer {}\r\nRefresh: none\r\n\r\n",
            alice.access
        )
    };
    // Both lines count: what is refused then is the refresh token.
    let two = "Connection: close\r\nConnection: Upgrade\r\n";
    let said = said_to(&world.gateway(), upgrade(13, two).as_bytes()).await;
    assert_eq!(read(&said).0, 401, "{said}");
    let said = said_to(&world.gateway(), upgrade(8, two).as_bytes()).await;
    let (status, body) = read(&said);
    assert_eq!(
        (status, &body["code"]),
        (426, &json!("websocket_version_not_supported"))
    );
    for header in ["sec-websocket-version: 13\r\n", "upgrade: websocket\r\n"] {
        assert!(said.to_lowercase().contains(header), "{said}");
    }
    let head = upgrade(13, two).replacen("GET", "HEAD", 1);
    let said = said_to(&world.gateway(), head.as_bytes()).await;
    assert!(said.starts_with("HTTP/1.1 400 "), "{said}");
    // Among other protocols, in one line or two.
    for offers in [
        "Upgrade: h2c, websocket\r\n",
        "Upgrade: h2c\r\nUpgrade: WebSocket\r\n",
    ] {
        let request = upgrade(13, two).replace("Upgrade: websocket\r\n", offers);
        let said = said_to(&world.gateway(), request.as_bytes()).await;
        assert_eq!(read(&said).0, 401, "{offers}: {said}");
    }
}
