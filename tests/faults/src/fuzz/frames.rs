//! Connections that send generated frames, and hear every answer.

mod made;

use std::{
    collections::HashMap,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::bail;
use natter_e2e::World;
use natter_test_support::{Choices, PATIENCE, Person};
use serde_json::Value;
use tokio::{
    io::AsyncWriteExt,
    net::tcp::OwnedWriteHalf,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    Circle, Findings, Fuzz, judge,
    mutate::is_one_in,
    wire::{self, Reader, Received},
};
use made::{Batch, End, Made, Maker};

const TASKS: u64 = 16;
const CIRCLES: u64 = 4;
/// As many malformed frames as the gateway bears on one connection.
const MAX_GARBAGE: u64 = 100;
/// Past it a connection that is not to be a flood closes.
const ENOUGH_GARBAGE: u64 = 90;
/// One connection in so many is a flood.
const FLOODS: u64 = 12;
/// One connection in so many goes away without a word after each of its batches.
const DROPS: u64 = 100;
/// After so many violations a task does not go on.
const ENOUGH: usize = 3;
const PAUSE: Duration = Duration::from_millis(100);
const TOLD_BYTES: usize = 600;

/// How a client connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Basic,
    Full,
    Browser,
    FullBrowser,
}

impl Way {
    const ALL: [Self; 4] = [Self::Basic, Self::Full, Self::Browser, Self::FullBrowser];

    fn is_full(self) -> bool {
        matches!(self, Self::Full | Self::FullBrowser)
    }

    fn is_browser(self) -> bool {
        matches!(self, Self::Browser | Self::FullBrowser)
    }

    fn headers(self, person: &Person) -> Vec<(&'static str, String)> {
        let bearer = format!("bearer.{}", person.access);
        let protocols = match self {
            Self::Basic => None,
            Self::Full => Some("natter.v1".to_owned()),
            Self::Browser => Some(bearer),
            Self::FullBrowser => Some(format!("natter.v1, {bearer}")),
        };
        let mut headers: Vec<_> = protocols
            .map(|protocols| ("Sec-WebSocket-Protocol", protocols))
            .into_iter()
            .collect();
        if !self.is_browser() {
            headers.extend(person.headers());
        }
        headers
    }
}

/// What is known of a frame with a client id.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Its type, unless that was made odd.
    kind: Option<&'static str>,
    channel: Option<String>,
    /// What it may be refused with; none: anything.
    codes: &'static [&'static str],
    must_be_answered: bool,
    is_answered: bool,
}

/// A connection, and what it waits for.
struct Link {
    way: Way,
    reader: Reader,
    writer: OwnedWriteHalf,
    wait: Wait,
}

#[derive(Default)]
struct Wait {
    /// By client id.
    known: HashMap<String, Known>,
    answers: usize,
    pongs: usize,
    /// At most so many malformed frames were sent.
    garbage: u64,
    is_flood: bool,
    is_ready: bool,
    /// Whether `resume` was sent, or is not needed.
    is_resumed: bool,
}

impl Wait {
    fn is_over(&self) -> bool {
        self.answers == 0 && self.pongs == 0
    }

    fn expect(&mut self, made: &Made) {
        self.garbage += u64::from(made.is_garbage);
        self.pongs += usize::from(made.is_ping);
        if let Some((client_id, known)) = &made.known {
            self.answers += usize::from(known.must_be_answered);
            self.known.insert(client_id.clone(), known.clone());
        }
    }
}

/// How a batch ended.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Answered,
    Closed(Option<u16>),
    /// Without a close frame.
    Ended,
    Hangs,
    /// Nothing that a server may send.
    Broken(u8),
}

struct Worker {
    task: u64,
    address: String,
    person: Person,
    maker: Maker,
    findings: Findings,
    sent: Arc<AtomicU64>,
    left: u64,
    batches: u64,
}

/// Begins to send so many frames.
pub async fn tasks(world: &World, settings: Fuzz, sent: &Arc<AtomicU64>) -> JoinSet<Findings> {
    let url = world.gateway();
    let mut circles = Vec::new();
    for _ in 0..CIRCLES {
        circles.push(Circle::meet(&url).await);
    }
    world.published().await;
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let at = |task: u64| &circles[usize::try_from(task % CIRCLES).unwrap_or_default()];
        let (circle, foreign) = (at(task), &at(task + 1).channel);
        let friend = usize::from(task / CIRCLES % 2 == 1);
        let person = circle.friends[friend].log_in(&url).await;
        let mut worker = Worker::new(&url, task, settings.seed, person, circle, foreign);
        worker.left = settings.frames / TASKS + u64::from(task < settings.frames % TASKS);
        worker.sent = sent.clone();
        tasks.spawn(worker.run());
    }
    tasks
}

/// Whether people who come now are served.
pub async fn serves(world: &World) -> anyhow::Result<()> {
    let url = world.gateway();
    let circle = Circle::meet(&url).await;
    world.published().await;
    let person = circle.friends[0].clone();
    let mut worker = Worker::new(&url, 0, 0, person, &circle, &circle.closed);
    let mut link = worker.connect(Way::Basic).await?;
    let batch = worker.maker.check(&mut link.wait, Vec::new());
    match worker.exchange(&mut link, &batch).await {
        Outcome::Answered if worker.findings.violations.is_empty() => Ok(()),
        outcome => bail!("{outcome:?} {:?}", worker.findings.violations),
    }
}

impl Worker {
    fn new(
        url: &str,
        task: u64,
        seed: u64,
        person: Person,
        circle: &Circle,
        foreign: &str,
    ) -> Self {
        let choices = Choices::new(seed, task);
        let maker = Maker::new(choices, task, &person.access, circle, foreign);
        Self {
            task,
            address: url.trim_start_matches("http://").to_owned(),
            person,
            maker,
            findings: Findings::default(),
            sent: Arc::default(),
            left: 0,
            batches: 0,
        }
    }

    async fn run(mut self) -> Findings {
        while self.left > 0 && self.findings.violations.len() < ENOUGH {
            let way = *self.maker.choices.of(&Way::ALL);
            match self.connect(way).await {
                Ok(link) => self.talk(link).await,
                Err(error) => {
                    self.violation(&format!("not connected: {error:#}"));
                    break;
                }
            }
        }
        self.findings
    }

    fn violation(&mut self, what: &str) {
        let (task, batch) = (self.task, self.batches);
        self.findings
            .violation(format!("frames, task {task}, batch {batch}: {what}"));
    }

    /// Connects, and waits for `ready`.
    async fn connect(&mut self, way: Way) -> anyhow::Result<Link> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let headers = way.headers(&self.person);
            let opening = wire::open(&self.address, &headers);
            match timeout(PATIENCE, opening).await?? {
                Ok((reader, writer)) => {
                    let mut link = Link {
                        way,
                        reader,
                        writer,
                        wait: Wait::default(),
                    };
                    link.wait.is_resumed = !way.is_full();
                    link.wait.is_flood = is_one_in(&mut self.maker.choices, FLOODS);
                    match timeout(PATIENCE, self.ready(&mut link)).await? {
                        Outcome::Answered => {
                            self.findings.count("connections");
                            return Ok(link);
                        }
                        Outcome::Closed(Some(1013)) => self.findings.count("closed 1013"),
                        outcome => bail!("{outcome:?} in place of ready"),
                    }
                }
                Err(503) => self.findings.count("upgrade refused 503"),
                Err(status) => bail!("the upgrade is refused with {status}"),
            }
            if Instant::now() > give_up {
                bail!("the gateway stays overloaded");
            }
            sleep(PAUSE).await;
        }
    }

    async fn ready(&mut self, link: &mut Link) -> Outcome {
        let none = Batch::default();
        while !link.wait.is_ready {
            match link.reader.next().await {
                Received::Text(text) => self.hear(&text, &mut link.wait, &none),
                Received::Control => {}
                Received::Close(code) => return Outcome::Closed(code),
                Received::Broken(first) => return Outcome::Broken(first),
                Received::End => return Outcome::Ended,
            }
        }
        Outcome::Answered
    }

    /// Sends batches until one side ends the connection.
    async fn talk(&mut self, mut link: Link) {
        while self.left > 0 && self.findings.violations.len() < ENOUGH {
            let batch = self.maker.batch(link.way, &mut link.wait, self.left);
            let outcome = self.exchange(&mut link, &batch).await;
            let sent = batch.frames.len() as u64;
            self.left = self.left.saturating_sub(sent);
            self.sent.fetch_add(sent, Ordering::Relaxed);
            self.batches += 1;
            let is_served = outcome == Outcome::Answered;
            if !is_served && let Some(wrong) = self.wrong(&outcome, &batch, &link.wait) {
                let unanswered = batch.unanswered(&link.wait);
                drop(link);
                self.narrow(&wrong, &batch, &unanswered).await;
                break;
            }
            if !is_served || is_one_in(&mut self.maker.choices, DROPS) {
                break;
            }
        }
    }

    /// Sends a batch and hears what comes, until everything is answered or the connection ends.
    async fn exchange(&mut self, link: &mut Link, batch: &Batch) -> Outcome {
        let Link {
            reader,
            writer,
            wait,
            ..
        } = link;
        let write = async {
            // Of a connection that is closed meanwhile the close frame is read.
            let _ = writer.write_all(&batch.bytes).await;
            pending().await
        };
        let both = async {
            tokio::select! {
                outcome = self.listen(reader, wait, batch) => outcome,
                outcome = write => outcome,
            }
        };
        let outcome = timeout(PATIENCE, both).await.unwrap_or(Outcome::Hangs);
        if let Outcome::Closed(code) = outcome {
            let code = code.map_or("without a code".to_owned(), |code| code.to_string());
            self.findings.count(&format!("closed {code}"));
            let mut close = Vec::new();
            wire::put(&mut close, wire::FIN | wire::CLOSE, &1000_u16.to_be_bytes());
            // It may be gone already.
            let _ = link.writer.write_all(&close).await;
        }
        outcome
    }

    async fn listen(&mut self, reader: &mut Reader, wait: &mut Wait, batch: &Batch) -> Outcome {
        while batch.end != End::Check || !wait.is_over() {
            match reader.next().await {
                Received::Text(text) => self.hear(&text, wait, batch),
                Received::Control => {}
                Received::Close(code) => return Outcome::Closed(code),
                Received::Broken(first) => return Outcome::Broken(first),
                Received::End => return Outcome::Ended,
            }
        }
        Outcome::Answered
    }

    /// What is wrong with the end of a connection.
    fn wrong(&self, outcome: &Outcome, batch: &Batch, wait: &Wait) -> Option<String> {
        let Outcome::Closed(code) = outcome else {
            return Some(format!("{outcome:?}, with {} to answer", wait.answers));
        };
        let may_be_flood = wait.garbage > MAX_GARBAGE;
        let is_right = match (code, batch.end) {
            // The answer to a close frame may repeat its code.
            (code, End::Close(own)) if *code == own || *code == Some(1000) => {
                if !may_be_flood && wait.answers > 0 {
                    return Some(format!("closed without {} answers", wait.answers));
                }
                true
            }
            (Some(1008), _) => may_be_flood,
            // The client reads what it is sent, but the machine may be busy.
            (Some(1013 | 4008), _) => true,
            (Some(1002), End::Close(Some(own))) => !is_sendable(own),
            (Some(code), End::Broken(expected)) => *code == expected,
            _ => false,
        };
        (!is_right).then(|| format!("closed with {code:?} after {:?}", batch.end))
    }

    /// Finds the one frame that is answered wrongly.
    async fn narrow(&mut self, wrong: &str, batch: &Batch, unanswered: &str) {
        for made in &batch.frames {
            let alone = match self.connect(Way::Basic).await {
                Ok(mut link) => {
                    let alone = self.maker.check(&mut link.wait, vec![made.alone()]);
                    let outcome = self.exchange(&mut link, &alone).await;
                    match outcome {
                        Outcome::Answered => continue,
                        outcome => self.wrong(&outcome, &alone, &link.wait),
                    }
                }
                Err(error) => Some(format!("not connected: {error:#}")),
            };
            if let Some(alone) = alone {
                let frame = told(&made.payload);
                let first = made.first;
                return self.violation(&format!("{wrong}; alone: {alone}: {first:#04x} {frame}"));
            }
        }
        let end = batch.end;
        self.violation(&format!(
            "{wrong}, by no single frame, before {end:?}; unanswered: {unanswered}"
        ));
    }

    /// Judges a frame from the gateway.
    fn hear(&mut self, text: &[u8], wait: &mut Wait, batch: &Batch) {
        let Ok(frame) = serde_json::from_slice::<Value>(text) else {
            return self.violation(&format!("no JSON: {}", told(text)));
        };
        if let Some(wrong) = judge::wrong(&frame) {
            let asked = batch.of(frame["client_id"].as_str());
            self.violation(&format!("{wrong}: {frame} to {asked}"));
        }
        let kind = frame["type"].as_str().unwrap_or_default();
        match (kind, frame["code"].as_str()) {
            ("error", Some(code)) => self.findings.count(&format!("error {code}")),
            _ => self.findings.count(kind),
        }
        match kind {
            "ready" => wait.is_ready = true,
            "resumed" => wait.is_resumed = true,
            "pong" => wait.pongs = wait.pongs.saturating_sub(1),
            "friendship_message" => self.maker.note(&frame, &self.person.id),
            "token" => {
                let token = |name: &str| frame[name].as_str().map(str::to_owned);
                self.person.access = token("access").unwrap_or_default();
                self.person.refresh = token("refresh").unwrap_or(self.person.refresh.clone());
            }
            "ack" | "error" => self.answered(&frame, wait, batch),
            _ => {}
        }
    }

    fn answered(&mut self, frame: &Value, wait: &mut Wait, batch: &Batch) {
        let Some(client_id) = frame["client_id"].as_str() else {
            return;
        };
        let Some(known) = wait.known.get_mut(client_id) else {
            return;
        };
        if known.must_be_answered && !known.is_answered {
            wait.answers -= 1;
        }
        // Each channel that `resume` names wrongly is an answer.
        let is_second = known.is_answered && known.kind.is_some_and(|kind| kind != "resume");
        known.is_answered = true;
        if is_second || !fits(frame, known) {
            let asked = batch.of(Some(client_id));
            let what = if is_second { "a second" } else { "no" };
            self.violation(&format!("{frame} is {what} answer to {asked}"));
        }
    }
}

/// Whether a client may close with this code (RFC 6455, 7.4).
fn is_sendable(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Whether an `ack` or `error` may answer such a frame.
fn fits(answer: &Value, known: &Known) -> bool {
    if answer["type"] == "ack" {
        let is_stored = known.kind.is_none_or(|kind| {
            matches!(kind, "friendship" | "friendship_edit" | "friendship_delete")
        });
        let channel = known.channel.as_ref();
        return is_stored && channel.is_none_or(|channel| answer["channel"] == channel.as_str());
    }
    let code = answer["code"].as_str().unwrap_or_default();
    known.kind.is_none_or(|kind| answer["answers"] == kind)
        && (known.codes.is_empty() || known.codes.contains(&code))
}

fn told(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(TOLD_BYTES)]).into_owned();
    match bytes.len().checked_sub(TOLD_BYTES) {
        None | Some(0) => text,
        Some(more) => format!("{text} … and {more} bytes"),
    }
}
