//! What cannot be processed is put aside with its reason, holds nothing up, and can be replayed.

use async_nats::HeaderMap;
use natter_e2e::{Topology, World, jetstream};
use natter_test_support::{Friends, PATIENCE, Person, Signal, until};
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

async fn letters(world: &World) -> Vec<Value> {
    let listed = world.admin(&["dead-letters"], &[]).await;
    assert!(listed.status.success(), "{listed:?}");
    let lines = String::from_utf8(listed.stdout).expect("text");
    let lines = lines.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// Waits until messages of a channel are refused.
async fn is_closed(world: &World, person: &Person, channel: &str) {
    let mut socket = person.connect(&world.gateway()).await;
    let give_up = Instant::now() + PATIENCE;
    loop {
        let answer = socket.say(channel, &Uuid::new_v4().to_string(), "Hi").await;
        if answer["code"] == "channel_closed" {
            return;
        }
        assert!(Instant::now() < give_up, "{answer}");
    }
}

#[tokio::test]
async fn a_poisoned_event_is_put_aside_and_can_be_replayed() {
    let settings = [("NATTER_EVENT_RETRY_MS", "1")];
    let mut world = World::start_with(Topology::Apart, &settings).await;
    world.process("messages-2").end(Signal::Term).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let poison = format!("events.friendships.{}.opened", Uuid::new_v4());
    let operator = jetstream(&world.nats, "admin").await;
    let sent = operator.publish(poison.clone(), "not JSON".into()).await;
    sent.expect("it is sent").await.expect("the stream has it");

    // What follows is not held up.
    let url = format!("{}/api/users/friendship/", world.friendships());
    let reject = json!({"friendship_id": channel, "status": "rejected"});
    let (status, _) = bob.patch(&url, reject).await;
    assert_eq!(status, 200);
    let listed = until("it is put aside", || async {
        let letters = letters(&world).await;
        (!letters.is_empty()).then_some(letters)
    })
    .await;
    is_closed(&world, &alice, &channel).await;
    let [letter] = listed.as_slice() else {
        panic!("{listed:?}");
    };
    assert_eq!(letter["number"], 1);
    assert_eq!(letter["subject"], poison);
    assert_eq!(letter["consumer"], "messages");
    let reason = letter["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("the payload cannot be read"), "{reason}");
    assert_eq!(letter["payload"], Value::Null);
    let metrics = world.metrics("messages").await.expect("metrics");
    assert!(
        metrics.contains("dead_letters_total{stream=\"FRIENDSHIPS\"} 1"),
        "{metrics}"
    );

    // Nobody mended it: it comes back under another number.
    let replayed = world.admin(&["replay", "1"], &[]).await;
    assert_eq!(String::from_utf8_lossy(&replayed.stdout), "replayed 1\n");
    until("it is put aside again", || async {
        let letters = letters(&world).await;
        let numbers: Vec<&Value> = letters.iter().map(|letter| &letter["number"]).collect();
        (numbers == [&json!(2)]).then_some(())
    })
    .await;
    let unknown = world.admin(&["replay", "2", "7"], &[]).await;
    assert_eq!(
        String::from_utf8_lossy(&unknown.stderr),
        "natter-admin: there is no dead letter 7\n"
    );
    assert_eq!(letters(&world).await.len(), 1);
}

#[tokio::test]
async fn a_replayed_event_is_processed() {
    let world = World::start(Topology::Apart).await;
    let Friends { alice, channel, .. } = world.friends().await;
    let subscriber = jetstream(&world.nats, "subscriber").await;
    let feed = subscriber.get_stream("FRIENDSHIPS").await;
    let feed = feed.expect("the stream");
    let subject = format!("events.friendships.{channel}.opened");
    let opened = feed.get_last_raw_message_by_subject(&subject).await;
    let opened = opened.expect("the event");
    let mut event: Value = serde_json::from_slice(&opened.payload).expect("JSON");
    // As if the service had given up the event that the channel was closed.
    event["type"] = json!("closed");
    event["revision"] = json!(event["revision"].as_i64().expect("a number") + 1);
    event["friendship"]["is_open"] = json!(false);
    let mut headers = HeaderMap::new();
    headers.insert(
        "Natter-Subject",
        format!("events.friendships.{channel}.closed"),
    );
    headers.insert("Natter-Consumer", "messages");
    headers.insert("Natter-Reason", "of this test");
    let messages = jetstream(&world.nats, "messages").await;
    let letter =
        messages.publish_with_headers("dlq.FRIENDSHIPS", headers, event.to_string().into());
    letter
        .await
        .expect("it is sent")
        .await
        .expect("the stream has it");
    let replayed = world.admin(&["replay", "--all"], &[]).await;
    assert_eq!(String::from_utf8_lossy(&replayed.stdout), "replayed 1\n");
    is_closed(&world, &alice, &channel).await;
    assert!(letters(&world).await.is_empty());

    // A service that may put letters of one stream into the DLQ cannot forge events of another
    // stream with them.
    let mut headers = HeaderMap::new();
    let forged = format!("events.users.{}.deleted", alice.id);
    headers.insert("Natter-Subject", forged.as_str());
    let letter = messages.publish_with_headers("dlq.FRIENDSHIPS", headers, "{}".into());
    letter
        .await
        .expect("it is sent")
        .await
        .expect("the stream has it");
    let refused = world.admin(&["replay", "--all"], &[]).await;
    assert_eq!(
        String::from_utf8_lossy(&refused.stderr),
        format!(
            "natter-admin: dead letter 2 is of the stream FRIENDSHIPS, which does not take {forged:?}\n"
        )
    );
}
