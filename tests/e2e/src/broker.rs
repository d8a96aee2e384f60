//! The broker as one of its users sees it.

use async_nats::{ConnectOptions, jetstream};
use natter_test_support::Nats;

/// JetStream with the permissions of a user of `deploy/nats/nats.conf`.
pub async fn jetstream(nats: &Nats, user: &str) -> jetstream::Context {
    let options = ConnectOptions::with_user_and_password(user.to_owned(), Nats::password(user));
    // Other services have the one that clients use where they are not told another.
    let options = match user {
        "subscriber" => options,
        _ => options.custom_inbox_prefix(format!("_INBOX_{user}")),
    };
    jetstream::new(options.connect(nats.url()).await.expect("it is let in"))
}
