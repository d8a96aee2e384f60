//! Several people on several devices, through two gateways, with disconnections and resumes at
//! random: what every device has in the end is compared with the log.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use clap::Args;
use futures_util::future::{join_all, try_join_all};
use natter_e2e::{Topology, World};
use natter_test_support::{Choices, Person, Signal, Socket, befriend};
use serde_json::{Value, json};

use crate::table::line;

const PAIRS: usize = 3;
const DEVICES: usize = 2;
/// The longest that a device stays away, in milliseconds.
const LONGEST_ABSENCE_MS: u64 = 2_000;

#[derive(Args)]
pub struct Options {
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// For the same choices again
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

struct Device {
    name: String,
    person: Person,
    gateways: [String; 2],
    messages: String,
    channel: String,
    choices: Choices,
    newest: u64,
    /// By seq: the kind of the event and its message.
    log: BTreeMap<u64, (String, String)>,
    /// By client id: the seq of what was acknowledged.
    acknowledged: BTreeMap<String, u64>,
    /// Own messages that may be edited or deleted.
    own: Vec<String>,
    sent: u64,
    resumes: u64,
    fetched: u64,
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    let mut world = World::start(Topology::Apart).await;
    let gateways = [world.gateway(), world.gateway_2()];
    let mut devices = Vec::new();
    for pair in 0..PAIRS {
        let one = Person::sign_up(&world.users(), "one").await;
        let other = Person::sign_up(&world.users(), "other").await;
        let channel = befriend(&world.friendships(), &one, &other).await;
        for (side, person) in [one, other].into_iter().enumerate() {
            for device in 0..DEVICES {
                let number = (pair * 2 + side) * DEVICES + device;
                devices.push(Device {
                    name: format!("d{number}"),
                    person: person.clone(),
                    gateways: gateways.clone(),
                    messages: world.messages(),
                    channel: channel.clone(),
                    choices: Choices::new(options.seed, number as u64),
                    newest: 0,
                    log: BTreeMap::new(),
                    acknowledged: BTreeMap::new(),
                    own: Vec::new(),
                    sent: 0,
                    resumes: 0,
                    fetched: 0,
                });
            }
        }
    }
    let until = Instant::now() + Duration::from_secs(options.minutes * 60);
    let living = try_join_all(devices.iter_mut().map(|device| device.live(until)));
    // A gateway or a messages replica is killed or stopped now and then, and started again.
    let killing = async {
        let mut choices = Choices::new(options.seed, (PAIRS * 2 * DEVICES) as u64);
        let mut kills = 0_u64;
        while Instant::now() + Duration::from_secs(30) < until {
            tokio::time::sleep(Duration::from_secs(10 + choices.below(20))).await;
            let victims = ["gateway", "gateway-2", "messages", "messages-2"];
            let victim = choices.of(&victims);
            let how = if choices.below(2) == 0 {
                Signal::Kill
            } else {
                Signal::Term
            };
            world.restart(victim, how).await;
            kills += 1;
        }
        kills
    };
    let (lived, kills) = tokio::join!(living, killing);
    lived?;
    // Everybody catches up, and then everybody has the same.
    let heads = join_all(devices.iter().map(Device::stored)).await;
    let heads: Vec<Vec<Value>> = heads.into_iter().collect::<anyhow::Result<_>>()?;
    let catching_up = devices.iter_mut().zip(&heads);
    try_join_all(catching_up.map(|(device, stored)| device.follow_to(stored.len() as u64))).await?;
    for (device, stored) in devices.iter().zip(&heads) {
        device.check(stored)?;
    }
    let sum = |of: fn(&Device) -> u64| devices.iter().map(of).sum::<u64>();
    line(&format!(
        "{} minutes, seed {}: {} events in {PAIRS} channels, {} acknowledged, {} deliveries to {} devices, {} resumes, {} catch-ups over HTTP, {kills} restarts. Nothing lost, repeated or out of order.",
        options.minutes,
        options.seed,
        heads
            .iter()
            .step_by(2 * DEVICES)
            .map(Vec::len)
            .sum::<usize>(),
        sum(|device| device.acknowledged.len() as u64),
        sum(|device| device.log.len() as u64),
        devices.len(),
        sum(|device| device.resumes),
        sum(|device| device.fetched),
    ))
}

impl Device {
    /// Talks, changes its mind, and comes and goes.
    async fn live(&mut self, until: Instant) -> anyhow::Result<()> {
        let mut socket = self.connect().await?;
        while Instant::now() < until {
            let done = match self.choices.below(100) {
                0..=4 => {
                    drop(socket);
                    let absence = self.choices.below(LONGEST_ABSENCE_MS);
                    tokio::time::sleep(Duration::from_millis(absence)).await;
                    socket = self.connect().await?;
                    true
                }
                5..=14 if !self.own.is_empty() => {
                    let which = self.choices.below(self.own.len() as u64);
                    let message = self.own.swap_remove(usize::try_from(which)?);
                    let kind = if self.choices.below(2) == 0 {
                        "friendship_edit"
                    } else {
                        "friendship_delete"
                    };
                    let frame = json!({"type": kind, "message": message, "payload": "edited"});
                    self.until_acknowledged(&mut socket, frame).await
                }
                15..=24 => self.listen(&mut socket).await,
                _ => {
                    let frame =
                        json!({"type": "friendship", "payload": format!("from {}", self.name)});
                    self.until_acknowledged(&mut socket, frame).await
                }
            };
            if !done {
                socket = self.connect().await?;
            }
        }
        Ok(())
    }

    /// Receives frames for a moment; returns whether the connection is still open.
    async fn listen(&mut self, socket: &mut Socket) -> bool {
        let moment = Duration::from_millis(10 + self.choices.below(50));
        let until = tokio::time::Instant::now() + moment;
        loop {
            match tokio::time::timeout_at(until, socket.next()).await {
                Ok(Ok(frame)) => self.note(&frame),
                Ok(Err(_)) => return false,
                Err(_) => return true,
            }
        }
    }

    /// Sends a frame until it is acknowledged, over as many connections as that takes; whether the
    /// last is still there.
    async fn until_acknowledged(&mut self, socket: &mut Socket, mut frame: Value) -> bool {
        self.sent += 1;
        let client_id = format!("{}-{}", self.name, self.sent);
        frame["channel"] = json!(self.channel);
        frame["client_id"] = json!(client_id);
        loop {
            let is_open = socket.try_send(&frame).await;
            let answer = if is_open {
                self.answer(socket, &client_id).await
            } else {
                None
            };
            match answer {
                Some(ack) if ack["type"] == "ack" => {
                    if frame["type"] == "friendship" {
                        self.own
                            .push(ack["message"].as_str().unwrap_or_default().to_owned());
                    }
                    self.acknowledged
                        .insert(client_id, ack["seq"].as_u64().unwrap_or_default());
                    return true;
                }
                // The other device has deleted it.
                Some(error) if error["code"] == "message_not_found" => return true,
                Some(error) => {
                    assert_eq!(error["code"], "unavailable", "{}: {error}", self.name);
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                None => match self.connect().await {
                    Ok(again) => *socket = again,
                    Err(_) => return false,
                },
            }
        }
    }

    async fn answer(&mut self, socket: &mut Socket, client_id: &str) -> Option<Value> {
        loop {
            let frame = socket.next().await.ok()?;
            let kind = frame["type"].as_str().unwrap_or_default();
            if frame["client_id"] == client_id && ["ack", "error"].contains(&kind) {
                return Some(frame);
            }
            self.note(&frame);
        }
    }

    /// Keeps an event of the log. Its seq must be the next: else something was lost, repeated or reordered.
    fn note(&mut self, frame: &Value) {
        let kind = frame["type"].as_str().unwrap_or_default();
        if !kind.starts_with("friendship_message") {
            return;
        }
        let seq = frame["seq"].as_u64().unwrap_or_default();
        assert_eq!(seq, self.newest + 1, "{} has a hole or a repeat", self.name);
        let message = frame["message"]["id"].as_str().unwrap_or_default();
        self.log.insert(seq, (kind.to_owned(), message.to_owned()));
        self.newest = seq;
    }

    async fn connect(&mut self) -> anyhow::Result<Socket> {
        let give_up = Instant::now() + Duration::from_secs(60);
        loop {
            let gateway = self.choices.of(&self.gateways).clone();
            if let Some(socket) = self.try_connect(&gateway).await? {
                self.resumes += 1;
                return Ok(socket);
            }
            ensure!(Instant::now() < give_up, "{} cannot connect", self.name);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn try_connect(&mut self, gateway: &str) -> anyhow::Result<Option<Socket>> {
        let mut headers = self.person.headers();
        headers.push(("sec-websocket-protocol", "natter.v1".to_owned()));
        let Ok(mut socket) = Socket::connect(gateway, &headers).await else {
            return Ok(None);
        };
        loop {
            let Ok(frame) = socket.next().await else {
                return Ok(None);
            };
            match frame["type"].as_str() {
                Some("ready") => {
                    let have = json!({"type": "resume", "channels": {&self.channel: self.newest}});
                    if !socket.try_send(&have).await {
                        return Ok(None);
                    }
                }
                Some("resync") => {
                    let newest = frame["channels"][&self.channel].as_u64().context("a seq")?;
                    self.catch_up(newest).await?;
                }
                Some("resumed") => return Ok(Some(socket)),
                _ => self.note(&frame),
            }
        }
    }

    /// Fetches what is too much to be replayed.
    async fn catch_up(&mut self, newest: u64) -> anyhow::Result<()> {
        self.fetched += 1;
        for event in self.events(self.newest).await? {
            if event["seq"].as_u64() <= Some(newest) {
                self.note(&event);
            }
        }
        Ok(())
    }

    async fn events(&self, mut after: u64) -> anyhow::Result<Vec<Value>> {
        let mut all = Vec::new();
        loop {
            let url = format!(
                "{}/api/messages/status/friendship/{}/events/?limit=500&after_seq={after}",
                self.messages, self.channel
            );
            let asked = self
                .person
                .http
                .get(&url)
                .bearer_auth(&self.person.access)
                .send()
                .await;
            let Some(answer) = asked.ok().filter(|answer| answer.status().is_success()) else {
                // The replica that is asked may be the one that is down.
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            };
            let page: Value = answer.json().await?;
            let events = page["results"].as_array().cloned().unwrap_or_default();
            let Some(last) = events.last() else {
                return Ok(all);
            };
            after = last["seq"].as_u64().context("a seq")?;
            all.extend(events);
        }
    }

    /// The whole log of the channel.
    async fn stored(&self) -> anyhow::Result<Vec<Value>> {
        self.events(0).await
    }

    async fn follow_to(&mut self, seq: u64) -> anyhow::Result<()> {
        let mut socket = self.connect().await?;
        while self.newest < seq {
            match socket.next().await {
                Ok(frame) => self.note(&frame),
                Err(_) => socket = self.connect().await?,
            }
        }
        Ok(())
    }

    fn check(&self, stored: &[Value]) -> anyhow::Result<()> {
        let name = &self.name;
        for (event, place) in stored.iter().zip(1..) {
            ensure!(event["seq"] == place, "the log has a hole at {place}");
            let kind = event["type"].as_str().unwrap_or_default();
            let message = event["message"]["id"].as_str().unwrap_or_default();
            let had = self
                .log
                .get(&place)
                .with_context(|| format!("{name} has no {place}"))?;
            ensure!(
                (had.0.as_str(), had.1.as_str()) == (kind, message),
                "{name} has another {place}"
            );
        }
        ensure!(
            self.log.len() == stored.len(),
            "{name} has more than the log"
        );
        for (client_id, seq) in &self.acknowledged {
            ensure!(
                (1..=stored.len() as u64).contains(seq),
                "{client_id} was acknowledged and is lost"
            );
        }
        let mut seqs: Vec<&u64> = self.acknowledged.values().collect();
        seqs.sort_unstable();
        seqs.dedup();
        ensure!(
            seqs.len() == self.acknowledged.len(),
            "two sends were acknowledged as one"
        );
        Ok(())
    }
}
