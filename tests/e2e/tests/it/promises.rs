//! Once, in one order, without a seam, and to members only: through two gateways, two messages
//! replicas, and a broker that loses.

use natter_e2e::{Log, Talker, Topology, World, tell_marks};
use natter_test_support::{Friends, Person, Signal, Socket};
use serde_json::{Value, json};

/// The fields of an `ack` that the `ack` of a repeat must have too.
fn stored(ack: &Value) -> [&Value; 3] {
    [&ack["message"], &ack["seq"], &ack["created_at"]]
}

async fn full(person: &Person, gateway: &str, channels: Value) -> Socket {
    let (mut socket, _) = person.connect_full(gateway).await;
    socket
        .send(json!({"type": "resume", "channels": channels}))
        .await;
    socket
}

#[tokio::test]
async fn a_repeat_is_the_same_message_whenever_and_wherever_it_comes() {
    let mut world = World::start(Topology::Apart).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let mut one = alice.connect(&world.gateway()).await;
    let mut two = alice.connect(&world.gateway_2()).await;
    let first = one.say(&channel, "a-1", "Hello").await;
    assert_eq!(first["duplicate"], false);
    // At once, and through the other gateway.
    for socket in [&mut one, &mut two] {
        let again = socket.say(&channel, "a-1", "Hello").await;
        assert_eq!(
            (stored(&again), &again["duplicate"]),
            (stored(&first), &json!(true))
        );
    }
    // At the same moment: one of the two is the first.
    for number in 2..=20 {
        let client_id = format!("a-{number}");
        let (left, right) = tokio::join!(
            one.say(&channel, &client_id, "both"),
            two.say(&channel, &client_id, "both"),
        );
        assert_eq!(stored(&left), stored(&right));
        assert_ne!(left["duplicate"], right["duplicate"], "{client_id}");
    }
    // Other content under the same id is no repeat.
    one.send(
        json!({"type": "friendship", "channel": channel, "payload": "Bye", "client_id": "a-1"}),
    )
    .await;
    let refused = one.answer("a-1").await;
    assert_eq!(
        (&refused["type"], &refused["code"]),
        (&json!("error"), &json!("client_id_reused"))
    );
    // Another sender's ids are others.
    let mut bobs = bob.connect(&world.gateway()).await;
    assert_eq!(bobs.say(&channel, "a-1", "Hello").await["duplicate"], false);

    // Later, when nothing of it is in anybody's memory.
    for process in ["messages", "messages-2", "gateway-2"] {
        world.restart(process, Signal::Kill).await;
    }
    let mut later = alice.connect(&world.gateway_2()).await;
    let again = later.say(&channel, "a-1", "Hello").await;
    assert_eq!(
        (stored(&again), &again["duplicate"]),
        (stored(&first), &json!(true))
    );
    let history = alice.history(&world.messages(), &channel).await;
    assert_eq!(history.len(), 21);
}

#[tokio::test]
async fn what_the_broker_loses_repeats_or_reorders_is_mended() {
    let world = World::start_lossy(Topology::Apart).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let mut from_alice = Talker::new(alice.clone(), vec![world.gateway()], &channel);
    let mut to_bob = Talker::new(bob, vec![world.gateway_2()], &channel);
    let mut laptop = Talker::new(alice.clone(), vec![world.gateway_2()], &channel);
    tokio::join!(
        from_alice.talk("a", 60),
        to_bob.follow_to(60),
        laptop.follow_to(60),
    );
    from_alice.follow_to(60).await;
    let history = alice.history(&world.messages(), &channel).await;
    Log::check(&[&from_alice.log, &to_bob.log, &laptop.log], &history);
    // Not by coming back and resuming: on the connections that they had.
    for talker in [&from_alice, &to_bob, &laptop] {
        assert_eq!(talker.log.reconnections, 0);
    }
    let fetched = world.count("gateway-2", "gaps_fetched_total").await;
    assert!(fetched > 0.0, "nothing was lost");
}

#[tokio::test]
async fn what_a_slow_subscription_drops_is_mended() {
    const MESSAGES: u64 = 50;
    let mut world = World::start(Topology::Apart).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    world.set("gateway-2", "NATTER_NATS_SUBSCRIPTION_MESSAGES", "1");
    world.restart("gateway-2", Signal::Term).await;
    let mut to_bob = bob.connect(&world.gateway_2()).await;
    let mut from_alice = alice.connect(&world.gateway()).await;
    // While it is frozen more messages come than its NATS subscription holds; when it thaws, all
    // are there at once.
    world.process("gateway-2").signal(Signal::Stop).await;
    for number in 1..=MESSAGES {
        let client_id = format!("a-{number}");
        let ack = from_alice.say(&channel, &client_id, &client_id).await;
        assert_eq!(ack["seq"], number);
    }
    world.process("gateway-2").signal(Signal::Cont).await;
    for number in 1..=MESSAGES {
        assert_eq!(to_bob.frame("friendship_message").await["seq"], number);
    }
    let dropped = world.count("gateway-2", "nats_slow_consumer_total").await;
    assert!(dropped > 0.0, "nothing was dropped");
}

#[tokio::test]
async fn resuming_has_no_seam_at_any_point() {
    let world = World::start(Topology::Apart).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let mut writer = alice.connect(&world.gateway()).await;
    // Thirty events: messages, of which each third is edited and each fifth deleted.
    let (mut events, mut number) = (0, 0);
    let change = async |writer: &mut Socket, kind: &str, message: &Value, client_id: &str| {
        let mut frame =
            json!({"type": kind, "channel": channel, "message": message, "client_id": client_id});
        if kind == "friendship_edit" {
            frame["payload"] = json!("edited");
        }
        writer.send(frame).await;
        let ack = writer.answer(client_id).await;
        assert_eq!(ack["type"], "ack", "{ack}");
        ack["seq"].as_u64().expect("a seq")
    };
    while events < 30 {
        number += 1;
        let ack = writer.say(&channel, &format!("m-{number}"), "text").await;
        events = ack["seq"].as_u64().expect("a seq");
        for (each, kind) in [(3, "friendship_edit"), (5, "friendship_delete")] {
            if number % each == 0 {
                events = change(
                    &mut writer,
                    kind,
                    &ack["message"],
                    &format!("{kind}-{number}"),
                )
                .await;
            }
        }
    }
    // From every third point on, through either gateway, while the writer goes on.
    let gateways = [world.gateway(), world.gateway_2()];
    for cut in (0..=events).step_by(3) {
        let gateway = &gateways[usize::try_from(cut).expect("small") % 2];
        let client_id = format!("during-{cut}");
        let resume = async {
            let mut socket = full(&bob, gateway, json!({&channel: cut})).await;
            socket.frame("resumed").await;
            socket
        };
        let (mut socket, ack) = tokio::join!(resume, writer.say(&channel, &client_id, "text"));
        let newest = ack["seq"].as_u64().expect("a seq");
        let had = |socket: &Socket| -> Vec<u64> {
            let of_log = |frame: &&Value| {
                frame["type"]
                    .as_str()
                    .is_some_and(|kind| kind.starts_with("friendship_message"))
            };
            let frames = socket.seen().iter().filter(of_log);
            frames.filter_map(|frame| frame["seq"].as_u64()).collect()
        };
        while had(&socket).last().copied().unwrap_or(cut) < newest {
            socket.next().await.expect("it stays open");
        }
        assert_eq!(
            had(&socket),
            (cut + 1..=newest).collect::<Vec<_>>(),
            "from {cut}"
        );
    }
}

#[tokio::test]
async fn what_cannot_be_replayed_is_said() {
    let few = [("NATTER_REPLAY_EVENTS", "5")];
    let world = World::start_with(Topology::Standalone, &few).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let carol = Person::sign_up(&world.users(), "carol").await;
    let other = natter_test_support::befriend(&world.friendships(), &bob, &carol).await;
    let mut writer = alice.connect(&world.gateway()).await;
    for number in 1..=10 {
        writer.say(&channel, &format!("m-{number}"), "text").await;
    }
    let gateway = world.gateway();
    // Too far behind, and a `seq` beyond the end of the log: both get `resync`; other channels go
    // on.
    for seq in [4, 11] {
        let mut socket = full(&bob, &gateway, json!({&channel: seq})).await;
        assert_eq!(
            socket.frame("resync").await["channels"],
            json!({&channel: 10})
        );
        assert_eq!(
            socket.frame("resumed").await["channels"],
            json!({&channel: 10, &other: 0})
        );
    }
    // As far behind as can be replayed; then a `resume` that does not name the channel.
    let mut socket = full(&bob, &gateway, json!({&channel: 5})).await;
    for seq in 6..=10 {
        assert_eq!(socket.frame("friendship_message").await["seq"], seq);
    }
    socket.frame("resumed").await;
    let mut socket = full(&bob, &gateway, json!({})).await;
    let resumed = socket.frame("resumed").await;
    assert_eq!(resumed["channels"][&channel], 10);
    writer.say(&channel, "live", "text").await;
    assert_eq!(socket.frame("friendship_message").await["seq"], 11);

    // Channels of others are refused, one's own go on.
    let mut socket = full(&alice, &gateway, json!({&other: 0, "x": 0, &channel: 11})).await;
    for _ in 0..2 {
        let refused = socket.frame("error").await;
        assert_eq!(
            (&refused["code"], &refused["answers"]),
            (&json!("not_a_member"), &json!("resume"))
        );
    }
    assert_eq!(
        socket.frame("resumed").await["channels"],
        json!({&channel: 11})
    );
    // A second `resume`, and one without `natter.v1`, are refused.
    for socket in [&mut socket, &mut writer] {
        socket.send(json!({"type": "resume", "channels": {}})).await;
        let refused = socket.frame("error").await;
        assert_eq!(
            (&refused["code"], &refused["answers"]),
            (&json!("invalid_frame"), &json!("resume"))
        );
    }
    // Whoever does not answer `ready` is not served.
    let (mut silent, _) = alice.connect_full(&gateway).await;
    assert_eq!(silent.closed().await, Some(1008));
}

#[tokio::test]
async fn changes_are_ones_own_and_replies_of_the_same_channel() {
    let world = World::start(Topology::Apart).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let mut alices = alice.connect(&world.gateway()).await;
    let mut bobs = bob.connect(&world.gateway_2()).await;
    let first = alices.say(&channel, "a-1", "Helo").await;
    let edit = json!({
        "type": "friendship_edit", "channel": channel, "message": first["message"],
        "payload": "Hello", "client_id": "a-2",
    });
    for duplicate in [false, true] {
        alices.send(edit.clone()).await;
        let ack = alices.answer("a-2").await;
        assert_eq!(
            (&ack["seq"], &ack["duplicate"]),
            (&json!(2), &json!(duplicate))
        );
    }
    let edited = bobs.frame("friendship_message_edited").await;
    let message = &edited["message"];
    assert_eq!(
        (&edited["seq"], &message["id"], &message["content"]),
        (&json!(2), &first["message"], &json!("Hello"))
    );
    assert!(message["edited_at"].is_string());

    let nothing = "01a20000-0000-8000-8000-000000000009";
    for (kind, message, code) in [
        ("friendship_edit", &first["message"], "not_yours"),
        ("friendship_delete", &first["message"], "not_yours"),
        ("friendship_delete", &json!(nothing), "message_not_found"),
    ] {
        let frame = json!({"type": kind, "channel": channel, "message": message, "payload": "x", "client_id": "b-1"});
        bobs.send(frame).await;
        let refused = bobs.answer("b-1").await;
        assert_eq!(
            (&refused["code"], &refused["answers"]),
            (&json!(code), &json!(kind))
        );
    }
    let reply = |to: &Value, client_id: &str| {
        json!({
            "type": "friendship", "channel": channel, "payload": "Hi", "reply_to": to, "client_id": client_id,
        })
    };
    bobs.send(reply(&first["message"], "b-2")).await;
    assert_eq!(bobs.answer("b-2").await["type"], "ack");
    let replied = alices
        .find(|frame| frame["message"]["client_id"] == "b-2")
        .await;
    assert_eq!(replied["message"]["reply_to"], first["message"]);
    bobs.send(reply(&json!(nothing), "b-3")).await;
    assert_eq!(bobs.answer("b-3").await["code"], "message_not_found");

    let delete = json!({"type": "friendship_delete", "channel": channel, "message": first["message"], "client_id": "a-3"});
    alices.send(delete).await;
    assert_eq!(alices.answer("a-3").await["seq"], 4);
    let deleted = bobs.frame("friendship_message_deleted").await;
    let message = &deleted["message"];
    assert_eq!(
        (&message["deleted"], &message["content"], &message["media"]),
        (&json!(true), &json!(""), &json!([]))
    );
}

#[tokio::test]
async fn nothing_of_a_channel_reaches_anybody_outside_it() {
    let world = World::start(Topology::Apart).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let eve = Person::sign_up(&world.users(), "eve").await;
    let mut eves = eve.connect(&world.gateway()).await;
    let mut alices = alice.connect(&world.gateway()).await;
    let mut bobs = bob.connect(&world.gateway_2()).await;
    let first = alices.say(&channel, "a-1", "secret").await;
    bobs.frame("friendship_message").await;
    for frame in [
        json!({"type": "friendship", "channel": channel, "payload": "x", "client_id": "e-1"}),
        json!({"type": "friendship_notification_seen", "channel": channel, "message": first["message"]}),
        json!({"type": "friendship_notification_received", "channel": channel, "message": first["message"]}),
        json!({"type": "friendship_edit", "channel": channel, "message": first["message"], "payload": "x"}),
        json!({"type": "friendship_delete", "channel": channel, "message": first["message"]}),
        json!({"type": "typing", "channel": channel, "active": true}),
    ] {
        eves.send(frame.clone()).await;
        let refused = eves.frame("error").await;
        assert_eq!(
            (&refused["code"], &refused["answers"]),
            (&json!("not_a_member"), &frame["type"])
        );
    }
    // From the rejection on the other side gets nothing more of the channel either: here, no mark
    // on its last message.
    bobs.say(&channel, "b-1", "last").await;
    alices
        .find(|frame| frame["message"]["client_id"] == "b-1")
        .await;
    bobs.find(|frame| {
        frame["type"] == "chat_friendship_notification" && frame["received_seq"] == 2
    })
    .await;
    let reject = json!({"friendship_id": channel, "status": "rejected"});
    let friendships = format!("{}/api/users/friendship/", world.friendships());
    assert_eq!(alice.patch(&friendships, reject).await.0, 200);
    bobs.frame("friendship_update").await;
    let before = bobs.seen().len();
    let seen = json!({"type": "friendship_notification_seen", "channel": channel, "message": first["message"]});
    let mut elsewhere = alice.connect(&world.gateway()).await;
    for socket in [&mut alices, &mut elsewhere] {
        socket.send(seen.clone()).await;
        socket.send(json!({"type": "ping"})).await;
        socket.frame("pong").await;
    }
    let history = alice.history(&world.messages(), &channel).await;
    assert_eq!(history.len(), 2);
    bobs.send(json!({"type": "ping"})).await;
    bobs.frame("pong").await;
    let after: Vec<&Value> = bobs.seen()[before..]
        .iter()
        .map(|frame| &frame["type"])
        .collect();
    assert_eq!(after, ["pong"]);
    for socket in [&mut bobs, &mut alices] {
        let refused = socket.say_until_decided(&channel, "x", "x").await;
        assert_eq!(refused["code"], "channel_closed");
    }
    eves.send(json!({"type": "ping"})).await;
    eves.frame("pong").await;
    let kinds: Vec<&Value> = eves.seen().iter().map(|frame| &frame["type"]).collect();
    assert!(
        kinds
            .iter()
            .all(|kind| ["ready", "error", "pong"].map(Value::from).contains(kind)),
        "{kinds:?}"
    );
}

#[tokio::test]
async fn marks_move_forward_and_are_told_to_both_sides() {
    let world = World::start(Topology::Apart).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let mut alices = alice.connect(&world.gateway()).await;
    let mut phone = full(&bob, &world.gateway_2(), json!({})).await;
    let mut laptop = full(&bob, &world.gateway(), json!({})).await;
    for socket in [&mut phone, &mut laptop] {
        socket.frame("resumed").await;
    }
    let mut messages = Vec::new();
    for number in 1..=3 {
        let ack = alices.say(&channel, &format!("a-{number}"), "text").await;
        messages.push(ack["message"].clone());
        phone.frame("friendship_message").await;
    }
    let mark =
        |kind: &str, message: &Value| json!({"type": kind, "channel": channel, "message": message});
    let (received, seen) = (
        "friendship_notification_received",
        "friendship_notification_seen",
    );
    // For a client that confirms, written is not received; a mark on an older message moves nothing.
    for (kind, place, expected) in [
        (received, 1, Some((2, 0))),
        (received, 0, None),
        (seen, 0, Some((2, 1))),
        (received, 2, Some((3, 1))),
        (seen, 2, Some((3, 3))),
    ] {
        phone.send(mark(kind, &messages[place])).await;
        let Some((received_seq, seen_seq)) = expected else {
            continue;
        };
        for socket in [&mut alices, &mut laptop] {
            let told = socket.frame("chat_friendship_notification").await;
            assert_eq!(
                (
                    &told["user"],
                    &told["received_seq"],
                    &told["seen_seq"],
                    &told["is_received"]
                ),
                (
                    &json!(bob.id),
                    &json!(received_seq),
                    &json!(seen_seq),
                    &json!(true)
                ),
            );
        }
    }
    let history = alice.history(&world.messages(), &channel).await;
    assert!(
        history
            .iter()
            .all(|item| item["is_received"] == true && item["is_seen"] == true)
    );
}

#[tokio::test]
async fn resumed_says_how_far_both_sides_are_and_nothing_older_follows() {
    let world = World::start(Topology::Apart).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let mut alices = alice.connect(&world.gateway()).await;
    let mut ids = Vec::new();
    for number in 1..=5 {
        let ack = alices.say(&channel, &format!("a-{number}"), "text").await;
        ids.push(ack["message"].clone());
    }
    // Nobody has marked anything yet.
    let mut bobs = full(&bob, &world.gateway_2(), json!({&channel: 5})).await;
    let none = json!({
        "received_seq": 0, "seen_seq": 0, "friend_received_seq": 0, "friend_seen_seq": 0,
    });
    let resumed = bobs.frame("resumed").await;
    assert_eq!(resumed["marks"], json!({&channel: none}));

    for (kind, seq) in [("received", 4), ("seen", 2)] {
        let kind = format!("friendship_notification_{kind}");
        bobs.send(json!({"type": kind, "channel": channel, "message": ids[seq - 1]}))
            .await;
    }
    alices
        .find(|frame| frame["received_seq"] == 4 && frame["seen_seq"] == 2)
        .await;
    let both_sides = [
        (
            &bob,
            json!({"received_seq": 4, "seen_seq": 2, "friend_received_seq": 0, "friend_seen_seq": 0}),
        ),
        (
            &alice,
            json!({"received_seq": 0, "seen_seq": 0, "friend_received_seq": 4, "friend_seen_seq": 2}),
        ),
    ];
    // Each at a gateway that has told nothing of the channel yet.
    drop((alices, bobs));
    let gateways = [world.gateway(), world.gateway_2()];
    for ((person, marks), gateway) in both_sides.into_iter().zip(gateways) {
        let mut socket = full(person, &gateway, json!({})).await;
        let resumed = socket.frame("resumed").await;
        assert_eq!(resumed["marks"], json!({&channel: marks}));
        // What a slower replica tells late is known already.
        let marks = [(3, 1, &ids[2]), (5, 3, &ids[4])];
        tell_marks(&world.nats, &channel, &bob.id, &marks).await;
        let told = socket.frame("chat_friendship_notification").await;
        assert_eq!(
            (&told["received_seq"], &told["seen_seq"]),
            (&json!(5), &json!(3))
        );
    }
}
