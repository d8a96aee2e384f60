//! What an operator sees: a line for each request, and a line and a count for each close.

use natter_e2e::{Topology, World};
use natter_test_support::{Friends, Process, until};
use reqwest::Client;
use serde_json::Value;

/// The log line with this message that `is_it`.
async fn line(process: &mut Process, message: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    let find = |text: &str| {
        let line: Value = serde_json::from_str(text).ok()?;
        (line["fields"]["message"] == message && is_it(&line)).then_some(line)
    };
    process.line(message, find).await
}

#[tokio::test]
async fn each_request_has_a_line_and_each_close_a_line_and_a_count() {
    let mut world = World::start(Topology::Standalone).await;
    let Friends { alice, .. } = world.friends().await;
    let profile = format!("{}/api/users/profile/?secret=1", world.users());
    for (id, token, status) in [
        ("seen-1", alice.access.as_str(), 200),
        ("seen-2", "no", 401),
    ] {
        let asked = Client::new()
            .get(&profile)
            .bearer_auth(token)
            .header("X-Request-Id", id)
            .send()
            .await;
        assert_eq!(asked.expect("an answer").status(), status);
    }
    let (gateway, logout) = (
        world.gateway(),
        format!("{}/api/users/logout/", world.users()),
    );
    let mut socket = alice.connect(&gateway).await;
    let refresh = serde_json::json!({"refresh": alice.refresh});
    assert_eq!(alice.post(&logout, refresh).await.0, 200);
    assert_eq!(socket.closed().await, Some(4001));

    let process = world.process("standalone");
    let expected = [("seen-1", 200, Some(&alice.id)), ("seen-2", 401, None)];
    for (id, status, user) in expected {
        let line = line(process, "answered", |line| line["span"]["request_id"] == id).await;
        assert_eq!(line["level"], "INFO");
        let span = &line["span"];
        assert_eq!(span["http.request.method"], "GET");
        assert_eq!(span["http.route"], "/api/users/profile/");
        assert_eq!(span["http.response.status_code"], status);
        assert_eq!(span["user.id"].as_str(), user.map(String::as_str));
        assert!(line["fields"]["duration_ms"].is_f64(), "{line}");
        assert!(!line.to_string().contains("secret"), "{line}");
    }
    let upgrade = line(process, "answered", |line| {
        line["span"]["http.response.status_code"] == 101
    })
    .await;
    assert_eq!(upgrade["span"]["user.id"], alice.id.as_str());
    let closed = line(process, "connection closed", |line| {
        line["fields"]["code"] == 4001
    })
    .await;
    assert_eq!(closed["fields"]["cause"], "session_ended");
    assert_eq!(closed["fields"]["user"], alice.id.as_str());
    let metrics = world.metrics("standalone").await.expect("metrics");
    let count = "websocket_closes_total{code=\"4001\",cause=\"session_ended\"} 1";
    assert!(metrics.contains(count), "{metrics}");
}

#[tokio::test]
async fn a_request_whose_client_left_has_a_line_too() {
    let mut world = World::start(Topology::Standalone).await;
    let Friends { alice, .. } = world.friends().await;
    let _locked = world.lock("users.accounts", "ACCESS EXCLUSIVE").await;
    let profile = format!("{}/api/users/profile/", world.users());
    let request = Client::new().get(&profile).bearer_auth(&alice.access);
    let request = request.header("X-Request-Id", "left");
    let asking = tokio::spawn(request.send());
    world.waits_for_lock("users").await;
    asking.abort();
    let process = world.process("standalone");
    let left = "the client left before its answer";
    let line = line(process, left, |line| line["span"]["request_id"] == "left").await;
    assert_eq!(line["span"]["http.response.status_code"], 499);
    assert_eq!(line["span"]["http.route"], "/api/users/profile/");
    let metrics = world.metrics("standalone").await.expect("metrics");
    assert!(metrics.contains("status=\"499\""), "{metrics}");
}

/// The metrics of a message's delivery, and of the database's connections.
#[tokio::test]
async fn deliveries_and_connections_are_counted() {
    let world = World::start(Topology::Standalone).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let mut alice_socket = alice.connect(&world.gateway()).await;
    let mut bob_socket = bob.connect(&world.gateway()).await;
    let ack = alice_socket.say(&channel, "first", "Hi").await;
    assert_eq!(ack["type"], "ack");
    bob_socket.frame("friendship_message").await;
    until("what was delivered is counted", || async {
        let metrics = world.metrics("standalone").await.ok()?;
        let names = [
            "gateway_deliveries_total ",
            "send_to_friend_seconds_count ",
            "database_connections{schema=\"messages\",state=\"idle\"}",
            "database_connections{schema=\"users\",state=\"used\"}",
        ];
        let has = |name: &&str| metrics.contains(*name);
        names.iter().all(has).then_some(())
    })
    .await;
}
