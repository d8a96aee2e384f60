//! People who use the public HTTP contract.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use reqwest::{
    Client, Method, RequestBuilder, Response, StatusCode,
    multipart::{Form, Part},
};
use serde_json::{Value, json};

use crate::{Socket, secrets};

pub const PASSWORD: &str = "Str0ng!pass";

/// Somebody who has signed up, with the tokens of one session.
#[derive(Clone)]
pub struct Person {
    pub http: Client,
    pub username: String,
    pub id: String,
    pub access: String,
    pub refresh: String,
}

/// Two people and their open channel.
pub struct Friends {
    pub alice: Person,
    pub bob: Person,
    pub channel: String,
}

impl Person {
    /// Signs up under a name that nobody else in this test run has.
    pub async fn sign_up(users: &str, name: &str) -> Self {
        Self::sign_up_with(users, name, PASSWORD).await
    }

    /// The same with another password than everybody has.
    pub async fn sign_up_with(users: &str, name: &str, password: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let username = format!("{name}{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let body = json!({
            "username": username, "password": password, "email": format!("{username}@mail.example"),
        });
        let http = Client::new();
        let answer = http
            .post(format!("{users}/api/users/signup/"))
            .json(&body)
            .send()
            .await;
        let answer = answer.expect("the users service answers");
        assert_eq!(
            answer.status(),
            StatusCode::CREATED,
            "{:?}",
            answer.text().await
        );
        let tokens: Value = answer.json().await.expect("tokens");
        let mut person = Self {
            http,
            username,
            id: String::new(),
            ..Self::of(&tokens)
        };
        let (status, profile) = person.get(&format!("{users}/api/users/profile/")).await;
        assert_eq!(status, StatusCode::OK, "{profile}");
        person.id = text(&profile["id"]);
        person
    }

    /// The same person in another session.
    pub async fn log_in(&self, users: &str) -> Self {
        let body = json!({"username": self.username, "password": PASSWORD});
        let answer = self
            .http
            .post(format!("{users}/api/users/login/"))
            .json(&body)
            .send()
            .await;
        let tokens: Value = answer.expect("an answer").json().await.expect("tokens");
        Self {
            http: self.http.clone(),
            username: self.username.clone(),
            id: self.id.clone(),
            ..Self::of(&tokens)
        }
    }

    fn of(tokens: &Value) -> Self {
        Self {
            http: Client::new(),
            username: String::new(),
            id: String::new(),
            access: text(&tokens["access"]),
            refresh: text(&tokens["refresh"]),
        }
    }

    pub async fn get(&self, url: &str) -> (StatusCode, Value) {
        self.ask(Method::GET, url, None).await
    }

    pub async fn post(&self, url: &str, body: Value) -> (StatusCode, Value) {
        self.ask(Method::POST, url, Some(body)).await
    }

    pub async fn patch(&self, url: &str, body: Value) -> (StatusCode, Value) {
        self.ask(Method::PATCH, url, Some(body)).await
    }

    async fn ask(&self, method: Method, url: &str, body: Option<Value>) -> (StatusCode, Value) {
        let request = self.request(method, url, body);
        let answer = request.send().await.expect("the service answers");
        let status = answer.status();
        (status, answer.json().await.expect("answers are JSON"))
    }

    /// Asks a service that may be away; returns its answer, if one comes within this time.
    pub async fn try_ask(
        &self,
        method: Method,
        url: &str,
        body: Option<Value>,
        patience: Duration,
    ) -> Option<(u16, Value)> {
        let request = self.request(method, url, body).timeout(patience);
        let answer = request.send().await.ok()?;
        let status = answer.status();
        let body = answer.bytes().await.ok()?;
        let body = serde_json::from_slice(&body);
        Some((status.as_u16(), body.unwrap_or(Value::Null)))
    }

    fn request(&self, method: Method, url: &str, body: Option<Value>) -> RequestBuilder {
        let request = self.http.request(method, url).bearer_auth(&self.access);
        match body {
            Some(body) => {
                secrets::note(&body);
                request.json(&body)
            }
            None => request,
        }
    }

    /// Sends a file in a form, beside the field `payload` with a text.
    pub async fn upload(&self, url: &str, field: &str, name: &str, bytes: &[u8]) -> (u16, Value) {
        let file = Part::bytes(bytes.to_vec()).file_name(name.to_owned());
        let form = Form::new()
            .part(field.to_owned(), file)
            .text("payload", "with a file");
        let request = self.http.post(url).bearer_auth(&self.access);
        let answer = request.multipart(form).send().await.expect("an answer");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }

    pub async fn download(&self, url: &str, range: Option<&str>) -> Response {
        let mut request = self.http.get(url).bearer_auth(&self.access);
        if let Some(range) = range {
            request = request.header("range", range);
        }
        request.send().await.expect("an answer")
    }

    /// Connects as a basic client (without `natter.v1`), and waits for `ready`.
    pub async fn connect(&self, gateway: &str) -> Socket {
        self.open(gateway, None).await.0
    }

    /// Connects with the full protocol; also the channels of `ready`. The caller must send `resume`.
    pub async fn connect_full(&self, gateway: &str) -> (Socket, Value) {
        self.open(gateway, Some("natter.v1")).await
    }

    async fn open(&self, gateway: &str, protocol: Option<&str>) -> (Socket, Value) {
        let mut headers = self.headers();
        headers.extend(protocol.map(|name| ("sec-websocket-protocol", name.to_owned())));
        let socket = Socket::connect(gateway, &headers).await;
        let mut socket = socket.unwrap_or_else(|error| panic!("not connected: {error}"));
        let ready = socket.frame("ready").await;
        (socket, ready["channels"].clone())
    }

    /// The headers of an upgrade.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        vec![
            ("authorization", format!("Bearer {}", self.access)),
            ("refresh", self.refresh.clone()),
        ]
    }

    /// The whole history of a channel, oldest first.
    pub async fn history(&self, messages: &str, channel: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut url = Some(format!(
            "{messages}/api/messages/status/friendship/{channel}/messages/?page_size=100"
        ));
        while let Some(page) = url {
            let (status, page) = self.get(&page).await;
            assert_eq!(status, StatusCode::OK, "{page}");
            items.extend(page["results"].as_array().cloned().unwrap_or_default());
            url = page["next"].as_str().map(str::to_owned);
        }
        items
    }
}

/// Two people become friends; their channel is open when this returns.
pub async fn befriend(friendships: &str, alice: &Person, bob: &Person) -> String {
    let url = format!("{friendships}/api/users/friendship/");
    let ask = json!({"to_user": bob.id, "status": "accepted"});
    let (status, asked) = alice.post(&url, ask).await;
    assert_eq!(status, StatusCode::CREATED, "{asked}");
    let channel = text(&asked["id"]);
    let accept = json!({"friendship_id": channel, "status": "accepted"});
    let (status, accepted) = bob.patch(&url, accept).await;
    assert_eq!(status, StatusCode::OK, "{accepted}");
    assert_eq!(accepted["is_open"], true);
    channel
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("not a text: {value}"))
        .to_owned()
}
