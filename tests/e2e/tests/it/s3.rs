//! The media store in an S3 bucket, on the S3 server of moto.

use std::process::Stdio;

use natter_e2e::{Topology, World, python};
use natter_test_support::{Friends, PNG, free_port, until};
use reqwest::{
    StatusCode,
    multipart::{Form, Part},
};
use serde_json::{Value, json};
use tokio::process::Child;

const BUCKET: &str = "natter";

/// A server with an empty bucket, and its URL.
async fn s3() -> (Child, String) {
    let port = free_port();
    let server = python(&["-m", "moto.server"])
        .args(["-H", "127.0.0.1", "-p", &port.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("python3 is there");
    let url = format!("http://127.0.0.1:{port}");
    let bucket = format!("{url}/{BUCKET}");
    until("the bucket is made", || async {
        let made = reqwest::Client::new().put(&bucket).send().await.ok()?;
        made.status().is_success().then_some(())
    })
    .await;
    (server, url)
}

fn settings(url: &str) -> [(&str, &str); 4] {
    [
        ("NATTER_MEDIA_S3_BUCKET", BUCKET),
        ("NATTER_MEDIA_S3_ENDPOINT", url),
        ("NATTER_MEDIA_S3_ACCESS_KEY_ID", "id"),
        ("NATTER_MEDIA_S3_SECRET_ACCESS_KEY", "a secret"),
    ]
}

#[tokio::test]
async fn files_live_in_a_bucket() {
    let (mut server, url) = s3().await;
    let world = World::start_with(Topology::Standalone, &settings(&url)).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let send = format!(
        "{}/api/messages/status/friendship/{channel}/messages/",
        world.messages()
    );
    let file = Part::bytes(b"0123456789".to_vec()).file_name("a.txt");
    let form = Form::new().text("payload", "look").part("file", file);
    let request = alice
        .http
        .post(&send)
        .bearer_auth(&alice.access)
        .multipart(form);
    let sent: Value = request
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    let file = sent["message"]["media"][0]["file"].as_str().expect("a URL");

    let get = async |range: Option<&str>| {
        let mut request = bob.http.get(file).bearer_auth(&bob.access);
        if let Some(range) = range {
            request = request.header("range", range);
        }
        let answer = request.send().await.expect("an answer");
        (answer.status(), answer.text().await.expect("a text"))
    };
    assert_eq!(get(None).await, (StatusCode::OK, "0123456789".to_owned()));
    let part = (StatusCode::PARTIAL_CONTENT, "234".to_owned());
    assert_eq!(get(Some("bytes=2-4")).await, part);

    // An image of a profile is there too.
    let image = Part::bytes(PNG.to_vec()).file_name("a.png");
    let profile = format!("{}/api/users/profile/", world.users());
    let request = alice.http.patch(&profile).bearer_auth(&alice.access);
    let form = Form::new().part("personal_image", image);
    let changed = request.multipart(form).send().await.expect("an answer");
    let changed: Value = changed.json().await.expect("JSON");
    let image = changed["personal_image"].as_str().expect("a URL");
    let image = reqwest::get(image).await.expect("an answer");
    assert_eq!(image.headers()["content-type"], "image/jpeg");

    // Without it files are unavailable, and everything else goes on.
    server.kill().await.expect("it runs");
    let request = bob.http.get(file).bearer_auth(&bob.access);
    let refused = request.send().await.expect("an answer");
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    let text = "The service is unavailable right now; try again shortly.";
    let body: Value = refused.json().await.expect("JSON");
    assert_eq!(body, json!({"error": text, "code": "unavailable"}));
    let words = json!({"payload": "still here"});
    assert_eq!(alice.post(&send, words).await.0, StatusCode::CREATED);
}
