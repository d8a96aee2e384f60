//! Limits of requests, however they arrive.

use futures_util::future::join_all;
use natter_test_support::Person;
use reqwest::{Client, StatusCode};
use serde_json::json;

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
