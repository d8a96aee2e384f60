//! One device of a user, which does random work and writes down what it did and saw. It judges
//! nothing, keeps sending until it has a definite answer, and comes back whenever it is cut off.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::ensure;
use futures_util::FutureExt;
use natter_test_support::{Choices, PASSWORD, Person, Socket, refused_with};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::record::{
    Ack, Answer, At, Device, Event, Failure, Kind, Seen, Send, Sight, Source, Try,
};

/// After this time an answer is not waited for any more, and the connection is given up.
const ANSWER: Duration = Duration::from_secs(6);
pub const HTTP: Duration = Duration::from_secs(6);
const PAUSE: Duration = Duration::from_millis(100);
/// Whoever reads nothing for longer than this may be too slow.
const UNREAD: Duration = Duration::from_secs(1);
/// How long a client tries what must work in the end.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// The most that is sent without waiting for answers.
const BURST: u64 = 30;
/// The longest that a device is away, or does not read, in milliseconds.
const AWAY_MS: u64 = 3_000;
/// What is fetched over HTTP at a time.
const PAGE: usize = 500;

/// Where Natter is.
#[derive(Clone, Debug)]
pub struct Place {
    pub users: String,
    pub friendships: String,
    /// Asked in turn, as behind an ingress.
    pub messages: Vec<String>,
    pub gateways: Vec<String>,
    since: Instant,
    is_over: Arc<AtomicBool>,
    failures: Arc<Mutex<Vec<Failure>>>,
}

impl Place {
    pub fn new(
        users: String,
        friendships: String,
        messages: Vec<String>,
        gateways: Vec<String>,
    ) -> Self {
        Self {
            users,
            friendships,
            messages,
            gateways,
            since: Instant::now(),
            is_over: Arc::default(),
            failures: Arc::default(),
        }
    }

    /// Notes the answer, if it says that a service failed.
    pub fn note(&self, asked: &str, status: u16, body: &Value) {
        if status >= 500 {
            let failure = Failure {
                at: self.now(),
                status,
                what: format!("{asked} was answered {status}: {body}"),
            };
            let failures = self.failures.lock();
            failures
                .unwrap_or_else(PoisonError::into_inner)
                .push(failure);
        }
    }

    /// What was noted so far; it is given once.
    pub fn failures(&self) -> Vec<Failure> {
        let failures = self.failures.lock();
        mem::take(&mut *failures.unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks, if there is an answer within [`HTTP`].
    pub async fn ask(
        &self,
        person: &Person,
        method: Method,
        url: &str,
        body: Option<Value>,
    ) -> Option<(u16, Value)> {
        let asked = format!("{method} {url}");
        let answer = person.try_ask(method, url, body, HTTP).await;
        if let Some((status, body)) = &answer {
            self.note(&asked, *status, body);
        }
        answer
    }

    pub fn now(&self) -> At {
        self.since.elapsed()
    }

    /// Tells everybody to stop.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}

pub struct Client {
    pub record: Device,
    pub person: Person,
    place: Place,
    choices: Choices,
    socket: Option<Socket>,
    /// When it last read on it.
    read: At,
    /// When there was last nothing to read.
    caught_up: At,
    connections: u32,
    /// The channels that it works in.
    channels: Vec<String>,
    /// A channel that it is no member of.
    foreign: Option<String>,
    /// By channel: the newest `seq` that it has.
    newest: BTreeMap<String, u64>,
    /// Its own messages that are neither deleted nor being deleted, with their channel.
    own: Vec<(String, String)>,
    /// By channel: the newest message of the other side that it has not confirmed yet.
    unseen: BTreeMap<String, String>,
    sent: u64,
}

impl Client {
    pub fn new(name: &str, person: Person, place: Place, choices: Choices) -> Self {
        Self {
            record: Device {
                name: name.to_owned(),
                user: person.id.clone(),
                ..Device::default()
            },
            person,
            place,
            choices,
            socket: None,
            read: At::ZERO,
            caught_up: At::ZERO,
            connections: 0,
            channels: Vec::new(),
            foreign: None,
            newest: BTreeMap::new(),
            own: Vec::new(),
            unseen: BTreeMap::new(),
            sent: 0,
        }
    }

    pub fn works_in(mut self, channels: &[String], foreign: Option<String>) -> Self {
        self.channels = channels.to_vec();
        self.foreign = foreign;
        self
    }

    pub fn channels(&self) -> Vec<String> {
        self.channels.clone()
    }

    /// Its session has ended, as somebody was answered; the connection stays as it is.
    pub fn has_ended(&mut self, session: Option<String>) {
        self.record.ended = Some(self.place.now());
        self.record.session = session;
    }

    /// Does what only somebody with a session may, after it ended.
    pub async fn trespass(&mut self, channel: &str) {
        if self.socket.is_some() {
            let open = "a connection that was open".to_owned();
            self.record.let_in.push((self.place.now(), open));
        }
        let urls = [
            format!("{}/api/users/profile/", self.place.users),
            format!("{}/api/users/friendship/", self.place.friendships),
            self.events_url(channel, 0),
        ];
        for url in urls {
            let asked = self.place.now();
            let answer = self.place.ask(&self.person, Method::GET, &url, None).await;
            if let Some((200, _)) = answer {
                self.record
                    .let_in
                    .push((asked, format!("an answer of {url}")));
            }
        }
        self.send_over_http(channel).await;
    }

    /// Works until the run is over.
    pub async fn live(&mut self) {
        while !self.place.is_over() {
            self.step().await;
            let pause = self.choices.below(150);
            self.listen(Duration::from_millis(pause)).await;
        }
    }

    async fn step(&mut self) {
        let channel = self.choices.of(&self.channels).clone();
        match self.choices.below(100) {
            0..=2 => self.leave().await,
            3 => {
                // Reads nothing for a while, and takes what has come then.
                let away = self.choices.below(AWAY_MS);
                sleep(Duration::from_millis(away)).await;
            }
            4..=9 => {
                let much = 2 + self.choices.below(BURST);
                let sends = (0..much).map(|_| self.message(&channel)).collect();
                self.send(sends).await;
            }
            10..=15 if !self.own.is_empty() => {
                let which = self.choices.below(self.own.len() as u64);
                let which = usize::try_from(which).unwrap_or_default();
                let send = if self.choices.below(3) == 0 {
                    let (channel, message) = self.own.swap_remove(which);
                    self.change(Kind::Delete, &channel, &message)
                } else {
                    let (channel, message) = self.own[which].clone();
                    self.change(Kind::Edit, &channel, &message)
                };
                self.send(vec![send]).await;
            }
            16..=20 => self.repeat().await,
            21..=23 => self.typing(&channel).await,
            24..=33 => self.see(&channel).await,
            34 => self.try_foreign().await,
            35..=38 => self.send_over_http(&channel).await,
            39..=60 => self.listen(Duration::from_millis(100)).await,
            _ => {
                let send = self.message(&channel);
                self.send(vec![send]).await;
            }
        }
    }

    /// Cuts the connection off, or closes it, and stays away for a while.
    async fn leave(&mut self) {
        if let Some(mut socket) = self.socket.take()
            && self.choices.below(2) == 0
        {
            let _ = timeout(PAUSE, socket.close()).await;
        }
        let away = self.choices.below(AWAY_MS);
        sleep(Duration::from_millis(away)).await;
    }

    fn message(&mut self, channel: &str) -> Send {
        self.change(Kind::Message, channel, "")
    }

    fn change(&mut self, kind: Kind, channel: &str, target: &str) -> Send {
        self.sent += 1;
        let client_id = format!("{}-{}", self.record.name, self.sent);
        let content = format!("{client_id} {kind:?} ü{}", self.choices.below(1_000_000));
        Send {
            user: self.record.user.clone(),
            channel: channel.to_owned(),
            content: (kind != Kind::Delete).then_some(content),
            target: (kind != Kind::Message).then(|| target.to_owned()),
            client_id,
            kind,
            tries: Vec::new(),
        }
    }

    /// Sends until each has a definite answer.
    async fn send(&mut self, sends: Vec<Send>) {
        let first = self.record.sends.len();
        self.record.sends.extend(sends);
        let mut open: Vec<usize> = (first..self.record.sends.len()).collect();
        let give_up = Instant::now() + PATIENCE;
        while !open.is_empty() && Instant::now() < give_up {
            open = self.send_once(open).await;
        }
    }

    /// Puts sends on the connection; those that are not answered definitely are given back.
    async fn send_once(&mut self, open: Vec<usize>) -> Vec<usize> {
        if !self.connect().await {
            return open;
        }
        let mut waiting = BTreeMap::new();
        for index in &open {
            let send = &mut self.record.sends[*index];
            let frame = frame(send);
            send.tries.push(Try {
                sent: self.place.now(),
                answer: None,
            });
            waiting.insert(send.client_id.clone(), *index);
            let Some(socket) = &mut self.socket else {
                break;
            };
            let is_sent = timeout(ANSWER, socket.try_send(&frame)).await;
            if is_sent != Ok(true) {
                self.socket = None;
                break;
            }
        }
        let until = Instant::now() + ANSWER;
        let mut again = Vec::new();
        while !waiting.is_empty()
            && let Some(frame) = self.next(until).await
        {
            let is_answer = frame["type"] == "ack" || frame["type"] == "error";
            let index = frame["client_id"].as_str().and_then(|id| waiting.get(id));
            let Some(index) = index.copied().filter(|_| is_answer) else {
                self.note(&frame).await;
                continue;
            };
            waiting.retain(|_, other| *other != index);
            if !self.answered(index, &frame) {
                again.push(index);
            }
        }
        if !waiting.is_empty() {
            // Whatever the connection still had to say comes with the next one.
            self.socket = None;
        }
        if !again.is_empty() {
            sleep(PAUSE).await;
        }
        again.extend(waiting.into_values());
        // In the order in which they were sent first.
        again.sort_unstable();
        again
    }

    /// Writes an answer down; whether it is definite.
    fn answered(&mut self, index: usize, frame: &Value) -> bool {
        let at = self.place.now();
        let answer = match frame["code"].as_str() {
            None => Answer::Acked(ack(frame)),
            Some("unavailable") => Answer::Unavailable,
            // It is asked to wait, and nothing is said about the message.
            Some("rate_limited") => return false,
            Some(code) => Answer::Refused(code.to_owned()),
        };
        let send = &mut self.record.sends[index];
        if let Answer::Acked(ack) = &answer
            && send.kind == Kind::Message
            && send.acks().next().is_none()
        {
            self.own.push((send.channel.clone(), ack.message.clone()));
        }
        if answer == Answer::Unavailable {
            let channel = send.channel.clone();
            self.record.unavailable.push((at, Some(channel)));
        }
        let is_definite = answer != Answer::Unavailable;
        if let Some(last) = send.tries.last_mut() {
            last.answer = Some((at, answer));
        }
        is_definite
    }

    /// Repeats something that was acknowledged.
    async fn repeat(&mut self) {
        if self.record.sends.is_empty() {
            return;
        }
        let which = self.choices.below(self.record.sends.len() as u64);
        let which = usize::try_from(which).unwrap_or_default();
        if self.record.sends[which].acks().next().is_some() {
            self.send_once(vec![which]).await;
        }
    }

    async fn typing(&mut self, channel: &str) {
        self.say(&json!({"type": "typing", "channel": channel, "active": true}))
            .await;
    }

    /// Says that it has seen or received what came last.
    async fn see(&mut self, channel: &str) {
        let Some(message) = self.unseen.remove(channel) else {
            return;
        };
        let kind = match self.choices.below(2) {
            0 => "friendship_notification_seen",
            _ => "friendship_notification_received",
        };
        self.say(&json!({"type": kind, "channel": channel, "message": message}))
            .await;
    }

    async fn say(&mut self, frame: &Value) {
        if self.connect().await
            && let Some(socket) = &mut self.socket
            && timeout(ANSWER, socket.try_send(frame)).await != Ok(true)
        {
            self.socket = None;
        }
    }

    /// Sends to a channel of others, which must be refused.
    async fn try_foreign(&mut self) {
        if let Some(channel) = self.foreign.clone() {
            let send = self.message(&channel);
            self.send(vec![send]).await;
            let url = self.events_url(&channel, 0);
            let answer = self.place.ask(&self.person, Method::GET, &url, None).await;
            if let Some((200, body)) = answer {
                self.note_events(&channel, &body);
            }
        }
    }

    /// Sends as a client without a WebSocket does, once.
    pub async fn send_over_http(&mut self, channel: &str) {
        let mut send = self.message(channel);
        let url = format!(
            "{}/api/messages/status/friendship/{channel}/messages/",
            self.choices.of(&self.place.messages)
        );
        let body = json!({"payload": send.content, "client_id": send.client_id});
        let sent = self.place.now();
        let asking = self.place.ask(&self.person, Method::POST, &url, Some(body));
        let answer = asking.await;
        let at = self.place.now();
        let answer = match answer {
            Some((200 | 201, item)) => Some(Answer::Acked(ack_of_item(&item))),
            // Judged with every other 503: nobody stands in for a replica that is asked directly.
            Some((503, _)) => Some(Answer::Unavailable),
            Some((401, _)) => {
                self.log_in_again().await;
                return;
            }
            Some((status, body)) => Some(Answer::Refused(format!("{status} {body}"))),
            None => None,
        };
        let answer = answer.map(|answer| (at, answer));
        let is_open = !matches!(answer, Some((_, Answer::Acked(_) | Answer::Refused(_))))
            && self.record.ended.is_none();
        send.tries.push(Try { sent, answer });
        if is_open {
            // Repeated on the WebSocket until it is known what became of it.
            self.send(vec![send]).await;
        } else {
            self.record.sends.push(send);
        }
    }

    /// Takes what comes for a while.
    pub async fn listen(&mut self, how_long: Duration) {
        let until = Instant::now() + how_long;
        if !self.connect().await {
            return;
        }
        while let Some(frame) = self.next(until).await {
            self.note(&frame).await;
        }
    }

    /// The next frame, unless the time is over or the connection ends.
    async fn next(&mut self, until: Instant) -> Option<Value> {
        let socket = self.socket.as_mut()?;
        let now = self.place.now();
        if now > self.read + UNREAD {
            self.record.pauses.push((self.read, now));
        }
        let next = if Instant::now() >= until {
            None
        } else if let Some(next) = socket.next().now_or_never() {
            Some(next)
        } else {
            let next = tokio::select! {
                // First: after a machine that stood still the time of both is over.
                biased;
                () = sleep_until(until) => None,
                next = socket.next() => Some(next),
            };
            self.caught_up = self.place.now();
            next
        };
        self.read = self.place.now();
        match next? {
            Ok(frame) => Some(frame),
            Err(code) => {
                self.socket = None;
                self.record
                    .closed
                    .extend(code.map(|code| (self.read, code)));
                None
            }
        }
    }

    /// Whether it is connected now.
    async fn connect(&mut self) -> bool {
        if self.socket.is_some() {
            return true;
        }
        let gateway = self.choices.of(&self.place.gateways).clone();
        let connecting = timeout(ANSWER * 2, self.try_connect(&gateway)).await;
        if connecting != Ok(Some(())) {
            self.socket = None;
            sleep(PAUSE).await;
        }
        self.socket.is_some()
    }

    async fn try_connect(&mut self, gateway: &str) -> Option<()> {
        let mut headers = self.person.headers();
        headers.push(("sec-websocket-protocol", "natter.v1".to_owned()));
        match Socket::connect(gateway, &headers).await {
            Ok(socket) => {
                self.socket = Some(socket);
                self.read = self.place.now();
                self.caught_up = self.read;
            }
            Err(refused) => {
                let status = refused_with(&refused);
                self.place
                    .note("an upgrade", status, &json!(refused.to_string()));
                if status == 401 {
                    self.log_in_again().await;
                }
                return None;
            }
        }
        self.connections += 1;
        let until = Instant::now() + ANSWER * 2;
        loop {
            let frame = self.next(until).await?;
            match frame["type"].as_str() {
                Some("ready") => {
                    self.record.connected.push(self.place.now());
                    let open = frame["channels"].as_object().cloned().unwrap_or_default();
                    let have: BTreeMap<&String, u64> = open
                        .keys()
                        .map(|id| (id, self.newest.get(id).copied().unwrap_or(0)))
                        .collect();
                    let resume =
                        json!({"type": "resume", "channels": have, "epoch": frame["epoch"]});
                    for (channel, from) in have {
                        let channel = channel.clone();
                        self.saw(&channel, Seen::Resumed { from });
                    }
                    if !self.socket.as_mut()?.try_send(&resume).await {
                        self.socket = None;
                        return None;
                    }
                }
                Some("resumed") => {
                    self.note(&frame).await;
                    return Some(());
                }
                _ => self.note(&frame).await,
            }
        }
    }

    /// The session has ended: of a rotation's answer that was lost, for instance.
    async fn log_in_again(&mut self) {
        if self.record.ended.is_some() {
            return;
        }
        log_in(&self.place, &mut self.person).await;
    }

    fn saw(&mut self, channel: &str, seen: Seen) {
        self.record.sights.push(Sight {
            at: self.place.now(),
            came: self.caught_up,
            source: Source::Connection(self.connections),
            channel: channel.to_owned(),
            seen,
        });
    }

    /// Writes down what a frame shows.
    async fn note(&mut self, frame: &Value) {
        let channel = frame["channel"].as_str().unwrap_or_default().to_owned();
        match frame["type"].as_str().unwrap_or_default() {
            "friendship_message" | "friendship_message_edited" | "friendship_message_deleted" => {
                if let Some(event) = Event::of(frame) {
                    self.has(&channel, event).await;
                }
            }
            "typing" => self.saw(&channel, Seen::Typing),
            "chat_friendship_notification" => self.saw_marks(
                &channel,
                &frame["user"],
                &frame["received_seq"],
                &frame["seen_seq"],
            ),
            "resumed" => {
                let marks = frame["marks"].as_object().cloned().unwrap_or_default();
                let own = json!(self.record.user);
                for (channel, marks) in marks {
                    self.saw_marks(&channel, &own, &marks["received_seq"], &marks["seen_seq"]);
                    let friend = json!("the friend");
                    let (received, seen) =
                        (&marks["friend_received_seq"], &marks["friend_seen_seq"]);
                    self.saw_marks(&channel, &friend, received, seen);
                }
            }
            "resync" => {
                let channels = frame["channels"].as_object().cloned().unwrap_or_default();
                for (channel, newest) in channels {
                    let newest = newest.as_u64().unwrap_or_default();
                    self.saw(&channel, Seen::Resync { newest });
                    self.fetch(&channel, newest).await;
                }
            }
            "friendship_update" if frame["friendship"]["is_open"] == false => {
                let id = frame["friendship"]["id"].as_str().unwrap_or_default();
                self.saw(id, Seen::Closed);
            }
            "token" => take_tokens(&mut self.person, frame),
            "goaway" => {
                let milliseconds = frame["reconnect_after_ms"].as_u64().unwrap_or_default();
                self.socket = None;
                sleep(Duration::from_millis(milliseconds.min(AWAY_MS))).await;
            }
            "error" if frame["code"] == "unavailable" => {
                self.record.unavailable.push((self.place.now(), None));
            }
            _ => {}
        }
    }

    fn saw_marks(&mut self, channel: &str, user: &Value, received: &Value, seen: &Value) {
        let seen = Seen::Marks {
            user: user.as_str().unwrap_or_default().to_owned(),
            received: received.as_u64().unwrap_or_default(),
            seen: seen.as_u64().unwrap_or_default(),
        };
        self.saw(channel, seen);
    }

    /// Takes an entry that came on the connection.
    async fn has(&mut self, channel: &str, event: Event) {
        let newest = self.newest.get(channel).copied().unwrap_or(0);
        if event.kind == Kind::Message && event.sender != self.record.user {
            self.unseen
                .insert(channel.to_owned(), event.message.clone());
        }
        let seq = event.seq;
        self.saw(channel, Seen::Event(event));
        if seq > newest + 1 {
            // The channel has opened on this connection: it began where it was then.
            self.fetch(channel, seq - 1).await;
        }
        let newest = self.newest.entry(channel.to_owned()).or_default();
        *newest = seq.max(*newest);
    }

    /// Fetches what it has not, up to this `seq`, over HTTP.
    async fn fetch(&mut self, channel: &str, to: u64) {
        let give_up = Instant::now() + PATIENCE;
        while self.newest.get(channel).copied().unwrap_or(0) < to {
            if Instant::now() > give_up {
                return;
            }
            let after = self.newest.get(channel).copied().unwrap_or(0);
            let url = self.events_url(channel, after);
            match self.place.ask(&self.person, Method::GET, &url, None).await {
                Some((200, body)) => self.note_events(channel, &body),
                Some((401, _)) => self.log_in_again().await,
                _ => sleep(PAUSE).await,
            }
        }
    }

    fn events_url(&mut self, channel: &str, after: u64) -> String {
        let messages = self.choices.of(&self.place.messages);
        events_url(messages, channel, after)
    }

    fn note_events(&mut self, channel: &str, body: &Value) {
        for event in body["results"].as_array().into_iter().flatten() {
            let Some(event) = Event::of(event) else {
                continue;
            };
            let newest = self.newest.entry(channel.to_owned()).or_default();
            if event.seq == *newest + 1 {
                *newest += 1;
            }
            let now = self.place.now();
            self.record.sights.push(Sight {
                at: now,
                came: now,
                source: Source::Http,
                channel: channel.to_owned(),
                seen: Seen::Event(event),
            });
        }
    }

    /// Lets go of a connection on which nothing is answered, as one that a link has silenced for ever.
    async fn let_go_of_silence(&mut self) {
        let Some(socket) = &mut self.socket else {
            return;
        };
        let until = Instant::now() + ANSWER;
        let ask = json!({"type": "anybody there"});
        if timeout_at(until, socket.try_send(&ask)).await != Ok(true) {
            self.socket = None;
        }
        while let Some(frame) = self.next(until).await {
            if frame["code"] == "unknown_type" {
                return;
            }
            self.note(&frame).await;
        }
        self.socket = None;
    }

    /// Comes back and waits until it has each channel up to its end; whether it has.
    pub async fn catch_up(&mut self, ends: &BTreeMap<String, (u64, bool)>) -> bool {
        self.let_go_of_silence().await;
        let give_up = Instant::now() + PATIENCE;
        loop {
            let lacks: BTreeSet<&String> = ends
                .iter()
                .filter(|(id, (end, _))| self.newest.get(*id).copied().unwrap_or(0) < *end)
                .map(|(id, _)| id)
                .collect();
            if lacks.is_empty() {
                return true;
            }
            if Instant::now() > give_up {
                return false;
            }
            for id in lacks.clone() {
                // A channel that is closed is on no connection.
                if !ends[id].1 {
                    self.fetch(id, ends[id].0).await;
                }
            }
            self.listen(PAUSE).await;
        }
    }
}

/// Asks until there is an answer other than that something is down.
pub async fn insist(
    place: &Place,
    person: &mut Person,
    method: Method,
    url: &str,
    body: Option<Value>,
) -> anyhow::Result<(u16, Value)> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let answer = place.ask(person, method.clone(), url, body.clone()).await;
        match &answer {
            // The access token has expired.
            Some((401, _)) if !url.ends_with("/logout/") => {
                log_in(place, person).await;
            }
            None | Some((429 | 503, _)) => {}
            Some(answer) => return Ok(answer.clone()),
        }
        let is_late = Instant::now() > give_up;
        ensure!(!is_late, "{method} {url} for {PATIENCE:?}: {answer:?}");
        sleep(PAUSE).await;
    }
}

/// Begins another session; whether that was possible now.
pub async fn log_in(place: &Place, person: &mut Person) -> bool {
    let url = format!("{}/api/users/login/", place.users);
    let body = json!({"username": person.username, "password": PASSWORD});
    let answer = place.ask(person, Method::POST, &url, Some(body)).await;
    let Some((200, tokens)) = answer else {
        return false;
    };
    take_tokens(person, &tokens);
    true
}

/// A page of a channel's log.
pub fn events_url(messages: &str, channel: &str, after: u64) -> String {
    format!(
        "{messages}/api/messages/status/friendship/{channel}/events/?after_seq={after}&limit={PAGE}"
    )
}

fn take_tokens(person: &mut Person, tokens: &Value) {
    if let Some(access) = tokens["access"].as_str() {
        access.clone_into(&mut person.access);
    }
    if let Some(refresh) = tokens["refresh"].as_str() {
        refresh.clone_into(&mut person.refresh);
    }
}

/// What is sent for it.
fn frame(send: &Send) -> Value {
    let kind = match send.kind {
        Kind::Message => "friendship",
        Kind::Edit => "friendship_edit",
        Kind::Delete => "friendship_delete",
    };
    let mut frame = json!({"type": kind, "channel": send.channel, "client_id": send.client_id});
    if let Some(content) = &send.content {
        frame["payload"] = json!(content);
    }
    if let Some(target) = &send.target {
        frame["message"] = json!(target);
    }
    frame
}

fn ack(frame: &Value) -> Ack {
    Ack {
        message: text(&frame["message"]),
        seq: frame["seq"].as_u64().unwrap_or_default(),
        created_at: text(&frame["created_at"]),
        duplicate: frame["duplicate"] == true,
    }
}

fn ack_of_item(item: &Value) -> Ack {
    let message = &item["message"];
    Ack {
        message: text(&message["id"]),
        seq: message["seq"].as_u64().unwrap_or_default(),
        created_at: text(&message["created_at"]),
        duplicate: false,
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
