//! Accounts over HTTP.

use natter_test_support::{PNG, Person, until};
use reqwest::{
    Client, StatusCode,
    multipart::{Form, Part},
};
use serde_json::{Value, json};

use crate::{post, start};

#[tokio::test]
async fn signup_says_what_is_wrong() {
    let app = start(&[]).await;
    let url = format!("{}/api/users/signup/", app.url());
    let good = json!({
        "username": "Ångström", "password": "Str0ng!pass", "email": "a@mail.example",
    });
    let (status, tokens) = post(&url, good.clone()).await;
    assert_eq!(status, 201, "{tokens}");
    assert!(tokens["access"].is_string() && tokens["refresh"].is_string());

    const REQUIRED: &str = "Username, email, and password are required.";
    const TAKEN: &str = "A user with that username already exists.";
    const SHORT: &str = "Password is too short. It must contain at least 8 characters.";
    for (field, value, sentence) in [
        ("username", json!(null), REQUIRED),
        ("username", json!(""), REQUIRED),
        ("username", json!(5), REQUIRED),
        ("password", json!(""), REQUIRED),
        ("email", json!([]), REQUIRED),
        // The same name in another notation of Unicode, and in other case.
        ("username", json!("A\u{30a}NGSTRÖM"), TAKEN),
        (
            "username",
            json!("a b"),
            "Enter a valid username: 1 to 150 letters, digits and @ . + - _ characters.",
        ),
        ("email", json!("nowhere"), "Enter a valid email address."),
        ("password", json!("Ab1!"), SHORT),
        (
            "password",
            json!("password1!"),
            "Password must contain at least an upper-case letter.",
        ),
        (
            "first_name",
            json!("x".repeat(151)),
            "first_name has at most 150 characters.",
        ),
        (
            "personal_image",
            json!("text"),
            "personal_image must be a file.",
        ),
    ] {
        let mut body = good.clone();
        body[field] = value;
        let (status, answer) = post(&url, body).await;
        assert_eq!(
            (status, &answer["error"]),
            (400, &json!(sentence)),
            "{field}"
        );
        assert!(answer["code"].is_string());
    }
}

#[tokio::test]
async fn bodies_that_are_none_get_an_error_body() {
    let app = start(&[]).await;
    let url = format!("{}/api/users/login/", app.url());
    let http = Client::new();
    for (content_type, body, status, code) in [
        ("application/json", "{", 400, "malformed_body"),
        ("application/json", "[]", 400, "malformed_body"),
        (
            "application/json",
            "{\"username\": \"a\", \"username\": \"b\"}",
            400,
            "malformed_body",
        ),
        // What no text of ours can hold, in a field that nobody reads.
        (
            "application/json",
            "{\"x\": \"\\u0000\"}",
            400,
            "credentials_required",
        ),
        ("text/plain", "x", 415, "unsupported_media_type"),
        ("multipart/form-data", "x", 400, "malformed_body"),
        ("application/json", &"x".repeat(100_000), 413, "too_large"),
        ("application/json", "{}", 400, "credentials_required"),
        (
            "application/x-www-form-urlencoded",
            "username=a&username=b&password=c",
            400,
            "credentials_required",
        ),
        (
            "application/x-www-form-urlencoded",
            "username=a",
            400,
            "credentials_required",
        ),
    ] {
        let request = http
            .post(&url)
            .header("content-type", content_type)
            .body(body.to_owned());
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), status, "{content_type}");
        let answer: Value = answer.json().await.expect("JSON");
        assert_eq!(answer["code"], code);
        assert!(answer["error"].is_string());
    }
    // Without the slash it is the same, another method is told which there are.
    let answer = http
        .get(url.trim_end_matches('/'))
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.headers()["allow"], "POST");
    let request = http
        .get(format!("{}/api/users/nothing/", app.url()))
        .header("x-request-id", "r-1");
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.headers()["x-request-id"], "r-1");
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_login_is_right_or_refused_alike() {
    let app = start(&[]).await;
    let alice = Person::sign_up(app.url(), "alice").await;
    let url = format!("{}/api/users/login/", app.url());
    let refused = (
        401,
        json!({"error": "Invalid Credentials", "code": "invalid_credentials"}),
    );
    for (username, password) in [
        (alice.username.as_str(), "Wr0ng!pass"),
        ("nobody", "Str0ng!pass"),
    ] {
        let body = json!({"username": username, "password": password});
        assert_eq!(post(&url, body).await, refused);
    }
    let missing = "Username and password are required";
    let (status, answer) = post(&url, json!({"username": alice.username})).await;
    assert_eq!((status, &answer["error"]), (400, &json!(missing)));
    let body = json!({"username": alice.username, "password": "Str0ng!pass"});
    assert_eq!(post(&url, body).await.0, 200);
}

#[tokio::test]
async fn a_refresh_token_counts_once() {
    let settings = [("NATTER_REFRESH_GRACE_SECONDS", "0")];
    let app = start(&settings).await;
    let alice = Person::sign_up(app.url(), "alice").await;
    let url = format!("{}/api/users/refresh-token/", app.url());
    let refused = json!({"error": "Invalid or expired refresh token", "code": "invalid_refresh"});

    let without = Client::new()
        .post(&url)
        .json(&json!({"refresh": alice.refresh}));
    let without = without.send().await.expect("an answer");
    assert_eq!(without.headers()["www-authenticate"], "Bearer");
    let without: Value = without.json().await.expect("JSON");
    assert_eq!(
        without["detail"],
        "Authentication credentials were not provided."
    );
    let (status, missing) = alice.post(&url, json!({})).await;
    assert_eq!(
        (status.as_u16(), &missing["error"]),
        (400, &json!("Refresh token is required"))
    );
    let (status, swapped) = alice.post(&url, json!({"refresh": alice.access})).await;
    assert_eq!((status.as_u16(), swapped), (401, refused.clone()));

    let (status, renewed) = alice.post(&url, json!({"refresh": alice.refresh})).await;
    assert_eq!(status, StatusCode::OK, "{renewed}");
    assert_ne!(renewed["refresh"], alice.refresh.as_str());
    // The old one again, past the grace: somebody has stolen one, and the session ends.
    let (status, theft) = alice.post(&url, json!({"refresh": alice.refresh})).await;
    assert_eq!((status.as_u16(), &theft), (401, &refused));
    let (status, _) = alice
        .post(&url, json!({"refresh": renewed["refresh"]}))
        .await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_lost_answer_to_a_refresh_is_repeated() {
    let app = start(&[]).await;
    let alice = Person::sign_up(app.url(), "alice").await;
    let url = format!("{}/api/users/refresh-token/", app.url());
    let (_, first) = alice.post(&url, json!({"refresh": alice.refresh})).await;
    let (status, again) = alice.post(&url, json!({"refresh": alice.refresh})).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(again["refresh"], first["refresh"]);
}

#[tokio::test]
async fn logout_wants_ones_own_refresh_token() {
    let app = start(&[]).await;
    let alice = Person::sign_up(app.url(), "alice").await;
    let bob = Person::sign_up(app.url(), "bob").await;
    let url = format!("{}/api/users/logout/", app.url());
    for (body, status, error) in [
        (json!({}), 400, "Refresh token is required"),
        (
            json!({"refresh": "garbled"}),
            401,
            "Invalid or expired refresh token",
        ),
        (json!({"refresh": alice.access}), 401, "Invalid token"),
        (json!({"refresh": bob.refresh}), 401, "Invalid token"),
    ] {
        let (got, answer) = alice.post(&url, body).await;
        assert_eq!((got.as_u16(), &answer["error"]), (status, &json!(error)));
    }
    let laptop = alice.log_in(app.url()).await;
    assert_eq!(
        alice.post(&url, json!({"refresh": alice.refresh})).await.0,
        StatusCode::OK
    );
    let (status, answer) = laptop.post(&url, json!({"refresh": alice.refresh})).await;
    let gone = json!("Invalid or expired refresh token");
    assert_eq!((status.as_u16(), &answer["error"]), (401, &gone));
}

#[tokio::test]
async fn a_profile_changes_where_it_is_told_to() {
    let app = start(&[]).await;
    let alice = Person::sign_up(app.url(), "alice").await;
    let url = format!("{}/api/users/profile/", app.url());
    let change = json!({"first_name": "Al", "username": "other", "unknown": 1});
    let (status, profile) = alice.patch(&url, change).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        (&profile["first_name"], &profile["username"]),
        (&json!("Al"), &json!(alice.username))
    );
    assert_eq!(profile["personal_image"], Value::Null);

    let send = |bytes: &'static [u8]| {
        let file = Part::bytes(bytes).file_name("me.png");
        let form = Form::new().part("personal_image", file);
        alice
            .http
            .patch(&url)
            .bearer_auth(&alice.access)
            .multipart(form)
            .send()
    };
    let refused = send(b"<svg/>").await.expect("an answer");
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    let stored: Value = send(PNG)
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    assert_eq!(stored["first_name"], "Al");
    let image = stored["personal_image"].as_str().expect("a URL");
    assert!(image.starts_with(app.url()), "{image}");
    let served = reqwest::get(image).await.expect("an answer");
    assert_eq!(served.status(), StatusCode::OK);
    assert_eq!(served.headers()["x-content-type-options"], "nosniff");
    assert!(
        served.headers()["cache-control"]
            .to_str()
            .is_ok_and(|text| text.contains("immutable"))
    );

    // One that broke off before its first byte removes nothing.
    let refused = send(b"").await.expect("an answer");
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    let (_, kept) = alice.get(&url).await;
    assert_eq!(kept["personal_image"], image);

    let (_, removed) = alice.patch(&url, json!({"personal_image": null})).await;
    assert_eq!(removed["personal_image"], Value::Null);
    until("the image is gone", || async {
        let answer = reqwest::get(image).await.expect("an answer");
        (answer.status() == StatusCode::NOT_FOUND).then_some(())
    })
    .await;
    assert_eq!(alice.get(&url).await.1, removed);
}

#[tokio::test]
async fn users_are_found_by_a_part_of_their_name() {
    let app = start(&[]).await;
    let alice = Person::sign_up(app.url(), "alice").await;
    for name in ["Bob", "bobby", "carol"] {
        Person::sign_up(app.url(), name).await;
    }
    let url = format!("{}/api/users/", app.url());
    let (_, found) = alice.get(&format!("{url}?username=BOB&page_size=1")).await;
    assert_eq!(
        (&found["count"], &found["previous"]),
        (&json!(2), &json!(null))
    );
    let next = found["next"].as_str().expect("a next page");
    assert!(
        next.contains("username=BOB") && next.contains("page_size=1"),
        "{next}"
    );
    let (_, second) = alice.get(next).await;
    assert_eq!(second["results"].as_array().map(Vec::len), Some(1));
    assert_eq!(second["next"], Value::Null);
    let (_, everyone) = alice.get(&url).await;
    assert_eq!(everyone["count"], 4);
    for (query, status, error) in [
        ("page=0", 400, "Invalid query parameters."),
        ("page=x", 400, "Invalid query parameters."),
        ("page_size=-1", 400, "Invalid query parameters."),
        ("page=9", 404, "Invalid page."),
    ] {
        let (got, answer) = alice.get(&format!("{url}?{query}")).await;
        assert_eq!(
            (got.as_u16(), &answer["error"]),
            (status, &json!(error)),
            "{query}"
        );
    }
    // What means something in a pattern is a character like any other.
    for (part, count) in [("%25", 0), ("_", 0), ("%5C", 0), ("b", 2), ("ob", 2)] {
        let (_, found) = alice.get(&format!("{url}?username={part}")).await;
        assert_eq!(found["count"], count, "{part}");
    }
    let (status, nobody) = alice.get(&format!("{url}?username=zzz")).await;
    assert_eq!((status, &nobody["results"]), (StatusCode::OK, &json!([])));
}

#[tokio::test]
async fn repeated_failures_are_refused_for_a_while() {
    let app = start(&[]).await;
    let alice = Person::sign_up(app.url(), "alice").await;
    let url = format!("{}/api/users/login/", app.url());
    let body = json!({"username": alice.username, "password": "Wr0ng!pass"});
    for _ in 0..10 {
        assert_eq!(post(&url, body.clone()).await.0, 401);
    }
    let refused = Client::new()
        .post(&url)
        .json(&body)
        .send()
        .await
        .expect("an answer");
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers().contains_key("retry-after"));
    let answer: Value = refused.json().await.expect("JSON");
    assert_eq!(answer["code"], "rate_limited");
}

#[tokio::test]
async fn too_many_sign_ups_are_refused_for_a_while() {
    let limits = [("NATTER_RATE_LIMITS", "on")];
    let app = start(&limits).await;
    let alice = Person::sign_up(app.url(), "alice").await;
    let url = format!("{}/api/users/signup/", app.url());
    let again = json!({
        "username": alice.username, "password": "Str0ng!pass", "email": "a@mail.example",
    });
    for number in 1..=10 {
        let answer = Client::new().post(&url).json(&again).send().await;
        let answer = answer.expect("an answer");
        match number {
            // The first was the real one.
            1..=9 => assert_eq!(answer.status(), StatusCode::BAD_REQUEST),
            _ => {
                assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
                let seconds = answer.headers()["retry-after"].to_str();
                let seconds: u32 = seconds.expect("text").parse().expect("seconds");
                assert!((1..=300).contains(&seconds));
                let body: Value = answer.json().await.expect("JSON");
                let text = "Too many attempts; try again later.";
                assert_eq!(body, json!({"error": text, "code": "rate_limited"}));
            }
        }
    }
}
