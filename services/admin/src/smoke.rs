//! The whole of Natter as two people use it, from outside.

use std::{io::Write, time::Duration};

use anyhow::{Context, bail, ensure};
use clap::Args;
use futures_util::{SinkExt, StreamExt};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest, http::HeaderValue},
};
use uuid::Uuid;

/// The longest that one step may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Args)]
#[group(skip)]
pub struct Smoke {
    /// URL that clients reach Natter by, like `https://chat.example`
    #[arg(long, env = "NATTER_PUBLIC_URL")]
    url: String,
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Natter, asked over HTTP.
struct Api {
    client: Client,
    url: String,
}

/// A throwaway person.
struct Person {
    id: String,
    access: String,
    refresh: String,
    password: String,
}

impl Smoke {
    pub async fn run(self) -> anyhow::Result<()> {
        let url = self.url.trim_end_matches('/').to_owned();
        ensure!(
            url.starts_with("http://") || url.starts_with("https://"),
            "NATTER_PUBLIC_URL={url} must look like https://chat.example"
        );
        let client = Client::builder().timeout(STEP_TIMEOUT).build()?;
        let api = Api { client, url };
        let mut people = Vec::new();
        let talked = api.talk(&mut people).await;
        // Whatever happened, both accounts are deleted again.
        let mut deleted = Ok(());
        for person in &people {
            deleted = deleted.and(step("delete an account", api.delete(person)).await);
        }
        talked.and(deleted)
    }
}

impl Api {
    async fn talk(&self, people: &mut Vec<Person>) -> anyhow::Result<()> {
        for _ in 0..2 {
            people.push(step("sign up", self.sign_up()).await?);
        }
        for person in people.iter_mut() {
            person.id = step("read the profile", self.profile_id(person)).await?;
        }
        let [alice, bob] = people.as_slice() else {
            bail!("two people are needed");
        };
        let channel = step("ask for friendship", self.ask_friend(alice, bob)).await?;
        step("accept", self.accept(bob, &channel)).await?;
        let mut hers = step("open a WebSocket", self.connect(alice, &channel)).await?;
        let mut his = step("open another", self.connect(bob, &channel)).await?;
        let text = format!("smoke {}", Uuid::new_v4());
        let frame = json!({"type": "friendship", "channel": channel, "payload": text, "client_id": "smoke"});
        let sent = async {
            hers.send(Message::text(frame.to_string())).await?;
            frame_where(&mut hers, |frame| frame["type"] == "ack").await
        };
        let ack = step("send, until the ack", sent).await?;
        let received = frame_where(&mut his, |frame| frame["type"] == "friendship_message");
        let received = step("receive it", received).await?;
        ensure!(
            received["message"]["content"] == text.as_str() && received["seq"] == ack["seq"],
            "what was received is not what was sent"
        );
        let path = format!("/api/messages/status/friendship/{channel}/messages/");
        let history = step(
            "read the history",
            self.ask(Method::GET, &path, Some(bob), None),
        )
        .await?;
        ensure!(
            history["results"][0]["message"]["id"] == ack["message"],
            "the history does not have the message"
        );
        Ok(())
    }

    async fn sign_up(&self) -> anyhow::Result<Person> {
        let name = format!("smoke-{}", Uuid::new_v4().simple());
        let password = format!("Aa1!{}", Uuid::new_v4());
        let body = json!({
            "username": name,
            "password": password,
            "email": format!("{name}@smoke.invalid"),
        });
        let tokens = self
            .ask(Method::POST, "/api/users/signup/", None, Some(body))
            .await?;
        Ok(Person {
            id: String::new(),
            access: text(&tokens, "access")?,
            refresh: text(&tokens, "refresh")?,
            password,
        })
    }

    async fn profile_id(&self, person: &Person) -> anyhow::Result<String> {
        let profile = self.ask(Method::GET, "/api/users/profile/", Some(person), None);
        text(&profile.await?, "id")
    }

    async fn ask_friend(&self, alice: &Person, bob: &Person) -> anyhow::Result<String> {
        let body = json!({"to_user": bob.id, "status": "accepted"});
        let friendship = self.ask(
            Method::POST,
            "/api/users/friendship/",
            Some(alice),
            Some(body),
        );
        text(&friendship.await?, "id")
    }

    async fn accept(&self, bob: &Person, channel: &str) -> anyhow::Result<()> {
        let body = json!({"friendship_id": channel, "status": "accepted"});
        let friendship = self.ask(
            Method::PATCH,
            "/api/users/friendship/",
            Some(bob),
            Some(body),
        );
        ensure!(
            friendship.await?["is_open"] == true,
            "the channel did not open"
        );
        Ok(())
    }

    async fn delete(&self, person: &Person) -> anyhow::Result<()> {
        let body = json!({"password": person.password});
        let deleted = self.ask(
            Method::DELETE,
            "/api/users/profile/",
            Some(person),
            Some(body),
        );
        deleted.await.map(drop)
    }

    /// A connection on which the channel is open.
    async fn connect(&self, person: &Person, channel: &str) -> anyhow::Result<Socket> {
        let url = format!("ws{}/ws/messages/", self.url.trim_start_matches("http"));
        let mut request = url.as_str().into_client_request()?;
        let headers = request.headers_mut();
        let bearer = format!("Bearer {}", person.access);
        headers.insert("authorization", HeaderValue::from_str(&bearer)?);
        headers.insert("refresh", HeaderValue::from_str(&person.refresh)?);
        let (mut socket, _) = connect_async(request)
            .await
            .with_context(|| format!("{url} cannot be connected to"))?;
        frame_where(&mut socket, |frame| match frame["type"].as_str() {
            Some("ready") => frame["channels"].get(channel).is_some(),
            Some("friendship_update") => frame["friendship"]["is_open"] == true,
            _ => false,
        })
        .await?;
        Ok(socket)
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        person: Option<&Person>,
        body: Option<Value>,
    ) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.url);
        let mut request = self.client.request(method.clone(), &url);
        if let Some(person) = person {
            request = request.bearer_auth(&person.access);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.context("no answer")?;
        let status = answer.status();
        let body = answer.text().await.unwrap_or_default();
        ensure!(
            status.is_success(),
            "{method} {url} was answered {status}: {body}"
        );
        match status {
            StatusCode::NO_CONTENT => Ok(Value::Null),
            _ => serde_json::from_str(&body)
                .with_context(|| format!("{method} {url} was not answered with JSON")),
        }
    }
}

/// Does one step and tells how long it took.
async fn step<T>(what: &str, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let started = Instant::now();
    let done = timeout(STEP_TIMEOUT, work).await.with_context(|| {
        format!(
            "{what}: nothing came within {} seconds",
            STEP_TIMEOUT.as_secs()
        )
    })?;
    let done = done.with_context(|| what.to_owned())?;
    writeln!(
        std::io::stdout(),
        "{:>7.1} ms  {what}",
        started.elapsed().as_secs_f64() * 1e3
    )?;
    Ok(done)
}

async fn frame_where(socket: &mut Socket, is_it: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
    while let Some(message) = socket.next().await {
        match message? {
            Message::Text(text) => {
                let frame: Value = serde_json::from_str(&text)?;
                ensure!(frame["type"] != "error", "the gateway said {frame}");
                if is_it(&frame) {
                    return Ok(frame);
                }
            }
            Message::Close(frame) => bail!("the gateway closed the connection: {frame:?}"),
            _ => {}
        }
    }
    bail!("the connection ended")
}

fn text(value: &Value, field: &str) -> anyhow::Result<String> {
    let text = value[field].as_str().map(str::to_owned);
    text.with_context(|| format!("the answer has no {field}"))
}
