//! The broker as one of its users sees it.

use async_nats::{ConnectOptions, jetstream};
use natter_test_support::Nats;
use serde_json::{Value, json};

/// JetStream with the permissions of a user of `deploy/nats/nats.conf`.
pub async fn jetstream(nats: &Nats, user: &str) -> jetstream::Context {
    let options = ConnectOptions::with_user_and_password(user.to_owned(), Nats::password(user));
    // The user `subscriber` has the default inbox prefix of NATS clients.
    let options = match user {
        "subscriber" => options,
        _ => options.custom_inbox_prefix(format!("_INBOX_{user}")),
    };
    let servers = nats.urls();
    let client = options.connect(servers.as_slice()).await;
    jetstream::new(client.expect("it is let in"))
}

/// Tells the gateways how far a user has received and seen a channel, as a replica of the messages
/// service does. Each mark is its `received_seq` and `seen_seq`, and the message that was received.
pub async fn tell_marks(nats: &Nats, channel: &str, user: &str, marks: &[(u64, u64, &Value)]) {
    let client = jetstream(nats, "messages").await.client();
    for (received, seen, message) in marks {
        let mark = json!({
            "id": uuid::Uuid::now_v7(), "type": "mark", "time": "2026-11-27T04:00:00.000000Z",
            "version": 1, "channel": channel, "user": user, "message": message,
            "received_seq": received, "seen_seq": seen,
        });
        let subject = format!("chat.friendship.{channel}.mark");
        let told = client.publish(subject, mark.to_string().into()).await;
        told.expect("the user messages may");
    }
    client.flush().await.expect("it is connected");
}
