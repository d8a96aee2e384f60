//! Names and passwords, however people type them.

use natter_test_support::Person;
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::{post, start};

#[tokio::test]
async fn any_spelling_that_folds_to_a_name_is_that_name() {
    let app = start(&[]).await;
    let (signup, login) = ("/api/users/signup/", "/api/users/login/");
    let url = |path: &str| format!("{}{path}", app.url());
    let sharp = "ß".repeat(150);
    for (name, spellings) in [
        ("İnci", vec!["i\u{307}nci".to_owned(), "İNCI".to_owned()]),
        (&sharp, vec!["SS".repeat(150), "ẞ".repeat(150)]),
        ("οδος", vec!["ΟΔΟΣ".to_owned(), "οδοσ".to_owned()]),
        ("ﬁona", vec!["FIONA".to_owned(), "fiona".to_owned()]),
    ] {
        let account = |username: &str| json!({"username": username, "password": "Str0ng!pass", "email": "a@mail.example"});
        let (status, answer) = post(&url(signup), account(name)).await;
        assert_eq!(status, 201, "{name}: {answer}");
        for spelling in spellings {
            let body = json!({"username": spelling, "password": "Str0ng!pass"});
            let (status, answer) = post(&url(login), body).await;
            assert_eq!(status, 200, "{spelling}: {answer}");
            let (status, answer) = post(&url(signup), account(&spelling)).await;
            assert_eq!(
                (status, &answer["code"]),
                (400, &json!("username_taken")),
                "{spelling}"
            );
        }
    }
    // What no name can be is no reason for a failure of ours.
    for name in ["a\0b", " ", &"x".repeat(10_000)] {
        let body = json!({"username": name, "password": "Str0ng!pass"});
        assert_eq!(post(&url(login), body).await.0, 401, "{name:?}");
    }
}

#[tokio::test]
async fn failures_of_one_malformed_name_lock_out_no_other() {
    let app = start(&[]).await;
    let url = format!("{}/api/users/login/", app.url());
    let body = |name: &str| json!({"username": name, "password": "Wr0ng!pass"});
    for _ in 0..10 {
        assert_eq!(post(&url, body("not a name")).await.0, 401);
    }
    assert_eq!(post(&url, body("not a name")).await.0, 429);
    assert_eq!(
        post(&url, body("Not A Name")).await.0,
        429,
        "the same in other case"
    );
    assert_eq!(post(&url, body("alice ")).await.0, 401);
}

#[tokio::test]
async fn a_password_is_the_same_however_its_letters_are_composed() {
    let app = start(&[]).await;
    let (composed, decomposed) = ("Caf\u{e9}!pass1", "Cafe\u{301}!pass1");
    let url = |path: &str| format!("{}/api/users/{path}/", app.url());
    let login = async |username: &str, password: &str| {
        let body = json!({"username": username, "password": password});
        post(&url("login"), body).await.0
    };
    for (name, first) in [("composed", composed), ("decomposed", decomposed)] {
        let account = json!({"username": name, "password": first, "email": "a@mail.example"});
        assert_eq!(post(&url("signup"), account).await.0, 201);
        for typed in [composed, decomposed] {
            assert_eq!(login(name, typed).await, 200, "{name}");
        }
        assert_eq!(login(name, "Cafe!pass1").await, 401);
    }
    // Where it is changed, and where it confirms a deletion.
    let body = json!({"username": "composed", "password": decomposed});
    let (_, tokens) = post(&url("login"), body).await;
    let access = tokens["access"].as_str().expect("a token").to_owned();
    let ask = async |method: Method, path: &str, body: Value| {
        let request = Client::new()
            .request(method, url(path))
            .bearer_auth(&access);
        request
            .json(&body)
            .send()
            .await
            .expect("an answer")
            .status()
            .as_u16()
    };
    let change = json!({"current": decomposed, "new": "Nai\u{308}ve!pass1"});
    assert_eq!(ask(Method::POST, "password", change).await, 200);
    assert_eq!(login("composed", "Na\u{ef}ve!pass1").await, 200);
    let gone = json!({"password": "Na\u{ef}ve!pass1"});
    assert_eq!(ask(Method::DELETE, "profile", gone).await, 204);
}

#[tokio::test]
async fn three_tabs_that_refresh_at_once_stay_logged_in() {
    let app = start(&[]).await;
    let alice = Person::sign_up(app.url(), "alice").await;
    let url = format!("{}/api/users/refresh-token/", app.url());
    let first = alice.refresh.clone();
    let (_, second) = alice.post(&url, json!({"refresh": first})).await;
    let (_, third) = alice
        .post(&url, json!({"refresh": second["refresh"]}))
        .await;
    assert_ne!(second["refresh"], third["refresh"]);
    for late in [json!(first), second["refresh"].clone(), json!(first)] {
        let (status, newest) = alice.post(&url, json!({"refresh": late})).await;
        assert_eq!(status.as_u16(), 200, "{newest}");
        assert_eq!(
            newest["refresh"], third["refresh"],
            "not the newest successor"
        );
    }
    let (status, _) = alice.post(&url, json!({"refresh": third["refresh"]})).await;
    assert_eq!(status.as_u16(), 200, "the session has ended");
}

#[tokio::test]
async fn answers_with_tokens_are_kept_by_no_cache() {
    let app = start(&[]).await;
    let alice = Person::sign_up(app.url(), "alice").await;
    let url = |path: &str| format!("{}/api/users/{path}/", app.url());
    let account = json!({"username": "bob", "password": "Str0ng!pass", "email": "b@mail.example"});
    for (path, body) in [
        ("signup", account),
        (
            "login",
            json!({"username": "bob", "password": "Str0ng!pass"}),
        ),
        ("refresh-token", json!({"refresh": alice.refresh})),
    ] {
        let request = Client::new().post(url(path)).bearer_auth(&alice.access);
        let answer = request.json(&body).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{path}");
        assert_eq!(answer.headers()["cache-control"], "no-store", "{path}");
    }
    for method in [Method::PATCH, Method::DELETE] {
        let request = Client::new()
            .request(method.clone(), url("profile"))
            .bearer_auth(&alice.access);
        let request = request
            .header("content-type", "application/json")
            .body("null");
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 400, "{method}");
    }
}
