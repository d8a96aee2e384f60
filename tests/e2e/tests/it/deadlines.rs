//! Clients that are slow on purpose: nothing waits for them for ever.

use natter_e2e::{Topology, World, said_to};

const SHORT: [(&str, &str); 2] = [("NATTER_HEADER_SECONDS", "1"), ("NATTER_BODY_SECONDS", "1")];

#[tokio::test]
async fn a_head_that_does_not_come_closes_the_connection() {
    let world = World::start_with(Topology::Standalone, &SHORT).await;
    for beginning in ["", "GET /api/users/ HTTP/1.1\r\nHost: x\r\nX-Slow: "] {
        assert_eq!(said_to(&world.users(), beginning.as_bytes()).await, "");
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_answered() {
    let world = World::start_with(Topology::Standalone, &SHORT).await;
    let head = "POST /api/users/login/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    let said = said_to(
        &world.users(),
        format!("{head}Content-Length: 100\r\n\r\n{{").as_bytes(),
    )
    .await;
    assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
    let body = r#"{"code":"request_timeout","error":"The request body did not arrive in time."}"#;
    assert!(said.ends_with(body), "{said}");
}

#[tokio::test]
async fn what_is_too_long_is_answered_while_it_is_still_being_sent() {
    let world = World::start(Topology::Standalone).await;
    let head = "POST /api/users/login/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n";
    let long = "x".repeat(20 << 20);
    let said = said_to(
        &world.users(),
        format!("{head}Content-Length: {}\r\n\r\n{long}", long.len()).as_bytes(),
    )
    .await;
    assert!(said.starts_with("HTTP/1.1 413 "), "{said}");
    // A client that asks first is told at once, and not invited to send.
    let said = said_to(
        &world.users(),
        format!("{head}Expect: 100-continue\r\nContent-Length: 9999999\r\n\r\n").as_bytes(),
    )
    .await;
    assert!(said.starts_with("HTTP/1.1 413 "), "{said}");
}
