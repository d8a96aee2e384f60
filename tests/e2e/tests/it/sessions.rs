//! What ends with a session, and who may connect.

use natter_e2e::{Topology, World};
use natter_test_support::{Person, Signal, Socket, until};
use reqwest::StatusCode;
use serde_json::json;
use std::time::Instant;

#[tokio::test]
async fn logging_out_closes_that_sessions_sockets_and_no_other() {
    let world = World::start(Topology::Apart).await;
    let phone = Person::sign_up(&world.users(), "alice").await;
    let laptop = phone.log_in(&world.users()).await;
    let mut phone_sockets = [
        phone.connect(&world.gateway()).await,
        phone.connect(&world.gateway_2()).await,
    ];
    let mut laptop_socket = laptop.connect(&world.gateway()).await;

    let url = format!("{}/api/users/logout/", world.users());
    let (status, body) = phone.post(&url, json!({"refresh": phone.refresh})).await;
    assert_eq!(
        (status, body),
        (
            StatusCode::OK,
            json!({"message": "Successfully logged out"})
        )
    );
    let ended = Instant::now();
    for socket in &mut phone_sockets {
        assert_eq!(socket.closed().await, Some(4001));
    }
    // Promised within 1 s; not asserted, since a busy machine is no failure.
    eprintln!("closed after {:?}", ended.elapsed());
    // The access token dies at every service, not only where it was ended.
    let friendships = format!("{}/api/users/friendship/", world.friendships());
    until("the access token is dead", || async {
        (phone.get(&friendships).await.0 == StatusCode::UNAUTHORIZED).then_some(())
    })
    .await;
    assert!(
        Socket::connect(&world.gateway(), &phone.headers())
            .await
            .is_err()
    );
    laptop_socket.send(json!({"type": "ping"})).await;
    laptop_socket.frame("pong").await;
    assert_eq!(laptop.get(&friendships).await.0, StatusCode::OK);
}

#[tokio::test]
async fn an_expired_access_token_is_renewed_at_the_upgrade() {
    let settings = [("NATTER_ACCESS_TOKEN_SECONDS", "1")];
    let world = World::start_with(Topology::Standalone, &settings).await;
    let http = reqwest::Client::new();
    let body = json!({"username": "alice", "password": "Str0ng!pass", "email": "a@mail.example"});
    let signup = format!("{}/api/users/signup/", world.users());
    let tokens: serde_json::Value = http
        .post(signup)
        .json(&body)
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("tokens");
    let text = |name: &str| tokens[name].as_str().expect("a token").to_owned();
    let (access, refresh) = (text("access"), text("refresh"));
    let profile = format!("{}/api/users/profile/", world.users());
    until("the access token has expired", || async {
        let answer = http.get(&profile).bearer_auth(&access).send().await.ok()?;
        (answer.status() == StatusCode::UNAUTHORIZED).then_some(())
    })
    .await;
    let headers = [
        ("authorization", format!("Bearer {access}")),
        ("refresh", refresh.clone()),
    ];
    let mut socket = Socket::connect(&world.gateway(), &headers)
        .await
        .expect("it is renewed");
    let first = socket.next().await.expect("a frame");
    assert_eq!(first["type"], "token");
    assert_ne!(first["refresh"], refresh.as_str());
    socket.frame("ready").await;
}

#[tokio::test]
async fn who_may_not_connect_is_told_so() {
    let world = World::start(Topology::Standalone).await;
    let alice = Person::sign_up(&world.users(), "alice").await;
    let status = |result: Result<Socket, Box<tokio_tungstenite::tungstenite::Error>>| match result {
        Err(error) => match *error {
            tokio_tungstenite::tungstenite::Error::Http(answer) => answer.status().as_u16(),
            error => panic!("not answered: {error}"),
        },
        Ok(_) => panic!("connected"),
    };
    let gateway = world.gateway();
    assert_eq!(status(Socket::connect(&gateway, &[]).await), 401);
    let garbled = [
        ("authorization", "Bearer x".to_owned()),
        ("refresh", "y".to_owned()),
    ];
    assert_eq!(status(Socket::connect(&gateway, &garbled).await), 401);
    let mut foreign = alice.headers();
    foreign.push(("origin", "https://evil.example".to_owned()));
    assert_eq!(status(Socket::connect(&gateway, &foreign).await), 403);

    // A browser cannot read a refused upgrade: it is accepted and closed.
    let offer = |token: &str| {
        [(
            "sec-websocket-protocol",
            format!("natter.v1, bearer.{token}"),
        )]
    };
    let mut refused = Socket::connect(&gateway, &offer("x"))
        .await
        .expect("it is accepted");
    assert_eq!(refused.closed().await, Some(4001));
    let mut browser = Socket::connect(&gateway, &offer(&alice.access))
        .await
        .expect("connected");
    browser.frame("ready").await;
    browser
        .send(json!({"type": "resume", "channels": {}}))
        .await;
    browser.frame("resumed").await;
}

/// More connections come at once than a gateway opens at a time, and each of those that are being
/// opened waits for a service that does not answer.
#[tokio::test]
async fn a_connection_that_waits_to_be_opened_ends_with_its_session() {
    let settings = [("NATTER_USER_CONNECTIONS", "1000")];
    let world = World::start_with(Topology::Apart, &settings).await;
    let phone = Person::sign_up(&world.users(), "alice").await;
    let laptop = phone.log_in(&world.users()).await;
    world.signal("friendships", Signal::Stop).await;
    let mut opening = Vec::new();
    for _ in 0..256 {
        let socket = Socket::connect(&world.gateway(), &laptop.headers()).await;
        opening.push(socket.expect("it is upgraded"));
    }
    let waiting = Socket::connect(&world.gateway(), &phone.headers()).await;
    let url = format!("{}/api/users/logout/", world.users());
    let (status, body) = phone.post(&url, json!({"refresh": phone.refresh})).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let closed = waiting.expect("it is upgraded").closed().await;
    assert_eq!(closed, Some(4001));
}
