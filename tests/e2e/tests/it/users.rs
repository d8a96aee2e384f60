//! What ends for other services with a session or an account.

use natter_e2e::{Topology, World};
use natter_test_support::{Friends, Person};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

async fn post(url: &str, body: Value) -> (u16, Value) {
    let answer = Client::new()
        .post(url)
        .json(&body)
        .send()
        .await
        .expect("an answer");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

#[tokio::test]
async fn a_new_password_ends_every_other_session() {
    let world = World::start(Topology::Standalone).await;
    let phone = Person::sign_up(&world.users(), "alice").await;
    let laptop = phone.log_in(&world.users()).await;
    let mut socket = laptop.connect(&world.gateway()).await;
    let url = format!("{}/api/users/password/", world.users());
    let short = "Password is too short. It must contain at least 8 characters.";
    for (body, status, error) in [
        (
            json!({"current": "Str0ng!pass"}),
            400,
            "Current and new password are required.",
        ),
        (
            json!({"current": "Wr0ng!pass", "new": "N3w!password"}),
            401,
            "Invalid Credentials",
        ),
        (
            json!({"current": "Str0ng!pass", "new": "short"}),
            400,
            short,
        ),
    ] {
        let (got, answer) = phone.post(&url, body).await;
        assert_eq!((got.as_u16(), &answer["error"]), (status, &json!(error)));
    }
    let body = json!({"current": "Str0ng!pass", "new": "N3w!password"});
    let (status, answer) = phone.post(&url, body).await;
    assert_eq!(status, StatusCode::OK);
    assert!(answer["message"].is_string());
    assert_eq!(socket.closed().await, Some(4001));
    let login = format!("{}/api/users/login/", world.users());
    for (password, status) in [("Str0ng!pass", 401), ("N3w!password", 200)] {
        let body = json!({"username": phone.username, "password": password});
        assert_eq!(post(&login, body).await.0, status);
    }
    assert_eq!(
        phone
            .get(&format!("{}/api/users/profile/", world.users()))
            .await
            .0,
        StatusCode::OK
    );
}

#[tokio::test]
async fn sessions_are_listed_and_ended() {
    let world = World::start(Topology::Standalone).await;
    let phone = Person::sign_up(&world.users(), "alice").await;
    let laptop = phone.log_in(&world.users()).await;
    let eve = Person::sign_up(&world.users(), "eve").await;
    let url = format!("{}/api/users/sessions/", world.users());
    let (_, sessions) = phone.get(&url).await;
    let sessions = sessions.as_array().expect("a list");
    assert_eq!(sessions.len(), 2);
    let current: Vec<&Value> = sessions
        .iter()
        .filter(|one| one["current"] == true)
        .collect();
    assert_eq!(current.len(), 1);
    let other = sessions
        .iter()
        .find(|one| one["current"] == false)
        .expect("the laptop");
    assert!(other["created_at"].is_string() && other["user_agent"].is_string());
    let end = async |person: &Person, sid: &str| {
        let request = person
            .http
            .delete(format!("{url}{sid}/"))
            .bearer_auth(&person.access);
        request.send().await.expect("an answer").status().as_u16()
    };
    let sid = other["sid"].as_str().expect("an id");
    let mut socket = laptop.connect(&world.gateway()).await;
    assert_eq!(end(&eve, sid).await, 404);
    assert_eq!(end(&phone, "x").await, 404);
    assert_eq!(end(&phone, sid).await, 204);
    assert_eq!(end(&phone, sid).await, 404);
    assert_eq!(socket.closed().await, Some(4001));
}

#[tokio::test]
async fn a_deleted_account_is_gone_and_its_messages_stay() {
    let world = World::start(Topology::Apart).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let mut alice_socket = alice.connect(&world.gateway()).await;
    let mut bob_socket = bob.connect(&world.gateway_2()).await;
    alice_socket.say(&channel, "a-1", "Goodbye").await;
    let url = format!("{}/api/users/profile/", world.users());
    let delete = async |password: &str| {
        let body = json!({"password": password});
        let request = alice
            .http
            .delete(&url)
            .bearer_auth(&alice.access)
            .json(&body);
        request.send().await.expect("an answer").status().as_u16()
    };
    assert_eq!(delete("Wr0ng!pass").await, 401);
    assert_eq!(delete("Str0ng!pass").await, 204);
    assert_eq!(alice_socket.closed().await, Some(4001));
    let update = bob_socket.frame("friendship_update").await;
    assert_eq!(update["friendship"]["is_open"], false);
    assert_eq!(update["friendship"]["from_user"]["username"], "");
    let refused = bob_socket
        .say_until_decided(&channel, "b-1", "Alice?")
        .await;
    assert_eq!(refused["code"], "channel_closed");
    let history = bob.history(&world.messages(), &channel).await;
    assert_eq!(history[0]["message"]["content"], "Goodbye");
    // The name is free again.
    let body = json!({
        "username": alice.username, "password": "Str0ng!pass", "email": "b@mail.example",
    });
    assert_eq!(
        post(&format!("{}/api/users/signup/", world.users()), body)
            .await
            .0,
        201
    );
}
