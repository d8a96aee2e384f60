//! The messages service over HTTP, beyond history itself.

use natter_e2e::{Topology, World};
use natter_test_support::{Friends, Person, Socket, befriend};
use serde_json::{Value, json};

#[tokio::test]
async fn sending_over_http_is_like_sending_a_frame() {
    let world = World::start(Topology::Apart).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let mut bob_socket = bob.connect(&world.gateway()).await;
    let url = format!(
        "{}/api/messages/status/friendship/{channel}/messages/",
        world.messages()
    );
    let (status, item) = alice
        .post(&url, json!({"payload": "Hi", "client_id": "a-1"}))
        .await;
    assert_eq!(status.as_u16(), 201, "{item}");
    assert_eq!(
        (&item["message"]["seq"], &item["message"]["content"]),
        (&json!(1), &json!("Hi"))
    );
    assert_eq!(item["receiver"], bob.id.as_str());
    let came = bob_socket.frame("friendship_message").await;
    assert_eq!(came["message"]["id"], item["message"]["id"]);
    let reply = json!({"payload": "Hello", "reply_to": item["message"]["id"]});
    let (_, answer) = bob.post(&url, reply).await;
    assert_eq!(answer["message"]["reply_to"], item["message"]["id"]);

    let (status, again) = alice
        .post(&url, json!({"payload": "Hi", "client_id": "a-1"}))
        .await;
    assert_eq!((status.as_u16(), &again["id"]), (200, &item["id"]));
    let eve = Person::sign_up(&world.users(), "eve").await;
    let stranger = "00000000-0000-8000-8000-000000000001";
    for (person, body, status, code) in [
        (
            &alice,
            json!({"payload": "Ho", "client_id": "a-1"}),
            409,
            "client_id_reused",
        ),
        (&alice, json!({}), 400, "invalid_message"),
        (&alice, json!({"payload": 1}), 400, "invalid_message"),
        (
            &alice,
            json!({"payload": "x".repeat(8193)}),
            400,
            "invalid_message",
        ),
        (
            &alice,
            json!({"payload": "x", "client_id": ""}),
            400,
            "invalid_message",
        ),
        (
            &alice,
            json!({"payload": "x", "reply_to": "x"}),
            400,
            "invalid_message",
        ),
        (
            &alice,
            json!({"payload": "x", "reply_to": stranger}),
            400,
            "message_not_found",
        ),
        (&eve, json!({"payload": "x"}), 404, "friendship_not_found"),
    ] {
        let (got, answer) = person.post(&url, body).await;
        assert_eq!((got.as_u16(), &answer["code"]), (status, &json!(code)));
        assert!(answer["error"].is_string());
    }
    let reject = json!({"friendship_id": channel, "status": "rejected"});
    bob.patch(
        &format!("{}/api/users/friendship/", world.friendships()),
        reject,
    )
    .await;
    let (status, closed) = alice.post(&url, json!({"payload": "Hey"})).await;
    assert_eq!(
        (status.as_u16(), &closed["code"]),
        (403, &json!("channel_closed"))
    );
}

#[tokio::test]
async fn the_log_is_read_as_frames() {
    let world = World::start(Topology::Standalone).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let mut socket = alice.connect(&world.gateway()).await;
    let ack = socket.say(&channel, "a-1", "one").await;
    socket
        .send(json!({
            "type": "friendship_edit", "channel": channel, "message": ack["message"],
            "payload": "two", "client_id": "a-2",
        }))
        .await;
    assert_eq!(socket.answer("a-2").await["seq"], 2);
    socket.say(&channel, "a-3", "three").await;
    let live = |socket: &Socket| -> Vec<Value> {
        let is_event = |frame: &&Value| frame["seq"].is_u64() && frame["type"] != "ack";
        socket.seen().iter().filter(is_event).cloned().collect()
    };
    while live(&socket).len() < 3 {
        socket.next().await.expect("the connection stays open");
    }
    let url = format!(
        "{}/api/messages/status/friendship/{channel}/events/",
        world.messages()
    );
    let (_, all) = bob.get(&url).await;
    assert_eq!(all["results"], json!(live(&socket)));
    assert_eq!(all["newest"], 3);
    let (_, some) = bob.get(&format!("{url}?after_seq=1&limit=1")).await;
    assert_eq!(some["results"], json!(live(&socket)[1..2]));
    assert_eq!(
        bob.get(&format!("{url}?after_seq=9")).await.1["results"],
        json!([])
    );
    for query in ["after_seq=x", "after_seq=-1", "limit=0", "limit="] {
        assert_eq!(
            bob.get(&format!("{url}?{query}")).await.0.as_u16(),
            400,
            "{query}"
        );
    }
}

#[tokio::test]
async fn conversations_are_listed_by_activity_with_what_is_unread() {
    let world = World::start(Topology::Standalone).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let carol = Person::sign_up(&world.users(), "carol").await;
    let quiet = befriend(&world.friendships(), &carol, &alice).await;
    let mut bob_socket = bob.connect(&world.gateway()).await;
    let mut alice_socket = alice.connect(&world.gateway()).await;
    alice_socket.say(&channel, "a-1", "from alice").await;
    for number in 1..=3 {
        let text = format!("b-{number}");
        bob_socket.say(&channel, &text, &text).await;
    }
    let first = alice_socket
        .find(|frame| frame["message"]["content"] == "b-1")
        .await;
    alice_socket
        .send(json!({
            "type": "friendship_notification_seen", "channel": channel,
            "message": first["message"]["id"],
        }))
        .await;
    bob_socket.find(|frame| frame["is_seen"] == true).await;
    let url = format!("{}/api/messages/conversations/", world.messages());
    let (status, page) = alice.get(&url).await;
    assert_eq!(
        (status.as_u16(), &page["count"]),
        (200, &json!(2)),
        "{page}"
    );
    let [busy, other] = [&page["results"][0], &page["results"][1]];
    assert_eq!(busy["friendship"]["id"], channel.as_str());
    assert_eq!(
        busy["friendship"]["to_user"]["username"],
        bob.username.as_str()
    );
    assert_eq!(busy["last_message"]["message"]["content"], "b-3");
    assert_eq!((&busy["unread"], &busy["seen_seq"]), (&json!(2), &json!(2)));
    assert_eq!(other["friendship"]["id"], quiet.as_str());
    assert_eq!(
        (&other["last_message"], &other["unread"]),
        (&json!(null), &json!(0))
    );

    // A closed one without messages is gone, one with messages stays.
    for id in [&channel, &quiet] {
        let reject = json!({"friendship_id": id, "status": "rejected"});
        alice
            .patch(
                &format!("{}/api/users/friendship/", world.friendships()),
                reject,
            )
            .await;
    }
    natter_test_support::until("the channels are closed", || async {
        let (_, page) = alice.get(&url).await;
        (page["count"] == 1 && page["results"][0]["friendship"]["is_open"] == false).then_some(())
    })
    .await;
}

#[tokio::test]
async fn messages_are_found_by_their_words() {
    let world = World::start(Topology::Standalone).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let eve = Person::sign_up(&world.users(), "eve").await;
    let mut socket = alice.connect(&world.gateway()).await;
    for text in ["the quick brown fox", "a lazy dog", "another fox, a fox"] {
        socket.say(&channel, text, text).await;
    }
    let url = format!("{}/api/messages/search/", world.messages());
    let (_, found) = bob.get(&format!("{url}?q=fox")).await;
    assert_eq!(found["count"], 2);
    assert_eq!(
        found["results"][0]["message"]["content"],
        "another fox, a fox"
    );
    assert_eq!(
        found["results"][0]["message"]["friendship"],
        channel.as_str()
    );
    assert_eq!(eve.get(&format!("{url}?q=fox")).await.1["count"], 0);
    assert_eq!(bob.get(&format!("{url}?q=")).await.0.as_u16(), 400);
    assert_eq!(bob.get(&url).await.0.as_u16(), 400);
}

#[tokio::test]
async fn deleted_messages_are_not_unread() {
    let world = World::start(Topology::Standalone).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let mut socket = alice.connect(&world.gateway()).await;
    let url = format!("{}/api/messages/conversations/", world.messages());
    let unread = async || bob.get(&url).await.1["results"][0]["unread"].clone();
    let mut ids = Vec::new();
    for number in 1..=5 {
        let ack = socket.say(&channel, &format!("a-{number}"), "text").await;
        ids.push(ack["message"].clone());
    }
    assert_eq!(unread().await, 5);
    let delete = async |socket: &mut natter_test_support::Socket, at: usize| {
        let client_id = format!("d-{at}");
        socket
            .send(json!({
                "type": "friendship_delete", "channel": channel, "message": ids[at],
                "client_id": client_id,
            }))
            .await;
        assert_eq!(socket.answer(&client_id).await["type"], "ack");
    };
    for (at, left) in [(0, 4), (3, 3), (4, 2)] {
        delete(&mut socket, at).await;
        assert_eq!(unread().await, left);
    }
    // Bob has seen up to the second message: of those after it one is not deleted. Deleting a seen
    // message changes nothing.
    let mut bobs = bob.connect(&world.gateway()).await;
    bobs.send(
        json!({"type": "friendship_notification_seen", "channel": channel, "message": ids[1]}),
    )
    .await;
    socket.find(|frame| frame["seen_seq"] == 2).await;
    assert_eq!(unread().await, 1);
    delete(&mut socket, 1).await;
    assert_eq!(unread().await, 1);
    delete(&mut socket, 2).await;
    assert_eq!(unread().await, 0);
}

#[tokio::test]
async fn only_who_reads_a_history_has_received_it() {
    let world = World::start(Topology::Standalone).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let mut socket = alice.connect(&world.gateway()).await;
    socket.say(&channel, "c-1", "Hi").await;
    let conversations = format!("{}/api/messages/conversations/", world.messages());
    let received = async || {
        let (_, page) = alice.get(&conversations).await;
        page["results"][0]["friend_received_seq"].clone()
    };
    let history = format!(
        "{}/api/messages/status/friendship/{channel}/messages/",
        world.messages()
    );
    let head = bob
        .http
        .head(&history)
        .bearer_auth(&bob.access)
        .send()
        .await;
    assert_eq!(head.expect("an answer").status(), 200);
    assert_eq!(received().await, 0);
    assert_eq!(bob.get(&history).await.0, 200);
    assert_eq!(received().await, 1);
}
