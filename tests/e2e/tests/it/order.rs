//! One order, without a hole, for everyone.

use natter_e2e::{Log, Talker, Topology, World};
use natter_test_support::{Friends, Socket};
use serde_json::{Value, json};

const MESSAGES: usize = 100;

/// Sends without waiting for answers; the contents in the order in which they were sent.
async fn burst(socket: &mut Socket, channel: &str, name: &str) {
    for number in 1..=MESSAGES {
        let text = format!("{name}-{number}");
        socket
            .send(json!({
                "type": "friendship", "channel": channel, "payload": text, "client_id": text,
            }))
            .await;
    }
}

async fn collect(socket: &mut Socket) -> Vec<Value> {
    let is_message = |frame: &Value| frame["type"] == "friendship_message";
    while socket
        .seen()
        .iter()
        .filter(|frame| is_message(frame))
        .count()
        < 2 * MESSAGES
    {
        socket.next().await.expect("the connection stays open");
    }
    socket
        .seen()
        .iter()
        .filter(|frame| is_message(frame))
        .cloned()
        .collect()
}

#[tokio::test]
async fn two_gateways_and_two_replicas_give_one_order() {
    let world = World::start(Topology::Apart).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let mut alice_socket = alice.connect(&world.gateway()).await;
    let mut bob_socket = bob.connect(&world.gateway_2()).await;
    tokio::join!(
        burst(&mut alice_socket, &channel, "alice"),
        burst(&mut bob_socket, &channel, "bob"),
    );
    let (at_alice, at_bob) = tokio::join!(collect(&mut alice_socket), collect(&mut bob_socket));
    assert_eq!(at_alice, at_bob);
    let seqs: Vec<u64> = at_alice
        .iter()
        .filter_map(|frame| frame["seq"].as_u64())
        .collect();
    assert_eq!(seqs, (1..=2 * MESSAGES as u64).collect::<Vec<_>>());
    let history = bob.history(&world.messages(), &channel).await;
    let contents = |items: &[Value]| -> Vec<String> {
        let text = |item: &Value| item["message"]["content"].as_str().map(str::to_owned);
        items.iter().filter_map(text).collect()
    };
    assert_eq!(contents(&history), contents(&at_alice));
    // Each sender's own messages are in the order in which they were sent.
    for name in ["alice", "bob"] {
        let own: Vec<String> = contents(&history)
            .into_iter()
            .filter(|text| text.starts_with(name))
            .collect();
        let sent: Vec<String> = (1..=MESSAGES)
            .map(|number| format!("{name}-{number}"))
            .collect();
        assert_eq!(own, sent);
    }
}

#[tokio::test]
async fn a_client_that_returns_gets_what_it_missed_once_and_in_order() {
    let world = World::start(Topology::Apart).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let gateways = vec![world.gateway(), world.gateway_2()];
    let mut alice_talks = Talker::new(alice.clone(), gateways.clone(), &channel);
    let mut bob_talks = Talker::new(bob, gateways, &channel);
    alice_talks.talk("before", 10).await;
    // Bob was never connected; then he is away again while Alice goes on.
    bob_talks.follow_to(10).await;
    alice_talks.talk("between", 10).await;
    tokio::join!(alice_talks.talk("after", 10), bob_talks.follow_to(30));
    alice_talks.follow_to(30).await;
    let history = alice.history(&world.messages(), &channel).await;
    Log::check(&[&alice_talks.log, &bob_talks.log], &history);
}
