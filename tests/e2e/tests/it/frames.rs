//! Frames of the WebSocket contract, one by one.

use natter_e2e::{Topology, World};
use natter_test_support::{Friends, Person, Socket};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

async fn browser(gateway: &str, access: &str) -> Socket {
    let offer = [(
        "sec-websocket-protocol",
        format!("natter.v1, bearer.{access}"),
    )];
    let mut socket = Socket::connect(gateway, &offer).await.expect("connected");
    socket.frame("ready").await;
    socket.send(json!({"type": "resume", "channels": {}})).await;
    socket.frame("resumed").await;
    socket
}

#[tokio::test]
async fn typing_reaches_the_other_side_only() {
    let world = World::start(Topology::Apart).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let mut alice_socket = alice.connect(&world.gateway()).await;
    let mut alice_laptop = alice.connect(&world.gateway()).await;
    let mut bob_socket = bob.connect(&world.gateway_2()).await;
    for active in [true, false] {
        let frame = json!({"type": "typing", "channel": channel, "active": active});
        alice_socket.send(frame).await;
        let told = bob_socket.frame("typing").await;
        assert_eq!(
            (&told["user"], &told["active"]),
            (&json!(alice.id), &json!(active))
        );
    }
    alice_socket.say(&channel, "a-1", "Hi").await;
    alice_laptop.frame("friendship_message").await;
    let of_typing = |frame: &&Value| frame["type"] == "typing";
    assert_eq!(alice_socket.seen().iter().filter(of_typing).count(), 0);
    assert_eq!(alice_laptop.seen().iter().filter(of_typing).count(), 0);
    let eve = Person::sign_up(&world.users(), "eve").await;
    let mut eve_socket = eve.connect(&world.gateway()).await;
    eve_socket
        .send(json!({"type": "typing", "channel": channel, "active": true}))
        .await;
    let refused = eve_socket.frame("error").await;
    assert_eq!(
        (&refused["code"], &refused["answers"]),
        (&json!("not_a_member"), &json!("typing"))
    );
}

/// Its members are told so, also on a connection that opened afterwards.
#[tokio::test]
async fn nobody_types_in_a_closed_channel() {
    let world = World::start(Topology::Standalone).await;
    let Friends { alice, channel, .. } = world.friends().await;
    let mut before = alice.connect(&world.gateway()).await;
    let friendships = format!("{}/api/users/friendship/", world.friendships());
    let reject = json!({"friendship_id": channel, "status": "rejected"});
    assert_eq!(alice.patch(&friendships, reject).await.0, 200);
    before.frame("friendship_update").await;
    let after = alice.connect(&world.gateway()).await;
    for mut socket in [before, after] {
        let typing = json!({"type": "typing", "channel": channel, "active": true});
        socket.send(typing).await;
        let refused = socket.frame("error").await;
        assert_eq!(
            (&refused["code"], &refused["answers"]),
            (&json!("channel_closed"), &json!("typing"))
        );
    }
}

#[tokio::test]
async fn a_browser_is_warned_and_renews_its_token() {
    let settings = [("NATTER_ACCESS_TOKEN_SECONDS", "8")];
    let world = World::start_with(Topology::Standalone, &settings).await;
    let bob = Person::sign_up(&world.users(), "bob").await;
    let alice = Person::sign_up(&world.users(), "alice").await;
    let mut renewed = browser(&world.gateway(), &alice.access).await;
    let mut left = browser(&world.gateway(), &alice.access).await;
    // It is due at once, before or after `resumed`.
    let is_warning = |frame: &&Value| frame["type"] == "token_expiring";
    let warning = match renewed.seen().iter().find(is_warning).cloned() {
        Some(warning) => warning,
        None => renewed.frame("token_expiring").await,
    };
    assert!(
        warning["seconds"]
            .as_u64()
            .is_some_and(|seconds| seconds <= 8),
        "{warning}"
    );

    for access in [bob.access.as_str(), "x"] {
        renewed
            .send(json!({"type": "auth", "access": access}))
            .await;
        let refused = renewed.frame("error").await;
        assert_eq!(
            (&refused["answers"], &refused["code"]),
            (&json!("auth"), &json!("invalid_frame"))
        );
    }
    // The one that is not renewed ends with its token; the other one lives on.
    let url = format!("{}/api/users/refresh-token/", world.users());
    let renew = async {
        let mut refresh = alice.refresh.clone();
        loop {
            let (_, tokens) = alice.post(&url, json!({"refresh": refresh})).await;
            refresh = tokens["refresh"].as_str().expect("a token").to_owned();
            renewed
                .send(json!({"type": "auth", "access": tokens["access"]}))
                .await;
            renewed.send(json!({"type": "ping"})).await;
            renewed.frame("pong").await;
            // Between two renewals; what is waited for is the other connection's end.
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
    };
    tokio::select! {
        code = left.closed() => assert_eq!(code, Some(4001)),
        () = renew => {}
    }
    renewed.send(json!({"type": "ping"})).await;
    renewed.frame("pong").await;
}

#[tokio::test]
async fn what_is_no_frame_is_answered_and_a_flood_of_it_ends_the_connection() {
    let world = World::start(Topology::Standalone).await;
    let alice = Person::sign_up(&world.users(), "alice").await;
    let mut socket = alice.connect(&world.gateway()).await;
    for (text, code) in [
        ("{", "invalid_json"),
        ("[]", "invalid_frame"),
        ("{\"type\": \"dance\"}", "unknown_type"),
        ("{\"type\": \"friendship\"}", "invalid_frame"),
        ("{\"type\": \"resume\", \"channels\": {}}", "invalid_frame"),
    ] {
        socket.send_text(text).await;
        assert_eq!(socket.frame("error").await["code"], code, "{text}");
    }
    socket.send_message(Message::binary(vec![1, 2, 3])).await;
    assert_eq!(socket.frame("error").await["code"], "unsupported");
    let mut flood = 0;
    while socket.try_send(&json!("garbage")).await && flood < 1_000 {
        flood += 1;
    }
    assert_eq!(socket.closed().await, Some(1008));
}

#[tokio::test]
async fn a_frame_that_is_too_big_is_refused_with_its_code() {
    let world = World::start(Topology::Standalone).await;
    let Friends { alice, channel, .. } = world.friends().await;
    let mut socket = alice.connect(&world.gateway()).await;
    let refused = socket.say(&channel, "a-1", &"x".repeat(8_193)).await;
    assert_eq!(refused["code"], "too_large");
    assert_eq!(
        socket.say(&channel, "a-2", &"x".repeat(8_192)).await["type"],
        "ack"
    );
    socket
        .try_send(&json!({"type": "ping", "more": "x".repeat(9 << 20)}))
        .await;
    assert_eq!(socket.closed().await, Some(1009));
}

#[tokio::test]
async fn a_client_that_closes_is_answered() {
    let world = World::start(Topology::Standalone).await;
    let alice = Person::sign_up(&world.users(), "alice").await;
    let mut socket = alice.connect(&world.gateway()).await;
    socket.send_message(Message::Close(None)).await;
    assert!(socket.ended_cleanly().await);
}

#[tokio::test]
async fn a_client_that_is_too_fast_is_told_when_to_go_on() {
    let settings = [("NATTER_RATE_LIMITS", "on")];
    let world = World::start_with(Topology::Standalone, &settings).await;
    let alice = Person::sign_up(&world.users(), "alice").await;
    let mut socket = alice.connect(&world.gateway()).await;
    for _ in 0..500 {
        socket.send(json!({"type": "ping"})).await;
    }
    let refused = socket.frame("error").await;
    assert_eq!(
        (&refused["code"], &refused["answers"]),
        (&json!("rate_limited"), &json!("ping"))
    );
    assert!(
        refused["retry_after_ms"]
            .as_u64()
            .is_some_and(|wait| wait > 0)
    );
    socket.send_message(Message::Ping(Default::default())).await;
}

#[tokio::test]
async fn what_was_sent_before_a_close_is_carried_out() {
    let world = World::start(Topology::Apart).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let mut bobs = bob.connect(&world.gateway_2()).await;
    for round in 1..=20 {
        let mut socket = alice.connect(&world.gateway()).await;
        let client_id = format!("last-{round}");
        socket
            .send(json!({
                "type": "friendship", "channel": channel, "payload": client_id,
                "client_id": client_id,
            }))
            .await;
        // With a close frame, and without a word.
        match round % 2 {
            0 => socket.send_message(Message::Close(None)).await,
            _ => drop(socket),
        }
        let came = bobs.frame("friendship_message").await;
        assert_eq!(came["message"]["content"], client_id);
    }
    // An edit, a deletion and a mark alike.
    let history = alice.history(&world.messages(), &channel).await;
    let id = |at: usize| history[at]["id"].clone();
    let mut socket = alice.connect(&world.gateway()).await;
    for frame in [
        json!({"type": "friendship_edit", "message": id(0), "payload": "changed", "client_id": "e"}),
        json!({"type": "friendship_delete", "message": id(1), "client_id": "d"}),
    ] {
        let mut frame = frame;
        frame["channel"] = json!(channel);
        socket.send(frame).await;
    }
    socket.send_message(Message::Close(None)).await;
    let edited = bobs.frame("friendship_message_edited").await;
    assert_eq!(edited["message"]["content"], "changed");
    bobs.frame("friendship_message_deleted").await;
    let mut alices = alice.connect(&world.gateway()).await;
    let seen = json!({
        "type": "friendship_notification_seen", "channel": channel, "message": id(5),
    });
    bobs.send(seen).await;
    bobs.send_message(Message::Close(None)).await;
    alices
        .find(|frame| frame["seen_seq"] == history[5]["message"]["seq"])
        .await;
}

#[tokio::test]
async fn what_was_sent_before_a_close_is_answered_to_who_still_reads() {
    let world = World::start(Topology::Apart).await;
    let Friends { alice, channel, .. } = world.friends().await;
    for round in 1..=10 {
        let mut socket = alice.connect(&world.gateway()).await;
        for at in 1..=20 {
            let client_id = format!("{round}-{at}");
            let send = json!({
                "type": "friendship", "channel": channel, "payload": client_id,
                "client_id": client_id,
            });
            socket.send(send).await;
        }
        socket.send_message(Message::Close(None)).await;
        for at in 1..=20 {
            let ack = socket.frame("ack").await;
            assert_eq!(ack["client_id"], format!("{round}-{at}"));
        }
        assert!(socket.ended_cleanly().await);
    }
}

#[tokio::test]
async fn what_was_sent_by_who_vanished_is_carried_out() {
    let world = World::start(Topology::Standalone).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let mut alices = alice.connect(&world.gateway()).await;
    for round in 1..=10 {
        let mut bobs = bob.connect(&world.gateway()).await;
        // Never read: closing resets the connection, and whatever is written to it then fails.
        let told = (1..=100).map(|at| {
            let payload = format!("to bob {at}");
            json!({"type": "friendship", "channel": channel, "payload": payload})
        });
        let told = told.map(|frame| Message::text(frame.to_string()));
        alices.send_together(told).await;
        alices.frame("ack").await;
        let sends = (1..=20).map(|at| {
            json!({
                "type": "friendship", "channel": channel, "payload": format!("{round}-{at}"),
            })
        });
        // Nobody reads the answer to the ping either.
        let ping = Message::Ping(Default::default());
        let sends = sends.map(|frame| Message::text(frame.to_string()));
        bobs.send_together([ping].into_iter().chain(sends)).await;
        drop(bobs);
        for at in 1..=20 {
            let payload = format!("{round}-{at}");
            alices
                .find(|frame| frame["message"]["content"] == payload)
                .await;
        }
    }
}

#[tokio::test]
async fn every_error_names_the_frame_that_it_answers() {
    let world = World::start(Topology::Standalone).await;
    let Friends { alice, channel, .. } = world.friends().await;
    let nothing = "00000000-0000-7000-8000-000000000000";
    let mut socket = alice.connect(&world.gateway()).await;
    for (number, frame) in [
        json!({"type": "friendship_notification_seen", "channel": channel, "message": nothing}),
        json!({"type": "friendship_notification_received", "channel": nothing, "message": nothing}),
        json!({"type": "friendship_notification_seen", "channel": channel}),
        json!({"type": "typing", "channel": nothing, "active": true}),
        json!({"type": "auth", "access": "x"}),
        json!({"type": "resume", "channels": {}}),
        json!({"type": "friendship_edit", "channel": channel, "message": nothing, "payload": "x"}),
        json!({"type": "friendship", "channel": nothing, "payload": "x"}),
    ]
    .into_iter()
    .enumerate()
    {
        let mut frame = frame;
        let client_id = format!("c-{number}");
        frame["client_id"] = json!(client_id);
        socket.send(frame.clone()).await;
        let error = socket.frame("error").await;
        assert_eq!(error["client_id"], client_id, "{frame}");
        assert_eq!(error["answers"], frame["type"]);
    }
}

#[tokio::test]
async fn who_closes_has_stopped_typing() {
    let world = World::start(Topology::Apart).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let mut bobs = bob.connect(&world.gateway_2()).await;
    let mut alices = alice.connect(&world.gateway()).await;
    alices
        .send(json!({"type": "typing", "channel": channel, "active": true}))
        .await;
    assert_eq!(bobs.frame("typing").await["active"], true);
    drop(alices);
    assert_eq!(bobs.frame("typing").await["active"], false);
}

#[tokio::test]
async fn a_caption_goes_while_its_file_stays() {
    let world = World::start(Topology::Standalone).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let mut bobs = bob.connect(&world.gateway()).await;
    let mut socket = alice.connect(&world.gateway()).await;
    // A payload beside a file may be empty, null or missing.
    let media = json!([{"note.txt": "aGVsbG8="}]);
    for (client_id, payload) in [
        ("a", Some(json!(null))),
        ("b", None),
        ("c", Some(json!("look"))),
    ] {
        let mut frame = json!({
            "type": "friendship", "channel": channel, "media": media, "client_id": client_id,
        });
        if let Some(payload) = payload {
            frame["payload"] = payload;
        }
        socket.send(frame).await;
        assert_eq!(socket.answer(client_id).await["type"], "ack");
        let came = bobs.frame("friendship_message").await;
        let message = &came["message"];
        assert_eq!(
            (&message["edited_at"], &message["deleted"]),
            (&json!(null), &json!(false))
        );
    }
    let history = bob.history(&world.messages(), &channel).await;
    let with_file = history[2]["id"].clone();
    let plain = socket.say(&channel, "d", "text").await["message"].clone();
    for (number, payload) in [Some(json!("")), Some(json!(null)), None]
        .into_iter()
        .enumerate()
    {
        for (message, code) in [(&with_file, None), (&plain, Some("invalid_frame"))] {
            let client_id = format!("e-{number}-{}", code.is_some());
            let mut frame = json!({
                "type": "friendship_edit", "channel": channel, "message": message,
                "client_id": client_id,
            });
            if let Some(payload) = &payload {
                frame["payload"] = payload.clone();
            }
            socket.send(frame).await;
            let answer = socket.answer(&client_id).await;
            assert_eq!(answer["code"].as_str(), code, "{answer}");
        }
        let edited = bobs.frame("friendship_message_edited").await;
        assert_eq!(edited["message"]["content"], "");
        assert_eq!(edited["message"]["media"].as_array().map(Vec::len), Some(1));
        assert!(edited["message"]["edited_at"].is_string());
    }
    // A deletion says that there was an edit, as the history does.
    socket
        .send(json!({
            "type": "friendship_delete", "channel": channel, "message": with_file, "client_id": "g",
        }))
        .await;
    let deleted = bobs.frame("friendship_message_deleted").await;
    let edited_at = &deleted["message"]["edited_at"];
    assert!(edited_at.is_string(), "{deleted}");
    let history = bob.history(&world.messages(), &channel).await;
    let item = history.iter().find(|item| item["id"] == with_file);
    assert_eq!(
        &item.expect("it is there")["message"]["edited_at"],
        edited_at
    );
    let events = format!(
        "{}/api/messages/status/friendship/{channel}/events/",
        world.messages()
    );
    let (_, events) = bob.get(&events).await;
    let last = events["results"]
        .as_array()
        .and_then(|all| all.last())
        .cloned();
    assert_eq!(&last.expect("events")["message"]["edited_at"], edited_at);
    // Two files of one name in one object are refused, in a frame and over HTTP.
    let twice = r#"[{"a.txt": "eA==", "a.txt": "eQ=="}]"#;
    let frame = format!(
        r#"{{"type": "friendship", "channel": "{channel}", "payload": "x", "client_id": "f", "media": {twice}}}"#
    );
    socket.send_text(&frame).await;
    assert_eq!(socket.answer("f").await["code"], "invalid_frame");
    let url = format!(
        "{}/api/messages/status/friendship/{channel}/messages/",
        world.messages()
    );
    let request = alice.http.post(url).bearer_auth(&alice.access);
    let request = request.header("content-type", "application/json");
    let answer = request
        .body(format!(r#"{{"payload": "x", "media": {twice}}}"#))
        .send()
        .await;
    assert_eq!(answer.expect("an answer").status(), 400);
}
