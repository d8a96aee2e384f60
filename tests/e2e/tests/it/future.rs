//! A later version's events and entries: passed over by this one, counted, and never a dead letter.

use natter_e2e::{Topology, World, jetstream};
use natter_test_support::{Friends, PATIENCE, Socket, until};
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

/// The seqs of the messages that a socket was shown, up to the one with this text.
async fn seqs_up_to(socket: &mut Socket, text: &str) -> Vec<Value> {
    socket
        .find(|frame| frame["message"]["content"] == text)
        .await;
    let seen = socket.seen().iter();
    let shown = seen.filter(|frame| frame["type"] == "friendship_message");
    shown.map(|frame| frame["seq"].clone()).collect()
}

#[tokio::test]
async fn an_event_of_a_later_version_is_passed_over() {
    let settings = [("NATTER_EVENT_RETRY_MS", "1")];
    let world = World::start_with(Topology::Standalone, &settings).await;
    let Friends { alice, channel, .. } = world.friends().await;
    let broker = jetstream(&world.nats, "friendships").await;
    let publish = async |subject: String, event: Value| {
        let sent = broker.publish(subject, event.to_string().into()).await;
        sent.expect("it is sent").await.expect("the stream has it");
    };
    let event = |name: &str, version: u64, rest: Value| {
        let mut event = json!({
            "id": Uuid::now_v7(), "time": "2026-11-27T12:00:00.000000Z", "version": version,
            "type": name,
        });
        let fields = rest.as_object().expect("an object").clone();
        event.as_object_mut().expect("an object").extend(fields);
        event
    };
    // A type, and a shape of a known type, that only a later version has.
    let subject = |name: &str| format!("events.friendships.{channel}.{name}");
    publish(
        subject("renamed"),
        event("renamed", 1, json!({"name": "us"})),
    )
    .await;
    publish(
        subject("closed"),
        event("closed", 2, json!({"channel": channel})),
    )
    .await;
    // A field that only a later version has, and what this one needs.
    let (_, friendships) = alice
        .get(&format!("{}/api/users/friendship/", world.friendships()))
        .await;
    let mut friendship = friendships[0].clone();
    let revision = friendship["revision"].as_i64().expect("a number") + 1;
    friendship["is_open"] = json!(false);
    let state = json!({"friendship": friendship, "revision": revision, "reason": "asked"});
    publish(subject("closed"), event("closed", 2, state)).await;

    let mut socket = alice.connect(&world.gateway()).await;
    let give_up = Instant::now() + PATIENCE;
    let mut number = 0;
    loop {
        number += 1;
        let client_id = format!("c-{number}");
        let answer = socket.say_until_decided(&channel, &client_id, "Hi").await;
        if answer["code"] == "channel_closed" {
            break;
        }
        assert_eq!(answer["type"], "ack", "{answer}");
        assert!(Instant::now() < give_up, "the last event is not processed");
    }
    let listed = world.admin(&["dead-letters"], &[]).await;
    assert_eq!(String::from_utf8_lossy(&listed.stdout), "", "dead letters");
    assert_eq!(world.count("standalone", "unknown_events_total").await, 2.0);
}

#[tokio::test]
async fn an_ephemeral_event_of_a_later_version_is_passed_over() {
    let world = World::start(Topology::Standalone).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let mut alices = alice.connect(&world.gateway()).await;
    let mut bobs = bob.connect(&world.gateway()).await;
    let event = json!({
        "id": Uuid::now_v7(), "time": "2026-11-27T12:00:00.000000Z", "version": 1,
        "type": "dancing", "channel": channel, "user": alice.id, "active": true,
    });
    // On a subject that this version's NATS permissions allow: the payload's `type` says what it
    // is.
    let later = jetstream(&world.nats, "gateway").await.client();
    later
        .publish(
            format!("chat.friendship.{channel}.typing"),
            event.to_string().into(),
        )
        .await
        .expect("it is connected");
    until("the event is counted", || async {
        let passed_over = world.count("standalone", "unknown_events_total").await;
        (passed_over == 1.0).then_some(())
    })
    .await;
    alices
        .send(json!({"type": "typing", "channel": channel, "active": true}))
        .await;
    bobs.frame("typing").await;
    assert!(bobs.seen().iter().all(|frame| frame["type"] != "dancing"));
}

#[tokio::test]
async fn an_entry_of_a_later_kind_keeps_its_place_and_is_not_shown() {
    let world = World::start(Topology::Standalone).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let mut alices = alice.connect(&world.gateway()).await;
    let mut bobs = bob.connect(&world.gateway()).await;
    alices.say(&channel, "c-1", "one").await;
    bobs.find(|frame| frame["message"]["content"] == "one")
        .await;

    // As a messages service of a later version stores and tells it.
    let mut admin = world.postgres.admin("natter").await;
    let id = "0199f6b8-0000-8000-8000-000000000002";
    let store = format!(
        "INSERT INTO messages.log (friendship_id, seq, id, kind, position, from_position, at,
                                   sender, digest, content, target_seq)
         SELECT friendship_id, 2, '{id}', 7, position, from_position, at, sender, 0, 'secret', 1
         FROM messages.log WHERE friendship_id = '{channel}' AND seq = 1;
         UPDATE messages.channels SET last_seq = 2 WHERE friendship_id = '{channel}'"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(store))
        .execute(&mut admin)
        .await
        .expect("it is stored");
    let time = "2026-11-27T12:00:00.000000Z";
    let event = json!({
        "id": id, "type": "log", "time": time, "version": 2, "channel": channel, "seq": 2,
        "kind": "pinned", "members": [alice.id, bob.id],
        "message": {
            "id": id, "friendship": channel, "sender": alice.id, "content": "secret", "media": [],
            "created_at": time, "client_id": null, "reply_to": null, "edited_at": null,
            "deleted": false,
        },
    });
    let broker = jetstream(&world.nats, "messages").await;
    let told = broker
        .publish(
            format!("chat.friendship.{channel}.log"),
            event.to_string().into(),
        )
        .await;
    told.expect("it is sent").await.expect("the stream has it");

    // Live, on resume, in the events and in the history: the entry is left out, what follows it comes.
    assert_eq!(alices.say(&channel, "c-3", "three").await["seq"], 3);
    assert_eq!(seqs_up_to(&mut bobs, "three").await, [1, 3]);
    let (mut back, _) = bob.connect_full(&world.gateway()).await;
    back.send(json!({"type": "resume", "channels": {&channel: 0}}))
        .await;
    assert_eq!(seqs_up_to(&mut back, "three").await, [1, 3]);
    back.frame("resumed").await;
    let status = format!(
        "{}/api/messages/status/friendship/{channel}",
        world.messages()
    );
    let (code, events) = bob.get(&format!("{status}/events/")).await;
    assert_eq!((code.as_u16(), &events["newest"]), (200, &json!(3)));
    let results = events["results"].as_array().expect("events").iter();
    let seqs: Vec<&Value> = results.map(|event| &event["seq"]).collect();
    assert_eq!(seqs, [1, 3]);
    let history = bob.history(&world.messages(), &channel).await;
    let contents: Vec<&Value> = history
        .iter()
        .map(|item| &item["message"]["content"])
        .collect();
    assert_eq!(contents, ["one", "three"]);
    assert!(world.count("standalone", "unknown_events_total").await > 0.0);
}
