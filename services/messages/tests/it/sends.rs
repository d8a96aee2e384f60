//! What becomes of a send that cannot be stored in time.

use natter_test_support::Friends;
use serde_json::json;
use sqlx::Connection;

use crate::{friends, start};

/// The log is locked for longer than a sender waits: the send is refused, and not stored once the
/// log is free, when the sender has gone.
#[tokio::test]
async fn what_its_sender_gave_up_is_not_stored_later() {
    let app = start().await;
    let Friends { alice, channel, .. } = friends(&app).await;
    let messages = format!(
        "{}/api/messages/status/friendship/{channel}/messages/",
        app.url()
    );
    let mut admin = app.postgres.admin("natter").await;
    let locked = sqlx::raw_sql("BEGIN; LOCK TABLE messages.log IN SHARE MODE");
    locked.execute(&mut admin).await.expect("a superuser may");
    let sends = (0..20).map(|number| {
        let text = format!("given up {number}");
        alice.post(&messages, json!({"payload": text, "client_id": text}))
    });
    for (status, refused) in futures_util::future::join_all(sends).await {
        assert_eq!(
            (status.as_u16(), &refused["code"]),
            (503, &json!("unavailable"))
        );
    }
    admin.close().await.expect("it ends");
    let later = json!({"payload": "later", "client_id": "later"});
    let (status, sent) = alice.post(&messages, later).await;
    assert_eq!(status.as_u16(), 201, "{sent}");
    let history = alice.history(app.url(), &channel).await;
    assert_eq!(history.len(), 1, "{history:?}");
}
