//! Limits of requests, however they arrive, and events that tell of something.

use futures_util::future::join_all;
use natter_test_support::{Person, until};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use crate::start;

async fn log_in(app: &str, username: &str, password: &str) -> StatusCode {
    let body = json!({"username": username, "password": password});
    let request = Client::new().post(format!("{app}/api/users/login/"));
    let answer = request.json(&body).send().await.expect("an answer");
    answer.status()
}

#[tokio::test]
async fn logins_at_the_same_time_have_no_more_tries_than_one_after_the_other() {
    let app = start(&[]).await;
    let alice = Person::sign_up(app.url(), "alice").await;
    // None of those that are right is refused, however many there are at once.
    let right = (0..15).map(|_| log_in(app.url(), &alice.username, "Str0ng!pass"));
    assert_eq!(join_all(right).await, [StatusCode::OK; 15]);
    let wrong = (0..40).map(|_| log_in(app.url(), &alice.username, "Wr0ng!pass"));
    let answers = join_all(wrong).await;
    let count = |status| answers.iter().filter(|answer| **answer == status).count();
    assert_eq!(count(StatusCode::UNAUTHORIZED), 10, "{answers:?}");
    assert_eq!(count(StatusCode::TOO_MANY_REQUESTS), 30, "{answers:?}");
}

#[tokio::test]
async fn a_profile_may_change_sixty_times_a_minute() {
    let app = start(&[("NATTER_RATE_LIMITS", "on")]).await;
    let alice = Person::sign_up(app.url(), "alice").await;
    let bob = Person::sign_up(app.url(), "bob").await;
    let url = format!("{}/api/users/profile/", app.url());
    for number in 0..60 {
        let (status, answer) = alice
            .patch(&url, json!({"first_name": number.to_string()}))
            .await;
        assert_eq!(status, StatusCode::OK, "{number}: {answer}");
    }
    let request = Client::new().patch(&url).bearer_auth(&alice.access);
    let refused = request.json(&json!({"first_name": "Al"})).send().await;
    let refused = refused.expect("an answer");
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers().contains_key("retry-after"));
    let body: Value = refused.json().await.expect("JSON");
    assert_eq!(body["code"], "rate_limited");
    let (status, _) = bob.patch(&url, json!({"first_name": "Bob"})).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn a_profile_that_stays_as_it_was_is_no_event() {
    let app = start(&[]).await;
    let alice = Person::sign_up(app.url(), "alice").await;
    let url = format!("{}/api/users/profile/", app.url());
    for change in [
        json!({"first_name": "Al"}),
        json!({"first_name": "Al", "last_name": ""}),
        json!({}),
        json!({"personal_image": null}),
        json!({"last_name": "L"}),
    ] {
        let (status, answer) = alice.patch(&url, change).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
    let told: Vec<String> = until("the last change is told", || async {
        let mut db = app.postgres.admin("natter").await;
        let rows = sqlx::query_scalar(
            "SELECT payload::json -> 'user' ->> 'last_name' FROM users.outbox
             WHERE subject LIKE '%.profile_changed' ORDER BY id",
        );
        let rows: Vec<String> = rows.fetch_all(&mut db).await.expect("rows");
        rows.contains(&"L".to_owned()).then_some(rows)
    })
    .await;
    assert_eq!(told, ["", "L"]);
}
