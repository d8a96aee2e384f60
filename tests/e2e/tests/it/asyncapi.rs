//! The AsyncAPI document is valid, and what is really said is what it says.

use std::{process::Stdio, sync::Arc};

use futures_util::StreamExt;
use natter_e2e::{Topology, World, jetstream, python};
use natter_test_support::{Person, Signal, Socket, befriend, until};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::{io::AsyncWriteExt, sync::Mutex};

/// The document's messages that the story of this test must have produced.
const SHOWN: &str = "clientAuth clientFriendship clientFriendshipDelete clientFriendshipEdit
    clientFriendshipNotificationReceived clientFriendshipNotificationSeen clientPing clientResume
    clientTyping friendshipClosed friendshipOpened friendshipRequested logEvent markEvent
    noticeFriendshipUpdate noticeSessionEnded presenceEvent serverAck
    serverChatFriendshipNotification serverError serverFriendshipMessage
    serverFriendshipMessageDeleted serverFriendshipMessageEdited serverFriendshipUpdate
    serverGoaway serverPong serverPresence serverReady serverResumed serverTyping typingEvent
    userProfileChanged userRegistered userSessionRevoked";

type Said = Arc<Mutex<Vec<Value>>>;

/// Records what a NATS user receives on these subjects.
async fn listen(world: &World, user: &str, subjects: &[&str], said: &Said) {
    let client = jetstream(&world.nats, user).await.client();
    for subject in subjects {
        let mut heard = client
            .subscribe((*subject).to_owned())
            .await
            .expect("it may");
        let said = said.clone();
        tokio::spawn(async move {
            while let Some(message) = heard.next().await {
                let payload: Value = serde_json::from_slice(&message.payload).expect("JSON");
                let line = json!({"address": message.subject.as_str(), "payload": payload});
                said.lock().await.push(line);
            }
        });
    }
    client.flush().await.expect("it is connected");
}

fn frame(from: &str, payload: &Value) -> Value {
    json!({"address": "/ws/messages/", "from": from, "payload": payload})
}

/// Sends a frame and records it.
async fn send(socket: &mut Socket, said: &Said, payload: Value) {
    said.lock().await.push(frame("client", &payload));
    socket.send(payload).await;
}

#[tokio::test]
async fn what_is_said_is_what_the_document_says() {
    let mut world = World::start(Topology::Apart).await;
    let document = reqwest::get(format!("{}/api/asyncapi.yaml", world.gateway())).await;
    let document = document.expect("an answer").text().await.expect("a text");
    let said = Said::default();
    listen(
        &world,
        "subscriber",
        &["events.>", "chat.friendship.>"],
        &said,
    )
    .await;
    listen(
        &world,
        "gateway",
        &["presence.user.*", "notify.user.*"],
        &said,
    )
    .await;

    let alice = Person::sign_up(&world.users(), "alice").await;
    let bob = Person::sign_up(&world.users(), "bob").await;
    let (mut to_alice, _) = alice.connect_full(&world.gateway()).await;
    send(
        &mut to_alice,
        &said,
        json!({"type": "resume", "channels": {}}),
    )
    .await;
    let channel = befriend(&world.friendships(), &alice, &bob).await;
    let mut to_bob = bob.connect(&world.gateway_2()).await;
    let hello =
        json!({"type": "friendship", "channel": channel, "payload": "Hello", "client_id": "a-1"});
    send(&mut to_alice, &said, hello).await;
    let ack = to_alice.frame("ack").await;
    let message = ack["message"].clone();
    to_bob.frame("friendship_message").await;
    for kind in [
        "friendship_notification_received",
        "friendship_notification_seen",
    ] {
        send(
            &mut to_bob,
            &said,
            json!({"type": kind, "channel": channel, "message": message}),
        )
        .await;
    }
    to_alice.frame("chat_friendship_notification").await;
    send(
        &mut to_bob,
        &said,
        json!({"type": "typing", "channel": channel, "active": true}),
    )
    .await;
    to_alice.frame("typing").await;
    send(&mut to_bob, &said, json!({"type": "ping"})).await;
    send(
        &mut to_bob,
        &said,
        json!({"type": "auth", "access": bob.access}),
    )
    .await;
    to_bob.frame("error").await;
    let edit = json!({"type": "friendship_edit", "channel": channel, "message": message, "payload": "Hello!"});
    send(&mut to_alice, &said, edit).await;
    to_bob.frame("friendship_message_edited").await;
    let delete = json!({"type": "friendship_delete", "channel": channel, "message": message});
    send(&mut to_alice, &said, delete).await;
    to_bob.frame("friendship_message_deleted").await;
    let profile = format!("{}/api/users/profile/", world.users());
    bob.patch(&profile, json!({"first_name": "Bob"})).await;
    let friendship = format!("{}/api/users/friendship/", world.friendships());
    let reject = json!({"friendship_id": channel, "status": "rejected"});
    bob.patch(&friendship, reject).await;
    let other = bob.log_in(&world.users()).await;
    let logout = format!("{}/api/users/logout/", world.users());
    other.post(&logout, json!({"refresh": other.refresh})).await;
    // What goes through the outbox comes a moment later.
    until("the session's end is told", || async {
        let said = said.lock().await;
        let told = |kind| said.iter().any(|line| line["payload"]["type"] == kind);
        (told("session_ended") && told("session_revoked") && told("closed")).then_some(())
    })
    .await;
    world.process("gateway").signal(Signal::Term).await;
    to_alice.frame("goaway").await;

    let mut lines = said.lock().await.clone();
    for socket in [&to_alice, &to_bob] {
        lines.extend(socket.seen().iter().map(|one| frame("server", one)));
    }
    assert_eq!(
        check(&document, &lines).await,
        SHOWN.split_whitespace().collect::<Vec<_>>()
    );
}

/// The names of the document's messages that the recorded lines are. Fails if a line is none.
async fn check(document: &str, lines: &[Value]) -> Vec<String> {
    let file = NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), document).expect("it is ours");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/asyncapi/check.py");
    let mut checking = python(&[script, &file.path().to_string_lossy()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3 is there");
    let input: Vec<String> = lines.iter().map(Value::to_string).collect();
    let mut stdin = checking.stdin.take().expect("it is piped");
    stdin
        .write_all(input.join("\n").as_bytes())
        .await
        .expect("it reads");
    drop(stdin);
    let done = checking.wait_with_output().await.expect("it ends");
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let seen = String::from_utf8(done.stdout).expect("text");
    seen.lines().map(str::to_owned).collect()
}
