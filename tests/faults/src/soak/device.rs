//! One device of a user: it does what it is told, and is shown what comes.

use std::{
    collections::BTreeMap,
    fmt::Display,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::ensure;
use natter_test_support::{Choices, PATIENCE, Person, Socket, refused_with};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    sync::mpsc::Receiver,
    time::{Instant, sleep, timeout},
};

use super::{
    PAUSE, Tally,
    crowd::{Order, Room, Standing},
};
use crate::client::{Place, events_url, insist, log_in};

/// The longest that a device stays away, in milliseconds.
const AWAY_MS: u64 = 2_000;
/// Own messages that a device may still edit or delete.
const OWN: usize = 20;
/// Shorter than a [`Socket`] waits for a frame.
const LISTEN: Duration = Duration::from_secs(10);
/// Errors that may be told of a friendship that is broken, or to somebody who sends too much.
const EXPECTED: [&str; 2] = ["channel_closed", "rate_limited"];

/// One device of a user.
pub(super) struct Device {
    pub(super) name: String,
    pub(super) person: Person,
    pub(super) is_full: bool,
    pub(super) place: Place,
    pub(super) room: Arc<Room>,
    pub(super) choices: Choices,
    pub(super) socket: Option<Socket>,
    pub(super) standing: Arc<Standing>,
    pub(super) tally: Arc<Tally>,
    /// By their number: what has no answer yet.
    pub(super) waiting: BTreeMap<u64, Value>,
    pub(super) own: Vec<String>,
    /// The newest message of the other side.
    pub(super) theirs: Option<String>,
    pub(super) newest: u64,
    /// Up to which `seq` it was fetched over HTTP: the connection may show it too.
    pub(super) fetched: u64,
    /// Its friendship is broken, as far as it was told.
    pub(super) is_closed: bool,
    /// The channel was closed on this connection: what came before it opened again is to be fetched.
    pub(super) may_lack: bool,
    pub(super) sent: u64,
}

impl Device {
    /// Does what it is told until nobody tells it anything any more.
    pub(super) async fn live(mut self, mut orders: Receiver<Order>) -> anyhow::Result<()> {
        loop {
            if self.socket.is_none() {
                self.connect().await?;
            }
            let Some(socket) = &mut self.socket else {
                continue;
            };
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.obey(order).await?,
                    None => break,
                },
                frame = timeout(LISTEN, socket.next()) => match frame {
                    Ok(Ok(frame)) => self.note(&frame).await?,
                    Ok(Err(code)) => self.closed(code),
                    Err(_) => {}
                },
            }
        }
        self.hang_up().await;
        Ok(())
    }

    async fn obey(&mut self, order: Order) -> anyhow::Result<()> {
        match order {
            Order::Say => {
                let text = format!("{} says {}", self.name, self.choices.below(1_000_000));
                self.put(json!({"type": "friendship", "payload": text}))
                    .await;
            }
            Order::Edit => {
                if !self.own.is_empty() {
                    let message = self.choices.of(&self.own).clone();
                    let frame =
                        json!({"type": "friendship_edit", "message": message, "payload": "edited"});
                    self.put(frame).await;
                }
            }
            Order::Delete => {
                if let Some(message) = self.own.pop() {
                    self.put(json!({"type": "friendship_delete", "message": message}))
                        .await;
                }
            }
            Order::Type => {
                let channel = &self.room.channel;
                let frame = json!({"type": "typing", "channel": channel, "active": true});
                self.write(&frame).await;
            }
            Order::See => {
                if self.may_lack {
                    self.fetch(self.room.newest()).await?;
                }
                self.mark("friendship_notification_seen").await;
            }
            Order::Leave => {
                self.tally.count("connections that left");
                self.hang_up().await;
                let away = self.choices.below(AWAY_MS);
                sleep(Duration::from_millis(away)).await;
            }
        }
        Ok(())
    }

    /// Closes the connection, or drops it as a phone in a tunnel does.
    async fn hang_up(&mut self) {
        if let Some(mut socket) = self.socket.take()
            && self.choices.below(2) == 0
        {
            let _ = timeout(PAUSE, socket.close()).await;
        }
    }

    /// Sends what must be answered.
    async fn put(&mut self, mut frame: Value) {
        self.sent += 1;
        frame["channel"] = json!(self.room.channel);
        frame["client_id"] = json!(self.sent_as(self.sent));
        self.tally.count("sent");
        self.waiting.insert(self.sent, frame.clone());
        self.stand();
        self.write(&frame).await;
    }

    fn sent_as(&self, number: u64) -> String {
        format!("{}-{number}", self.name)
    }

    async fn write(&mut self, frame: &Value) {
        if let Some(socket) = &mut self.socket
            && !socket.try_send(frame).await
        {
            self.socket = None;
        }
    }

    async fn mark(&mut self, kind: &str) {
        if let Some(message) = self.theirs.clone() {
            let channel = &self.room.channel;
            let frame = json!({"type": kind, "channel": channel, "message": message});
            self.write(&frame).await;
        }
    }

    fn stand(&self) {
        let write = |number: &AtomicU64, value| number.store(value, Ordering::Relaxed);
        write(&self.standing.waiting, self.waiting.len() as u64);
        write(&self.standing.newest, self.newest);
    }

    /// Comes back, and repeats what was not answered.
    async fn connect(&mut self) -> anyhow::Result<()> {
        let give_up = Instant::now() + PATIENCE;
        while !self.try_connect().await? {
            ensure!(Instant::now() < give_up, "{} cannot connect", self.name);
            self.tally.count("connections that were not opened");
            self.socket = None;
            sleep(PAUSE).await;
        }
        self.tally.count("connections");
        for frame in self.waiting.clone().into_values() {
            self.tally.count("repeated");
            self.write(&frame).await;
        }
        if self.is_full {
            // What was said last on the connection before may be lost with it.
            self.mark("friendship_notification_received").await;
        }
        Ok(())
    }

    /// Whether it is connected.
    async fn try_connect(&mut self) -> anyhow::Result<bool> {
        let gateway = self.choices.of(&self.place.gateways).clone();
        let mut headers = self.person.headers();
        if self.is_full {
            headers.push(("sec-websocket-protocol", "natter.v1".to_owned()));
        }
        match Socket::connect(&gateway, &headers).await {
            Ok(socket) => self.socket = Some(socket),
            Err(refused) => {
                let status = refused_with(&refused);
                self.place
                    .note("an upgrade", status, &json!(refused.to_string()));
                match status {
                    401 => {
                        self.tally.count("sessions that had ended");
                        log_in(&self.place, &mut self.person).await;
                    }
                    503 => self.unavailable(&refused),
                    _ => {}
                }
                return Ok(false);
            }
        }
        while let Some(socket) = &mut self.socket {
            let frame = match timeout(LISTEN, socket.next()).await {
                Ok(Ok(frame)) => frame,
                Ok(Err(code)) => {
                    self.closed(code);
                    return Ok(false);
                }
                Err(_) => return Ok(false),
            };
            match frame["type"].as_str() {
                Some("ready") => {
                    self.begin(&frame).await;
                    if !self.is_full {
                        return Ok(true);
                    }
                }
                Some("resumed") => {
                    self.resumed(&frame);
                    return Ok(true);
                }
                _ => self.note(&frame).await?,
            }
        }
        Ok(false)
    }

    async fn begin(&mut self, ready: &Value) {
        let channel = self.room.channel.clone();
        let starts = ready["channels"][&channel].as_u64();
        self.is_closed = starts.is_none();
        self.may_lack = self.is_closed;
        if self.is_full {
            let have = match starts {
                Some(_) => json!({channel: self.newest}),
                None => json!({}),
            };
            let resume = json!({"type": "resume", "channels": have, "epoch": ready["epoch"]});
            self.write(&resume).await;
        } else {
            self.newest = starts.unwrap_or_default().max(self.newest);
            self.stand();
        }
    }

    fn resumed(&mut self, frame: &Value) {
        let channel = &self.room.channel;
        let stands = frame["channels"][channel].as_u64().unwrap_or_default();
        if stands > self.newest && !self.may_lack {
            self.tally.fault(format!(
                "{} has {} of {channel}, and was told that it has {stands}",
                self.name, self.newest
            ));
        }
        let received = &frame["marks"][channel]["friend_received_seq"];
        self.received(received.as_u64().unwrap_or_default());
    }

    fn received(&self, seq: u64) {
        self.standing.received.fetch_max(seq, Ordering::Relaxed);
    }

    /// Takes what came on the connection.
    async fn note(&mut self, frame: &Value) -> anyhow::Result<()> {
        match frame["type"].as_str().unwrap_or_default() {
            "friendship_message" | "friendship_message_edited" | "friendship_message_deleted" => {
                self.shown(frame).await?;
            }
            "ack" => self.acknowledged(frame),
            "error" => self.failed(frame).await,
            "chat_friendship_notification" => {
                self.tally.count("marks shown");
                if frame["user"] != json!(self.person.id) {
                    self.received(frame["received_seq"].as_u64().unwrap_or_default());
                }
            }
            "typing" => self.tally.count("typing shown"),
            "friendship_update" if frame["friendship"]["id"] == json!(self.room.channel) => {
                self.is_closed = frame["friendship"]["is_open"] != true;
                self.may_lack = true;
            }
            "token" => {
                self.tally.count("tokens renewed");
                for (name, token) in [
                    ("access", &mut self.person.access),
                    ("refresh", &mut self.person.refresh),
                ] {
                    if let Some(new) = frame[name].as_str() {
                        new.clone_into(token);
                    }
                }
            }
            "resync" => {
                let (name, channels) = (&self.name, &frame["channels"]);
                self.tally
                    .fault(format!("{name} was told to fetch {channels}"));
                let newest = frame["channels"][&self.room.channel].as_u64();
                self.fetch(newest.unwrap_or_default()).await?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes an entry of the log, which must be the next.
    async fn shown(&mut self, frame: &Value) -> anyhow::Result<()> {
        let seq = frame["seq"].as_u64().unwrap_or_default();
        if seq > self.newest + 1 && self.may_lack {
            self.fetch(seq - 1).await?;
        }
        // From the first entry after it opened again the connection has all.
        self.may_lack &= self.is_closed;
        if seq <= self.fetched {
            return Ok(());
        }
        if seq != self.newest + 1 {
            self.tally.fault(format!(
                "{} was shown {seq} of {} after {}",
                self.name, self.room.channel, self.newest
            ));
        }
        self.take(frame, seq);
        if self.is_full && frame["type"] == "friendship_message" && self.is_theirs(frame) {
            self.mark("friendship_notification_received").await;
        }
        Ok(())
    }

    fn is_theirs(&self, frame: &Value) -> bool {
        let sender = &frame["message"]["sender"];
        let sender = sender.as_str().or_else(|| sender["id"].as_str());
        sender.is_some_and(|sender| sender != self.person.id)
    }

    fn take(&mut self, frame: &Value, seq: u64) {
        let message = frame["message"]["id"].as_str().unwrap_or_default();
        self.tally.count(if self.is_full {
            "entries shown to devices with natter.v1"
        } else {
            "entries shown to basic devices"
        });
        self.room.learn(seq, message, &self.tally);
        if self.is_theirs(frame) {
            self.theirs = Some(message.to_owned());
        }
        self.newest = seq.max(self.newest);
        self.stand();
    }

    /// Fetches over HTTP what it has not, up to this `seq`.
    async fn fetch(&mut self, to: u64) -> anyhow::Result<()> {
        while self.newest < to {
            self.tally.count("pages of the log fetched");
            let messages = self.choices.of(&self.place.messages);
            let url = events_url(messages, &self.room.channel, self.newest);
            let asked = insist(&self.place, &mut self.person, Method::GET, &url, None).await?;
            let events = asked.1["results"].as_array().cloned().unwrap_or_default();
            let new = events.iter().zip(self.newest + 1..);
            for (event, expected) in new {
                let seq = event["seq"].as_u64().unwrap_or_default();
                ensure!(seq == expected, "{seq} of a log in place of {expected}");
                self.take(event, seq);
            }
            ensure!(!events.is_empty(), "the log ends before {to}: {asked:?}");
            self.fetched = self.newest;
        }
        Ok(())
    }

    fn answered(&mut self, frame: &Value) -> Option<Value> {
        let number = frame["client_id"].as_str()?.rsplit('-').next()?;
        let sent = self.waiting.remove(&number.parse().ok()?);
        self.stand();
        sent
    }

    fn acknowledged(&mut self, ack: &Value) {
        let seq = ack["seq"].as_u64().unwrap_or_default();
        let message = ack["message"].as_str().unwrap_or_default();
        self.room.learn(seq, message, &self.tally);
        // Else it was repeated, and this is the second answer.
        let Some(sent) = self.answered(ack) else {
            return;
        };
        self.tally.count("acknowledged");
        if sent["type"] == "friendship" {
            self.room.sent(&self.person.id, seq);
            self.own.push(message.to_owned());
            if self.own.len() > OWN {
                self.own.remove(0);
            }
        }
    }

    /// Nothing is down: whoever is not served is told so in vain.
    fn unavailable(&self, what: &dyn Display) {
        self.tally.count("told unavailable");
        let what = format!("{} was told {what}", self.name);
        self.tally.late(self.place.now(), what);
    }

    fn closed(&mut self, code: Option<u16>) {
        self.tally.count("connections that Natter closed");
        self.socket = None;
        if let Some(code @ (1013 | 4008)) = code {
            self.unavailable(&code);
        }
    }

    async fn failed(&mut self, error: &Value) {
        let code = error["code"].as_str().unwrap_or_default();
        if code == "unavailable" {
            self.unavailable(error);
        } else if !EXPECTED.contains(&code) {
            self.tally.fault(format!("{} was told {error}", self.name));
        }
        let Some(sent) = self.answered(error) else {
            return;
        };
        if code == "channel_closed" {
            self.tally.count("refused: the channel was closed");
            return;
        }
        let number = sent["client_id"].as_str().unwrap_or_default();
        if let Some(Ok(number)) = number.rsplit('-').next().map(str::parse) {
            self.waiting.insert(number, sent.clone());
            self.stand();
            sleep(PAUSE).await;
            self.write(&sent).await;
        }
    }
}
