//! The logs are set back under connected clients: a backup of the database is restored.

use natter_e2e::{Topology, World, jetstream};
use natter_test_support::{Friends, Person, Signal, Socket, until};
use serde_json::{Value, json};

/// Connects with the full protocol; the connection and its `ready`. As clients do, it tries again
/// while the services find their database back, and where the gateway learns at this moment that the
/// logs were set back.
pub(crate) async fn connect(person: &Person, gateway: &str) -> (Socket, Value) {
    let mut headers = person.headers();
    headers.push(("sec-websocket-protocol", "natter.v1".to_owned()));
    until("a connection", || async {
        let mut socket = Socket::connect(gateway, &headers).await.ok()?;
        let ready = match socket.next().await {
            Ok(ready) => ready,
            Err(Some(1013 | 4008)) => return None,
            Err(code) => panic!("closed with {code:?}"),
        };
        assert_eq!(ready["type"], "ready");
        assert!(ready["epoch"].is_string(), "{ready}");
        Some((socket, ready))
    })
    .await
}

pub(crate) async fn send(person: &Person, messages: &str, channel: &str, payload: &str) -> u64 {
    let url = format!("{messages}/api/messages/status/friendship/{channel}/messages/");
    let body = json!({"payload": payload, "client_id": payload});
    loop {
        let (status, item) = person.post(&url, body.clone()).await;
        match status.as_u16() {
            201 | 200 => return item["message"]["seq"].as_u64().expect("a seq"),
            503 => {}
            _ => panic!("{item}"),
        }
    }
}

#[tokio::test]
async fn a_restored_backup_begins_an_epoch_and_a_restart_does_not() {
    let mut world = World::start(Topology::Apart).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    assert_eq!(send(&alice, &world.messages(), &channel, "kept").await, 1);
    world.postgres.stop(Signal::Int).await;
    world.postgres.back_up();
    world.postgres.start_again().await;
    for (seq, payload) in [(2, "lost-1"), (3, "lost-2")] {
        assert_eq!(
            send(&alice, &world.messages(), &channel, payload).await,
            seq
        );
    }
    world.published().await;

    let (mut socket, ready) = connect(&bob, &world.gateway()).await;
    let epoch = ready["epoch"].clone();
    let (_, elsewhere) = connect(&bob, &world.gateway_2()).await;
    assert_eq!(elsewhere["epoch"], epoch, "the gateways differ");
    socket
        .send(json!({"type": "resume", "epoch": epoch, "channels": {&channel: 1}}))
        .await;
    assert_eq!(socket.frame("friendship_message").await["seq"], 2);
    assert_eq!(socket.frame("friendship_message").await["seq"], 3);
    socket.frame("resumed").await;

    // The same database again: nothing changed.
    world.postgres.stop(Signal::Kill).await;
    world.postgres.start_again().await;
    assert_eq!(send(&alice, &world.messages(), &channel, "lost-3").await, 4);
    assert_eq!(socket.frame("friendship_message").await["seq"], 4);
    let (_, again) = connect(&bob, &world.gateway()).await;
    assert_eq!(again["epoch"], epoch, "a restart is no setback");
    world.published().await;

    world.postgres.stop(Signal::Kill).await;
    world.postgres.restore();
    world.postgres.start_again().await;
    // Other content under the seqs that bob has.
    for (seq, payload) in [(2, "new-1"), (3, "new-2"), (4, "new-3"), (5, "new-4")] {
        assert_eq!(
            send(&alice, &world.messages(), &channel, payload).await,
            seq
        );
    }
    let told = socket.closed().await;
    assert_eq!(told, Some(4008), "{:#?}", socket.seen());
    let shown = socket.seen().iter();
    let shown = shown.filter(|frame| frame["type"] == "friendship_message");
    let seqs: Vec<&Value> = shown.map(|frame| &frame["seq"]).collect();
    // Entries beyond the old end may have been delivered before the setback was noticed.
    let is_once = seqs == [2, 3, 4] || seqs == [2, 3, 4, 5];
    assert!(is_once, "two truths: {seqs:?}");

    // The gateway may learn of the epoch a moment after it has seen that the log is shorter.
    let mut socket = until("the new epoch", || async {
        let (socket, ready) = connect(&bob, &world.gateway()).await;
        (ready["epoch"] != epoch).then_some(socket)
    })
    .await;
    socket
        .send(json!({"type": "resume", "epoch": epoch, "channels": {&channel: 4}}))
        .await;
    let resync = socket.frame("resync").await;
    assert_eq!(resync["channels"], json!({&channel: 5}));
    socket.frame("resumed").await;

    // Under the new epoch it is as ever.
    let (mut socket, ready) = connect(&bob, &world.gateway()).await;
    socket
        .send(json!({"type": "resume", "epoch": ready["epoch"], "channels": {&channel: 4}}))
        .await;
    assert_eq!(
        socket.frame("friendship_message").await["message"]["content"],
        "new-4"
    );
    socket.frame("resumed").await;
}

#[tokio::test]
async fn an_unknown_epoch_is_answered_by_resync_for_every_named_channel() {
    let world = World::start(Topology::Standalone).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    send(&alice, &world.messages(), &channel, "one").await;
    let (mut socket, _) = connect(&bob, &world.gateway()).await;
    socket
        .send(json!({"type": "resume", "epoch": "another", "channels": {&channel: 0}}))
        .await;
    assert_eq!(socket.next().await.expect("a frame")["type"], "resync");
    let resumed = socket.frame("resumed").await;
    assert_eq!(resumed["channels"], json!({&channel: 1}));
    // Not named: as without an epoch, from `ready` on.
    let (mut socket, _) = connect(&bob, &world.gateway()).await;
    socket
        .send(json!({"type": "resume", "epoch": "another", "channels": {}}))
        .await;
    assert_eq!(socket.next().await.expect("a frame")["type"], "resumed");
    socket
        .send(json!({"type": "resume", "epoch": 7, "channels": {}}))
        .await;
    assert_eq!(socket.frame("error").await["code"], "invalid_frame");
}

/// A gateway may confirm a message that the log has lost meanwhile, and whose `seq` it has given to
/// another.
#[tokio::test]
async fn a_mark_on_a_message_that_is_gone_is_none_on_the_one_in_its_place() {
    let world = World::start(Topology::Standalone).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    send(&alice, &world.messages(), &channel, "new").await;
    let history = alice.history(&world.messages(), &channel).await;
    let there = history[0]["id"].as_str().expect("an id");
    // With another random digit before the seq.
    let other = if &there[22..23] == "0" { "1" } else { "0" };
    let gone = format!("{}{other}{}", &there[..22], &there[23..]);
    let gateway = jetstream(&world.nats, "gateway").await.client();
    for (message, is_seen) in [(gone.as_str(), false), (there, true)] {
        let mark = json!({"user": bob.id, "message": message, "seen": true, "delivered": true});
        let subject = format!("mark.friendship.{channel}");
        let answer = gateway.request(subject, mark.to_string().into()).await;
        assert_eq!(&answer.expect("an answer").payload[..], b"\"done\"");
        let history = alice.history(&world.messages(), &channel).await;
        let shown = [&history[0]["is_received"], &history[0]["is_seen"]];
        assert_eq!(shown, [&json!(is_seen); 2], "{message}");
    }
}
