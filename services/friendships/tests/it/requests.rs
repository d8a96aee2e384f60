//! Requests for friendship over HTTP.

use natter_test_support::Person;
use serde_json::json;

use crate::{start, start_with};

#[tokio::test]
async fn every_refusal_has_its_words() {
    let app = start().await;
    let alice = Person::sign_up(app.url(), "alice").await;
    let bob = Person::sign_up(app.url(), "bob").await;
    let eve = Person::sign_up(app.url(), "eve").await;
    let url = format!("{}/api/users/friendship/", app.url());
    let stranger = "00000000-0000-7000-8000-000000000000";

    const SELF: &str = "You cannot send a friendship request to yourself.";
    for (body, status, detail) in [
        (json!({"to_user": bob.id}), 400, "Invalid status."),
        (
            json!({"to_user": bob.id, "status": "friends"}),
            400,
            "Invalid status.",
        ),
        (
            json!({"to_user": bob.id, "status": 1}),
            400,
            "Invalid status.",
        ),
        (json!({"status": "pending"}), 404, "User not found."),
        (
            json!({"to_user": "x", "status": "pending"}),
            404,
            "User not found.",
        ),
        (
            json!({"to_user": stranger, "status": "pending"}),
            404,
            "User not found.",
        ),
        (json!({"to_user": alice.id, "status": "pending"}), 400, SELF),
    ] {
        let (got, answer) = alice.post(&url, body).await;
        assert_eq!((got.as_u16(), &answer["detail"]), (status, &json!(detail)));
        assert!(answer["code"].is_string());
    }

    let (status, asked) = alice
        .post(&url, json!({"to_user": bob.id, "status": "pending"}))
        .await;
    assert_eq!(status.as_u16(), 201);
    assert_eq!(asked["from_user"]["username"], alice.username.as_str());
    assert_eq!(
        asked["to_user"]["email"],
        format!("{}@mail.example", bob.username)
    );
    assert_eq!(
        (&asked["status_from_user"], &asked["status_to_user"]),
        (&json!("pending"), &json!("pending"))
    );
    for (person, other) in [(&alice, &bob), (&bob, &alice)] {
        let (status, answer) = person
            .post(&url, json!({"to_user": other.id, "status": "accepted"}))
            .await;
        assert_eq!(
            (status.as_u16(), &answer["detail"]),
            (400, &json!("Friendship already exists."))
        );
    }

    let id = &asked["id"];
    const NOT_YOURS: &str = "You are not authorized to update this friendship.";
    for (person, body, status, detail) in [
        (
            &bob,
            json!({"friendship_id": id, "status": ""}),
            400,
            "Invalid status.",
        ),
        (
            &bob,
            json!({"status": "accepted"}),
            404,
            "Friendship not found.",
        ),
        (
            &bob,
            json!({"friendship_id": "x", "status": "accepted"}),
            404,
            "Friendship not found.",
        ),
        (
            &bob,
            json!({"friendship_id": stranger, "status": "accepted"}),
            404,
            "Friendship not found.",
        ),
        (
            &eve,
            json!({"friendship_id": id, "status": "accepted"}),
            403,
            NOT_YOURS,
        ),
    ] {
        let (got, answer) = person.patch(&url, body).await;
        assert_eq!((got.as_u16(), &answer["detail"]), (status, &json!(detail)));
    }
    // The one who asked changes the own side only.
    let (_, own) = alice
        .patch(&url, json!({"friendship_id": id, "status": "accepted"}))
        .await;
    assert_eq!(
        (&own["status_from_user"], &own["is_open"]),
        (&json!("accepted"), &json!(false))
    );

    let (_, list) = bob.get(&url).await;
    assert_eq!(list[0]["from_user"], alice.id.as_str());
    assert_eq!(list[0]["date_created"], asked["date_created"]);
    let (_, expanded) = bob.get(&format!("{url}?expand=users")).await;
    assert_eq!(
        expanded[0]["from_user"]["username"],
        alice.username.as_str()
    );
    assert_eq!(eve.get(&url).await.1, json!([]));
    let bare = reqwest::get(&url).await.expect("an answer");
    assert_eq!(bare.status().as_u16(), 401);
}

#[tokio::test]
async fn two_opposite_requests_make_one_friendship() {
    // The limits take locks of their own, which may not stand in the way.
    let app = start_with(&[("NATTER_RATE_LIMITS", "on")]).await;
    let url = format!("{}/api/users/friendship/", app.url());
    for _ in 0..10 {
        let alice = Person::sign_up(app.url(), "alice").await;
        let bob = Person::sign_up(app.url(), "bob").await;
        let (first, second) = tokio::join!(
            alice.post(&url, json!({"to_user": bob.id, "status": "accepted"})),
            bob.post(&url, json!({"to_user": alice.id, "status": "accepted"})),
        );
        let mut statuses = [first.0.as_u16(), second.0.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 400]);
    }
}
