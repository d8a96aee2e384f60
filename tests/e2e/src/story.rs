//! The README's example: two people meet and talk.

use natter_test_support::{Person, befriend};
use reqwest::StatusCode;
use serde_json::json;

/// Where a client finds the services: behind an ingress, all at one URL.
pub struct Addresses {
    pub users: String,
    pub friendships: String,
    pub messages: String,
    pub gateways: [String; 2],
}

impl Addresses {
    /// All services behind one URL.
    pub fn behind(url: &str) -> Self {
        Self {
            users: url.to_owned(),
            friendships: url.to_owned(),
            messages: url.to_owned(),
            gateways: [url.to_owned(), url.to_owned()],
        }
    }
}

/// Two people sign up, befriend each other, talk, and part.
pub async fn story(at: &Addresses) {
    let alice = Person::sign_up(&at.users, "alice").await;
    let bob = Person::sign_up(&at.users, "bob").await;

    // Both are connected before they are friends: the channel is gained live.
    let mut alice_socket = alice.connect(&at.gateways[0]).await;
    let mut bob_socket = bob.connect(&at.gateways[1]).await;
    let channel = befriend(&at.friendships, &alice, &bob).await;
    for socket in [&mut alice_socket, &mut bob_socket] {
        let asked = socket.frame("friendship_update").await;
        assert_eq!(asked["friendship"]["is_open"], false);
        assert_eq!(asked["friendship"]["from_user"]["username"], alice.username);
        let opened = socket.frame("friendship_update").await;
        assert_eq!(opened["friendship"]["is_open"], true);
    }

    // Both ways, with an ack and the message on both sides.
    let ack = alice_socket
        .say(&channel, "a-1", "Hello, how are you?")
        .await;
    assert_eq!(
        (&ack["type"], &ack["seq"], &ack["duplicate"]),
        (&json!("ack"), &json!(1), &json!(false))
    );
    let hello = bob_socket.frame("friendship_message").await;
    assert_eq!(hello["seq"], 1);
    assert_eq!(hello["message"]["id"], ack["message"]);
    assert_eq!(hello["message"]["content"], "Hello, how are you?");
    assert_eq!(hello["message"]["sender"], alice.id.as_str());
    let received = alice_socket.frame("chat_friendship_notification").await;
    assert_eq!(
        (&received["user"], &received["received_seq"]),
        (&json!(bob.id), &json!(1))
    );
    let answer = bob_socket.say(&channel, "b-1", "Fine!").await;
    assert_eq!(answer["seq"], 2);
    let fine = alice_socket.find(|frame| frame["seq"] == 2).await;
    assert_eq!(fine["message"]["content"], "Fine!");

    // Seen, and told to the sender.
    bob_socket
        .send(json!({
            "type": "friendship_notification_seen", "channel": channel,
            "message": hello["message"]["id"],
        }))
        .await;
    let seen = alice_socket
        .find(|frame| frame["type"] == "chat_friendship_notification" && frame["is_seen"] == true)
        .await;
    assert_eq!(
        (&seen["user"], &seen["seen_seq"]),
        (&json!(bob.id), &json!(1))
    );
    assert_eq!(seen["message"], hello["message"]["id"]);

    let history = alice.history(&at.messages, &channel).await;
    assert_eq!(history.len(), 2);
    assert_eq!(history[0]["message"]["content"], "Hello, how are you?");
    assert_eq!(history[0]["receiver"], bob.id.as_str());
    assert_eq!(
        (&history[0]["is_received"], &history[0]["is_seen"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(history[1]["is_seen"], false);

    // A repeat gets the same message; a stranger is refused; a closed channel takes no messages.
    let again = alice_socket
        .say(&channel, "a-1", "Hello, how are you?")
        .await;
    assert_eq!(
        (&again["message"], &again["duplicate"]),
        (&ack["message"], &json!(true))
    );
    let reused = alice_socket.say(&channel, "a-1", "Something else").await;
    assert_eq!(reused["code"], "client_id_reused");
    let eve = Person::sign_up(&at.users, "eve").await;
    let mut eve_socket = eve.connect(&at.gateways[0]).await;
    assert_eq!(
        eve_socket.say(&channel, "e-1", "Hi").await["code"],
        "not_a_member"
    );
    let url = format!(
        "{}/api/messages/status/friendship/{channel}/messages/",
        at.messages
    );
    assert_eq!(eve.get(&url).await.0, StatusCode::NOT_FOUND);
    let reject = json!({"friendship_id": channel, "status": "rejected"});
    bob.patch(&format!("{}/api/users/friendship/", at.friendships), reject)
        .await;
    alice_socket.frame("friendship_update").await;
    assert_eq!(
        alice_socket.say(&channel, "a-2", "Hello?").await["code"],
        "channel_closed"
    );
    assert_eq!(alice.history(&at.messages, &channel).await.len(), 2);
}
