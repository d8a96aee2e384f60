//! The history of a channel over HTTP.

use natter_e2e::{Topology, World};
use natter_test_support::{Friends, Person, Socket};
use serde_json::{Value, json};

/// Twelve messages of Alice's, of which the third was edited and the fourth deleted.
async fn conversation(world: &World) -> (Person, Person, String, Vec<Value>) {
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let mut socket = alice.connect(&world.gateway()).await;
    let mut acks = Vec::new();
    for number in 1..=4 {
        acks.push(say(&mut socket, &channel, number).await);
    }
    for (kind, message, payload) in [
        ("friendship_edit", 2, "edited"),
        ("friendship_delete", 3, ""),
    ] {
        socket
            .send(json!({
                "type": kind, "channel": channel, "message": acks[message]["message"],
                "payload": payload, "client_id": kind,
            }))
            .await;
        assert_eq!(socket.answer(kind).await["type"], "ack");
    }
    for number in 5..=12 {
        acks.push(say(&mut socket, &channel, number).await);
    }
    (alice, bob, channel, acks)
}

async fn say(socket: &mut Socket, channel: &str, number: u32) -> Value {
    let text = format!("message {number}");
    let ack = socket.say(channel, &text, &text).await;
    assert_eq!(ack["type"], "ack", "{ack}");
    ack
}

fn contents(page: &Value) -> Vec<&str> {
    let items = page["results"].as_array().expect("results");
    items
        .iter()
        .filter_map(|item| item["message"]["content"].as_str())
        .collect()
}

#[tokio::test]
async fn pages_bounds_and_orders() {
    let world = World::start(Topology::Standalone).await;
    let (alice, _, channel, acks) = conversation(&world).await;
    let base = format!(
        "{}/api/messages/status/friendship/{channel}/messages/",
        world.messages()
    );
    let ask = async |query: &str| {
        let (status, page) = alice.get(&format!("{base}?{query}")).await;
        assert_eq!(status.as_u16(), 200, "{query}: {page}");
        page
    };
    let all = ask("page_size=100").await;
    assert_eq!(all["count"], 12);
    assert_eq!(
        contents(&all)[..5],
        ["message 1", "message 2", "edited", "", "message 5"]
    );
    let seqs: Vec<u64> = (0..12)
        .filter_map(|i| all["results"][i]["message"]["seq"].as_u64())
        .collect();
    assert_eq!(seqs, [1, 2, 3, 4, 7, 8, 9, 10, 11, 12, 13, 14]);
    assert!(all["results"][2]["message"]["edited_at"].is_string());
    assert_eq!(all["results"][3]["message"]["deleted"], true);

    assert_eq!(contents(&ask("page_size=5&page=2").await)[0], "message 6");
    assert_eq!(
        contents(&ask("page_size=5&page=3").await),
        ["message 11", "message 12"]
    );
    assert_eq!(
        contents(&ask("before=true&page_size=2").await),
        ["message 12", "message 11"]
    );
    assert_eq!(
        contents(&ask("before=1&page_size=5&page=3").await),
        ["message 2", "message 1"]
    );

    let id = |number: usize| acks[number - 1]["message"].as_str().expect("an id");
    let after = ask(&format!("after=true&message_id={}", id(11))).await;
    assert_eq!(
        (contents(&after), &after["count"]),
        (vec!["message 11", "message 12"], &json!(2))
    );
    let before = ask(&format!("before=1&start_message_id={}", id(2))).await;
    assert_eq!(contents(&before), ["message 2", "message 1"]);
    let at = |number: usize| acks[number - 1]["created_at"].as_str().expect("a time");
    let since = ask(&format!("after=1&start_date={}", at(11))).await;
    assert_eq!(contents(&since), ["message 11", "message 12"]);
    let until = ask(&format!("before=1&start_date={}", at(2))).await;
    assert_eq!(contents(&until), ["message 2", "message 1"]);
    assert_eq!(ask("after=1&start_date=2000-01-01").await["count"], 12);
    assert_eq!(ask("after=1&start_date=2100-01-01").await["count"], 0);
    assert_eq!(ask("before=1&start_date=2000-01-01").await["count"], 0);
    assert_eq!(
        contents(&ask("after_seq=12").await),
        ["message 11", "message 12"]
    );
    assert_eq!(
        contents(&ask("before_seq=3").await),
        ["message 2", "message 1"]
    );
    assert_eq!(ask("after_seq=999").await["count"], 0);
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused() {
    let world = World::start(Topology::Standalone).await;
    let (alice, bob, channel, acks) = conversation(&world).await;
    let base = format!("{}/api/messages/status/friendship", world.messages());
    let id = acks[0]["message"].as_str().expect("an id");
    let stranger = "00000000-0000-8000-8000-000000000001";
    for query in [
        "after=1&before=1".to_owned(),
        "after=yes".to_owned(),
        "start_date=2026-01-01".to_owned(),
        format!("message_id={id}"),
        format!("after=1&message_id={id}&start_date=2026-01-01"),
        format!("after=1&message_id={id}&start_message_id={id}"),
        "after=1&start_date=yesterday".to_owned(),
        "after=1&start_date=2026-1-1".to_owned(),
        "after=1&message_id=x".to_owned(),
        format!("after=1&message_id={stranger}"),
        "after=1&after_seq=1".to_owned(),
        "after_seq=1&before_seq=2".to_owned(),
        "after_seq=-1".to_owned(),
        "page=0".to_owned(),
    ] {
        let (status, answer) = alice
            .get(&format!("{base}/{channel}/messages/?{query}"))
            .await;
        let words = (status.as_u16(), &answer["error"]);
        assert_eq!(words, (400, &json!("Invalid query parameters.")), "{query}");
    }
    let eve = Person::sign_up(&world.users(), "eve").await;
    for (person, path) in [(&eve, channel.as_str()), (&alice, stranger), (&alice, "x")] {
        let (status, answer) = person.get(&format!("{base}/{path}/messages/")).await;
        let words = (status.as_u16(), &answer["error"]);
        assert_eq!(words, (404, &json!("Friendship not found.")));
    }
    let (status, answer) = bob.get(&format!("{base}/{channel}/messages/?page=9")).await;
    assert_eq!(
        (status.as_u16(), &answer["error"]),
        (404, &json!("Invalid page."))
    );
}

#[tokio::test]
async fn reading_is_receiving_and_the_sender_is_told() {
    let world = World::start(Topology::Standalone).await;
    let (alice, bob, channel, acks) = conversation(&world).await;
    let mut alice_socket = alice.connect(&world.gateway()).await;
    let before = alice.history(&world.messages(), &channel).await;
    assert!(before.iter().all(|item| item["is_received"] == false));
    bob.history(&world.messages(), &channel).await;
    let told = alice_socket.frame("chat_friendship_notification").await;
    assert_eq!(
        (&told["received_seq"], &told["seen_seq"]),
        (&json!(14), &json!(0))
    );
    assert_eq!(told["message"], acks[11]["message"]);
    let after = alice.history(&world.messages(), &channel).await;
    assert!(
        after
            .iter()
            .all(|item| item["is_received"] == true && item["is_seen"] == false)
    );
}
