//! What `natter-admin trace` tells of a message.

use natter_e2e::{Topology, World};
use natter_test_support::{Friends, until};
use serde_json::json;

use crate::setback::connect;

/// Fewer than a connection's queue holds before the connection is closed.
const MESSAGES: usize = 150;

/// The output of `natter-admin trace`, once it has the awaited text.
async fn told(world: &World, message: &str, awaited: &str) -> String {
    until("the trace says it", || async {
        let output = world.admin(&["trace", message], &[]).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{output:?}");
        said.contains(awaited).then_some(said)
    })
    .await
}

#[tokio::test]
async fn a_message_is_followed_from_its_sender_to_its_receiver() {
    let world = World::start(Topology::Apart).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let mut from_alice = alice.connect(&world.gateway()).await;
    let ack = from_alice.say(&channel, "a-1", "between us").await;
    let message = ack["message"].as_str().expect("an id");
    world.published().await;

    let said = told(&world, message, "not received").await;
    assert!(!said.contains("between us"), "{said}");
    for step in [
        "taken by",
        "committed, ",
        "published: one of the events 1 to 1",
    ] {
        let line = said.lines().find(|line| line.contains(step));
        let line = line.unwrap_or_else(|| panic!("{step}: {said}"));
        assert!(line.starts_with("20"), "without a time: {line}");
    }
    let head = format!(
        "seq 1 of channel {channel}, from {} to {}",
        alice.id, bob.id
    );
    assert!(said.contains(&head), "{said}");
    assert!(said.contains("2 gateways answered"), "{said}");
    assert!(said.contains("the receiver has none"), "{said}");

    let (mut to_bob, _) = connect(&bob, &world.gateway_2()).await;
    told(&world, message, "waits for the client's resume").await;
    to_bob
        .send(json!({"type": "resume", "channels": {&channel: 0}}))
        .await;
    to_bob.frame("resumed").await;
    let said = told(&world, message, "the receiver's since").await;
    assert!(said.contains(": written"), "{said}");
    assert!(said.contains("not received"), "{said}");
    let received = json!({
        "type": "friendship_notification_received", "channel": channel, "message": message,
    });
    to_bob.send(received).await;
    told(&world, message, "received, at this time or before").await;
    from_alice.say(&channel, "a-2", "another").await;
    let second = to_bob.frame("friendship_message").await;
    let seen = json!({
        "type": "friendship_notification_seen", "channel": channel, "message": second["message"]["id"],
    });
    to_bob.send(seen).await;
    let said = told(
        &world,
        message,
        "seen: the receiver's mark has moved on to seq 2",
    )
    .await;
    assert!(said.contains("the sender's since"), "{said}");
}

#[tokio::test]
async fn a_message_that_waits_for_its_receiver_is_told_as_that() {
    let world = World::start(Topology::Standalone).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    // It reads nothing: what is written to it waits in the sockets first, and then in its queue.
    let _stalled = bob.connect(&world.gateway()).await;
    let mut from_alice = alice.connect(&world.gateway()).await;
    let long = "x".repeat(8_000);
    let mut sent = 0;
    loop {
        let mut newest = String::new();
        for _ in 0..MESSAGES {
            sent += 1;
            let ack = from_alice.say(&channel, &format!("a-{sent}"), &long).await;
            newest = ack["message"].as_str().expect("an id").to_owned();
        }
        let said = told(&world, &newest, "the receiver's since").await;
        if said.contains(": waits, since the client does not take") {
            return;
        }
        assert!(sent < 20_000, "it never waits: {said}");
    }
}

#[tokio::test]
async fn a_message_that_nobody_has_is_no_message() {
    let world = World::start(Topology::Standalone).await;
    let unknown = "01a22402-88e9-847c-a2a9-940000000001";
    let output = world.admin(&["trace", unknown], &[]).await;
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("never acknowledged"), "{said}");
}
