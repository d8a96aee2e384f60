//! Files in frames, and files that nothing needs any more.

use natter_e2e::{Topology, World};
use natter_test_support::{Friends, Signal, until};
use reqwest::StatusCode;
use serde_json::json;

#[tokio::test]
async fn a_file_in_a_frame_reaches_the_other_side() {
    let world = World::start(Topology::Apart).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let mut alice_socket = alice.connect(&world.gateway()).await;
    let mut bob_socket = bob.connect(&world.gateway_2()).await;
    let frame = json!({
        "type": "friendship", "channel": channel, "payload": "", "client_id": "a-1",
        "media": [{"note.txt": "aGVsbG8="}],
    });
    alice_socket.send(frame.clone()).await;
    let ack = alice_socket.answer("a-1").await;
    assert_eq!(ack["type"], "ack", "{ack}");
    let came = bob_socket.frame("friendship_message").await;
    let media = &came["message"]["media"][0];
    assert_eq!(media["filename"], "note.txt");
    assert_eq!(
        (&media["content_type"], &media["size"]),
        (&json!("text/plain"), &json!(5))
    );
    let url = media["file"].as_str().expect("a URL");
    assert!(url.starts_with(&world.gateway_2()), "{url}");
    // Behind the ingress it is one host; here the messages service has its own.
    let url = url.replace(&world.gateway_2(), &world.messages());
    let file = bob.download(&url, None).await;
    assert_eq!(
        file.headers()["content-disposition"],
        "attachment; filename=\"note.txt\"; filename*=UTF-8''note.txt"
    );
    assert_eq!(file.headers()["x-content-type-options"], "nosniff");
    assert_eq!(file.text().await.expect("a body"), "hello");

    // A repeat is the same message, whatever ids its files would have had.
    alice_socket.send(frame).await;
    let again = alice_socket.answer("a-1").await;
    assert_eq!(
        (&again["message"], &again["duplicate"]),
        (&ack["message"], &json!(true))
    );
    for (media, code) in [
        (json!([{"note.txt": "?"}]), "invalid_frame"),
        (json!([{"id": media["id"]}]), "invalid_frame"),
        (json!("x"), "invalid_frame"),
    ] {
        let frame = json!({
            "type": "friendship", "channel": channel, "payload": "x", "client_id": "a-2",
            "media": media,
        });
        alice_socket.send(frame).await;
        assert_eq!(alice_socket.answer("a-2").await["code"], code, "{media}");
    }

    // In history, in the log, and gone with its message.
    let history = bob.history(&world.messages(), &channel).await;
    assert_eq!(history[0]["message"]["media"][0]["id"], media["id"]);
    alice_socket
        .send(json!({
            "type": "friendship_delete", "channel": channel, "message": ack["message"],
            "client_id": "a-3",
        }))
        .await;
    assert_eq!(alice_socket.answer("a-3").await["type"], "ack");
    let deleted = bob_socket.frame("friendship_message_deleted").await;
    assert_eq!(deleted["message"]["media"], json!([]));
    assert_eq!(
        bob.history(&world.messages(), &channel).await[0]["message"]["media"],
        json!([])
    );
    assert_eq!(
        bob.download(&url, None).await.status(),
        StatusCode::NOT_FOUND
    );
}

/// A replica ends after it has stored a message and before it answers: the other one, which is asked
/// then, finds the message stored.
#[tokio::test]
async fn a_message_keeps_its_file_when_its_replica_ends_before_the_answer() {
    let mut world = World::start(Topology::Apart).await;
    let Friends { alice, channel, .. } = world.friends().await;
    world.set("messages", "FAILPOINTS", "feed-publish=return");
    world.restart("messages", Signal::Term).await;
    let mut socket = alice.connect(&world.gateway()).await;
    let mut sent = 0;
    while !world.process("messages").has_ended() {
        sent += 1;
        let client_id = format!("a-{sent}");
        socket
            .send(json!({
                "type": "friendship", "channel": channel, "payload": "", "client_id": client_id,
                "media": [{"note.txt": "aGVsbG8="}],
            }))
            .await;
        let ack = socket.answer(&client_id).await;
        assert_eq!(ack["type"], "ack", "{ack}");
    }
    world.set("messages", "FAILPOINTS", "");
    world.restart("messages", Signal::Kill).await;
    // The gateway removes what a refused message has left: so much later, it would have.
    let refused = json!({
        "type": "friendship", "channel": channel, "payload": "", "client_id": "a-1",
        "media": [{"other.txt": "aGVsbG8="}, {"more.txt": "aGVsbG8="}],
    });
    socket.send(refused).await;
    assert_eq!(socket.answer("a-1").await["code"], "client_id_reused");
    let folder = world.media.path().join("media");
    let files = || std::fs::read_dir(&folder).map_or(0, Iterator::count);
    until("what was refused is removed", || async {
        (files() <= sent).then_some(())
    })
    .await;
    for item in alice.history(&world.messages(), &channel).await {
        let file = item["message"]["media"][0]["id"].as_str().expect("an id");
        assert!(folder.join(file).exists(), "{item}");
    }
}

#[tokio::test]
async fn what_nothing_needs_is_swept() {
    let often = [("NATTER_MEDIA_SWEEP_SECONDS", "1")];
    let mut world = World::start_with(Topology::Standalone, &often).await;
    let Friends { alice, channel, .. } = world.friends().await;
    // Two files without a row: an old one, and a new one.
    let folder = world.media.path().join("media");
    let stray = folder.join("01000000-0000-7000-8000-000000000000");
    let fresh = folder.join(uuid::Uuid::now_v7().to_string());
    std::fs::create_dir_all(&folder).expect("it is ours");
    for path in [&stray, &fresh] {
        std::fs::write(path, b"stray").expect("it is ours");
    }
    // A database without any file may be the wrong one for this store.
    world.restart("standalone", Signal::Term).await;
    let process = world.process("standalone");
    until("the sweep refuses", || async {
        let refused = |line: &String| line.contains("no stray file is removed");
        process.lines().iter().any(refused).then_some(())
    })
    .await;
    assert!(stray.exists());

    let media = format!("{}/api/messages/media/", world.messages());
    let (_, kept) = alice.upload(&media, "file", "kept.txt", b"kept").await;
    let (_, swept) = alice.upload(&media, "file", "swept.txt", b"swept").await;
    let send = format!(
        "{}/api/messages/status/friendship/{channel}/messages/",
        world.messages()
    );
    let with_file = json!({"media": [{"id": kept["id"]}], "client_id": "a-1"});
    assert_eq!(
        alice.post(&send, with_file.clone()).await.0,
        StatusCode::CREATED
    );
    // One that was removed, and came back: the power was cut before the disk had it.
    let back = folder.join("01000000-0000-7000-8000-000000000001");
    std::fs::write(&back, b"back").expect("it is ours");
    let mut admin = world.postgres.admin("natter").await;
    let remove = "INSERT INTO messages.media (id, owner, filename, content_type, size, sha256,
                                              friendship_id, seq, expires_at, removed)
                  SELECT '01000000-0000-7000-8000-000000000001'::uuid, owner, filename,
                         content_type, size, sha256, friendship_id, seq, NULL, true
                  FROM messages.media WHERE friendship_id IS NOT NULL";
    sqlx::query(remove)
        .execute(&mut admin)
        .await
        .expect("removed");
    let expire = "UPDATE messages.media SET expires_at = now() - interval '1 hour'
                  WHERE friendship_id IS NULL";
    sqlx::query(expire)
        .execute(&mut admin)
        .await
        .expect("expired");
    // Strays are looked for after a start, and then hours later.
    world.restart("standalone", Signal::Term).await;
    let swept = folder.join(swept["id"].as_str().expect("an id"));
    until("all are swept", || async {
        (!stray.exists() && !swept.exists() && !back.exists()).then_some(())
    })
    .await;
    sqlx::query("DELETE FROM messages.media WHERE removed")
        .execute(&mut admin)
        .await
        .expect("a superuser may");
    assert!(folder.join(kept["id"].as_str().expect("an id")).exists());
    assert!(fresh.exists());

    // A file goes with its message, and the repeat of its send is still a repeat.
    let (_, sent) = alice.post(&send, with_file.clone()).await;
    let mut socket = alice.connect(&world.gateway()).await;
    socket
        .send(json!({
            "type": "friendship_delete", "channel": channel, "message": sent["id"], "client_id": "a-2",
        }))
        .await;
    socket.answer("a-2").await;
    let expire = "UPDATE messages.media SET expires_at = now() - interval '1 hour'
                  WHERE expires_at IS NOT NULL";
    sqlx::query(expire)
        .execute(&mut admin)
        .await
        .expect("expired");
    let kept = folder.join(kept["id"].as_str().expect("an id"));
    until("it is swept", || async { (!kept.exists()).then_some(()) }).await;
    until("its row says so", || async {
        let mut admin = world.postgres.admin("natter").await;
        let removed = "SELECT EXISTS (SELECT FROM messages.media WHERE removed)";
        let removed: bool = sqlx::query_scalar(removed)
            .fetch_one(&mut admin)
            .await
            .ok()?;
        removed.then_some(())
    })
    .await;
    let (status, again) = alice.post(&send, with_file).await;
    assert_eq!((status, &again["id"]), (StatusCode::OK, &sent["id"]));
}
