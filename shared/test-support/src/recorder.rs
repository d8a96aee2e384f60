//! A link to NATS that remembers what is published through it.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy},
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
};

use crate::detour::Detour;

/// What was published, in its order: who (`user`), where (`subject`), where an answer was to go
/// (`reply`), the `headers` and the `payload`.
type Published = Arc<Mutex<Vec<Value>>>;

pub struct Recorder {
    detour: Detour,
    published: Published,
}

impl Recorder {
    pub async fn start(server: &str) -> Self {
        let published = Published::default();
        let record = published.clone();
        let detour = Detour::start(server, move |client, upstream| {
            let record = record.clone();
            async move {
                let (from_client, mut to_client) = client.into_split();
                let (mut from_server, to_server) = upstream.into_split();
                tokio::select! {
                    _ = pass(BufReader::new(from_client), to_server, record) => {}
                    _ = copy(&mut from_server, &mut to_client) => {}
                }
            }
        });
        Self {
            detour: detour.await,
            published,
        }
    }

    pub fn url(&self) -> String {
        self.detour.url()
    }

    /// Everything so far.
    pub fn published(&self) -> Vec<Value> {
        let published = self.published.lock();
        published.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a client says, remembered where it publishes.
async fn pass(
    mut from: BufReader<OwnedReadHalf>,
    mut to: OwnedWriteHalf,
    record: Published,
) -> std::io::Result<()> {
    let mut user = Value::Null;
    loop {
        let mut message = Vec::new();
        if from.read_until(b'\n', &mut message).await? == 0 {
            return Ok(());
        }
        let line = String::from_utf8_lossy(&message).into_owned();
        let words: Vec<&str> = line.split_whitespace().collect();
        let (kind, words) = words.split_first().unwrap_or((&"", &[]));
        if *kind == "CONNECT" {
            let options: Value = serde_json::from_str(&words.join(" "))?;
            user = options["user"].clone();
        }
        // A subject, perhaps where an answer goes, with headers their length, and the whole length.
        let lengths = match *kind {
            "PUB" => 1,
            "HPUB" => 2,
            _ => 0,
        };
        if lengths > 0 {
            let (names, lengths) = words.split_at(words.len() - lengths);
            let length = |at: Option<&&str>| at.and_then(|word| word.parse().ok()).unwrap_or(0);
            let whole: usize = length(lengths.last());
            let head = whole.min(if lengths.len() == 2 {
                length(lengths.first())
            } else {
                0
            });
            let begun = message.len();
            message.resize(begun + whole + 2, 0);
            from.read_exact(&mut message[begun..]).await?;
            let (headers, payload) = message[begun..begun + whole].split_at(head);
            let one = json!({
                "user": user, "subject": names.first(), "reply": names.get(1),
                "headers": String::from_utf8_lossy(headers),
                "payload": String::from_utf8_lossy(payload),
            });
            let mut all = record.lock().unwrap_or_else(PoisonError::into_inner);
            all.push(one);
        }
        to.write_all(&message).await?;
    }
}
