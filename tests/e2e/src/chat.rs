//! A client that keeps talking whatever happens: it repeats what was not acknowledged, comes back
//! when it is disconnected, and resumes where it was.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use natter_test_support::{PATIENCE, Person, Socket};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// Between two attempts to connect, and before an unavailable send is repeated.
const PAUSE: Duration = Duration::from_millis(50);

/// What one person has of a channel: by `seq`, and what was acknowledged.
#[derive(Default, Debug)]
pub struct Log {
    /// `seq` to payload, as events came.
    pub events: BTreeMap<u64, String>,
    /// Client ids that were acknowledged, with their `seq`.
    pub acknowledged: BTreeMap<String, u64>,
    /// How often the connection was lost.
    pub reconnections: u32,
    /// The codes that connections were closed with; `None` for one that broke off.
    pub closes: Vec<Option<u16>>,
}

/// One person on one device.
pub struct Talker {
    person: Person,
    /// Tried in turn, as behind an ingress.
    gateways: Vec<String>,
    channel: String,
    pub log: Log,
    newest: u64,
}

impl Talker {
    pub fn new(person: Person, gateways: Vec<String>, channel: &str) -> Self {
        Self {
            person,
            gateways,
            channel: channel.to_owned(),
            log: Log::default(),
            newest: 0,
        }
    }

    /// Sends `count` messages one after the other, each until it is acknowledged.
    pub async fn talk(&mut self, name: &str, count: usize) {
        let mut socket = self.connect().await;
        for number in 1..=count {
            let client_id = format!("{name}-{number}");
            while !self.send_once(&mut socket, &client_id).await {}
        }
    }

    /// Sends one message after the other, each until it is acknowledged, until `stop` is set.
    pub async fn talk_until(&mut self, name: &str, stop: &AtomicBool) {
        let mut socket = self.connect().await;
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            number += 1;
            let client_id = format!("{name}-{number}");
            while !self.send_once(&mut socket, &client_id).await {}
            sleep(PAUSE).await;
        }
    }

    /// Follows the channel until everything up to `seq` has come.
    pub async fn follow_to(&mut self, seq: u64) {
        let mut socket = self.connect().await;
        while self.newest < seq {
            match socket.next().await {
                Ok(frame) => self.note(&frame),
                Err(code) => {
                    self.log.closes.push(code);
                    socket = self.connect_again().await;
                }
            }
        }
    }

    /// Whether the message is acknowledged now. If not, it is to be sent again.
    async fn send_once(&mut self, socket: &mut Socket, client_id: &str) -> bool {
        let frame = json!({
            "type": "friendship", "channel": self.channel, "payload": client_id,
            "client_id": client_id,
        });
        if !socket.try_send(&frame).await {
            *socket = self.connect_again().await;
            return false;
        }
        loop {
            match socket.next().await {
                Ok(answer) if answer["client_id"] == client_id && answer["type"] == "error" => {
                    assert_eq!(answer["code"], "unavailable", "{answer}");
                    sleep(PAUSE).await;
                    return false;
                }
                Ok(answer) if answer["client_id"] == client_id && answer["type"] == "ack" => {
                    let seq = answer["seq"].as_u64().expect("a seq");
                    let before = self.log.acknowledged.insert(client_id.to_owned(), seq);
                    assert!(before.is_none_or(|before| before == seq), "{answer}");
                    return true;
                }
                Ok(frame) => self.note(&frame),
                Err(code) => {
                    self.log.closes.push(code);
                    *socket = self.connect_again().await;
                    return false;
                }
            }
        }
    }

    fn note(&mut self, frame: &Value) {
        if frame["type"] != "friendship_message" {
            return;
        }
        let seq = frame["seq"].as_u64().expect("a seq");
        let payload = frame["message"]["content"]
            .as_str()
            .expect("a content")
            .to_owned();
        assert_eq!(
            seq,
            self.newest + 1,
            "{} has a hole or a repeat",
            self.person.username
        );
        self.newest = seq;
        self.log.events.insert(seq, payload);
    }

    async fn connect_again(&mut self) -> Socket {
        self.log.reconnections += 1;
        self.gateways.rotate_left(1);
        self.connect().await
    }

    /// Connects and resumes, until it works.
    async fn connect(&mut self) -> Socket {
        let give_up = Instant::now() + PATIENCE;
        loop {
            if let Some(socket) = self.try_connect().await {
                return socket;
            }
            assert!(
                Instant::now() < give_up,
                "{} cannot connect",
                self.person.username
            );
            self.gateways.rotate_left(1);
            sleep(PAUSE).await;
        }
    }

    async fn try_connect(&mut self) -> Option<Socket> {
        let mut headers = self.person.headers();
        headers.push(("sec-websocket-protocol", "natter.v1".to_owned()));
        let mut socket = Socket::connect(&self.gateways[0], &headers).await.ok()?;
        loop {
            let frame = socket.next().await.ok()?;
            match frame["type"].as_str() {
                Some("ready") => {
                    let have = json!({"type": "resume", "channels": {&self.channel: self.newest}});
                    socket.try_send(&have).await.then_some(())?;
                }
                Some("resumed") => return Some(socket),
                _ => self.note(&frame),
            }
        }
    }
}

/// Where two people talk: the gateways, as behind an ingress, and the messages service.
pub struct Place {
    pub gateways: Vec<String>,
    pub messages: String,
    pub channel: String,
}

/// Lets `alice` send one message after the other to `bob` while `faults` happens; then both of them,
/// and the history, have everything.
pub async fn talk_during(
    place: Place,
    alice: &Person,
    bob: &Person,
    faults: impl Future<Output = ()>,
) {
    let Place {
        gateways,
        messages,
        channel,
    } = place;
    let mut from_alice = Talker::new(alice.clone(), gateways.clone(), &channel);
    let mut to_bob = Talker::new(bob.clone(), gateways, &channel);
    let stop = AtomicBool::new(false);
    let talking = async {
        from_alice.talk_until("a", &stop).await;
        let sent = u64::try_from(from_alice.log.acknowledged.len()).expect("a number");
        from_alice.follow_to(sent).await;
        sent
    };
    let faults = async {
        faults.await;
        stop.store(true, Ordering::Relaxed);
    };
    let (sent, ()) = tokio::join!(talking, faults);
    to_bob.follow_to(sent).await;
    let history = alice.history(&messages, &channel).await;
    Log::check(&[&from_alice.log, &to_bob.log], &history);
}

impl Log {
    /// Checks what the promises say of a channel's history and of what both sides have of it.
    pub fn check(logs: &[&Self], history: &[Value]) {
        let stored: BTreeMap<u64, String> = history
            .iter()
            .map(|item| {
                let message = &item["message"];
                let seq = message["seq"].as_u64().expect("a seq");
                (
                    seq,
                    message["content"].as_str().expect("a content").to_owned(),
                )
            })
            .collect();
        let seqs: Vec<u64> = stored.keys().copied().collect();
        let gapless: Vec<u64> = (1..=stored.len() as u64).collect();
        assert_eq!(seqs, gapless, "history has a hole");
        let contents: BTreeSet<&String> = stored.values().collect();
        assert_eq!(contents.len(), stored.len(), "history has a message twice");
        for log in logs {
            for (client_id, seq) in &log.acknowledged {
                assert_eq!(
                    stored.get(seq),
                    Some(client_id),
                    "acknowledged and not in history"
                );
            }
            assert_eq!(log.events, stored, "a side has something else than history");
        }
    }
}
