//! The load: pairs of people, of whom one sends, and the other is a basic client (without
//! `natter.v1`), so that what is written to its connection counts as received. Of a frame little is
//! parsed and nothing kept.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use futures_util::{
    SinkExt, StreamExt, TryStreamExt,
    future::try_join_all,
    stream::{self, SplitSink, SplitStream},
};
use natter_e2e::World;
use natter_test_support::{Person, befriend};
use tokio::{
    net::TcpStream,
    sync::Semaphore,
    time::{sleep_until, timeout},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{
        Message, Utf8Bytes,
        client::IntoClientRequest,
        http::{HeaderName, HeaderValue},
    },
};
use uuid::Uuid;

pub type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// People who sign up and become friends at a time.
const AT_A_TIME: usize = 8;
/// How long the load waits, after its end, for the messages that were sent in time.
const LATE: Duration = Duration::from_secs(20);
/// Some 200 bytes, in 40 different words.
const TEXT: &str = "we meet at nine near old stone bridge, bring warm clothes, some tea and your map; if rain comes, go \
straight home instead: call me when you leave, or send word by anyone else who walks that way today okk";
const CLIENT_ID: &str = "\"client_id\":\"";

#[derive(Clone, Copy)]
pub enum Pattern {
    /// `rate` messages a second, whether or not earlier ones were delivered.
    Open { rate: u64 },
    /// Each pair has `window` messages under way, and sends the next when one of them was
    /// delivered.
    Closed { pairs: usize, window: usize },
}

impl Pattern {
    pub fn name(&self) -> String {
        match self {
            Self::Open { rate } => format!("open loop, {rate}/s"),
            Self::Closed { pairs: 1, window } => format!("closed loop, one pair × {window}"),
            Self::Closed { pairs, window } => format!("closed loop, {pairs} pairs × {window}"),
        }
    }

    pub fn pairs(&self) -> usize {
        match self {
            Self::Open { .. } => super::PAIRS,
            Self::Closed { pairs, .. } => *pairs,
        }
    }
}

/// Two people with an open channel, connected.
pub struct Pair {
    channel: String,
    writer: (SplitSink<Stream, Message>, SplitStream<Stream>),
    reader: SplitStream<Stream>,
    // The sending half of the reader's socket, which must stay open.
    _reader_sink: SplitSink<Stream, Message>,
}

impl Pair {
    pub fn new(channel: String, writer: Stream, reader: Stream) -> Self {
        let (_reader_sink, reader) = reader.split();
        Self {
            channel,
            writer: writer.split(),
            reader,
            _reader_sink,
        }
    }
}

/// Signs people up, two and two with a channel, and connects them; to both gateways where there
/// are two.
pub async fn connect(world: &World, count: usize) -> anyhow::Result<Vec<Pair>> {
    let names = world.names();
    let other_gateway = if names.contains(&"gateway-2") {
        world.gateway_2()
    } else {
        world.gateway()
    };
    let people = stream::iter(0..count).map(|_| async {
        let one = Person::sign_up(&world.users(), "one").await;
        let other = Person::sign_up(&world.users(), "other").await;
        let channel = befriend(&world.friendships(), &one, &other).await;
        (one, other, channel)
    });
    let people: Vec<_> = people.buffer_unordered(AT_A_TIME).collect().await;
    world.published().await;
    let pairs = stream::iter(people).map(|(one, other, channel)| {
        let other_gateway = &other_gateway;
        async move {
            let writer = open(&world.gateway(), &one.headers()).await?;
            let reader = open(other_gateway, &other.headers()).await?;
            anyhow::Ok(Pair::new(channel, writer, reader))
        }
    });
    pairs.buffer_unordered(AT_A_TIME).try_collect().await
}

async fn open(gateway: &str, headers: &[(&'static str, String)]) -> anyhow::Result<Stream> {
    let url = format!("{}/ws/messages/", gateway.replacen("http", "ws", 1));
    let mut request = url.into_client_request()?;
    for (name, value) in headers {
        let (name, value) = (HeaderName::from_static(name), HeaderValue::from_str(value)?);
        request.headers_mut().insert(name, value);
    }
    let (mut stream, _) = connect_async(request).await?;
    loop {
        let frame = stream.next().await.context("it was closed")??;
        if frame.to_text()?.starts_with("{\"type\":\"ready\"") {
            return Ok(stream);
        }
    }
}

/// What came of a load.
pub struct Tally {
    /// From the intended send to the delivery to the other side.
    pub times: Vec<Duration>,
    /// Sends that were answered with an error.
    pub refused: u64,
    /// From the first send to the last delivery.
    pub took: Duration,
}

/// One pair's part.
struct Part {
    /// When each message was to be sent.
    due: Mutex<Vec<Instant>>,
    sent: AtomicU64,
    refused: AtomicU64,
    delivered: AtomicU64,
    /// In a closed loop, the permits to send: each delivery adds one.
    window: Semaphore,
    is_over: tokio::sync::Notify,
}

/// Sends for some time and waits for what is under way.
pub async fn run(
    pairs: &mut [Pair],
    pattern: Pattern,
    time: Duration,
    name: &str,
) -> anyhow::Result<Tally> {
    let pairs = &mut pairs[..pattern.pairs()];
    let count = pairs.len();
    let run = Uuid::new_v4().simple().to_string();
    let started = Instant::now();
    let parts = pairs.iter_mut().enumerate().map(|(number, pair)| {
        let pace = match pattern {
            Pattern::Open { rate } => {
                let pause = Duration::from_secs_f64(count as f64 / rate as f64);
                Some((started + pause.mul_f64(number as f64 / count as f64), pause))
            }
            Pattern::Closed { .. } => None,
        };
        let window = match pattern {
            Pattern::Open { .. } => 0,
            Pattern::Closed { window, .. } => window,
        };
        let prefix = format!("{}{name}-", &run[..8]);
        run_pair(pair, prefix, pace, window, started + time)
    });
    let parts = try_join_all(parts).await?;
    let (mut times, mut refused, mut last) = (Vec::new(), 0, started);
    for (some, part_refused, newest) in parts {
        times.extend(some);
        refused += part_refused;
        last = last.max(newest);
    }
    Ok(Tally {
        times,
        refused,
        took: (last - started).max(time),
    })
}

async fn run_pair(
    pair: &mut Pair,
    prefix: String,
    pace: Option<(Instant, Duration)>,
    window: usize,
    end: Instant,
) -> anyhow::Result<(Vec<Duration>, u64, Instant)> {
    let part = Arc::new(Part {
        due: Mutex::new(Vec::new()),
        sent: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        delivered: AtomicU64::new(0),
        window: Semaphore::new(window),
        is_over: tokio::sync::Notify::new(),
    });
    let (sink, answers) = &mut pair.writer;
    let writing = write(&part, sink, &pair.channel, &prefix, pace, end);
    let mut times = Vec::new();
    let mut newest = Instant::now();
    // Ends when everything that was not refused has arrived, or its time is over.
    let all = async {
        tokio::try_join!(writing, async {
            tokio::select! {
                done = read_answers(&part, answers) => done,
                done = read(&part, &mut pair.reader, &prefix, &mut times, &mut newest) => done,
            }
        })
    };
    let patience = end.saturating_duration_since(Instant::now()) + LATE;
    match timeout(patience, all).await {
        Ok(done) => drop(done?),
        Err(_) => eprintln!("{} did not get everything in time", pair.channel),
    }
    Ok((times, part.refused.load(Ordering::Relaxed), newest))
}

async fn write(
    part: &Part,
    sink: &mut SplitSink<Stream, Message>,
    channel: &str,
    prefix: &str,
    pace: Option<(Instant, Duration)>,
    end: Instant,
) -> anyhow::Result<()> {
    let mut number = 0;
    let mut due = pace.map(|(first, _)| first);
    loop {
        match (due, pace) {
            (Some(at), Some(_)) if at >= end => break,
            (Some(at), Some(_)) if at > Instant::now() => {
                sink.flush().await?;
                sleep_until(at.into()).await;
            }
            (Some(_), _) => {}
            _ => {
                let permit = match part.window.try_acquire() {
                    Ok(permit) => permit,
                    Err(_) => {
                        sink.flush().await?;
                        let wait = tokio::time::timeout_at(end.into(), part.window.acquire());
                        match wait.await {
                            Ok(permit) => permit?,
                            Err(_) => break,
                        }
                    }
                };
                permit.forget();
                if Instant::now() >= end {
                    break;
                }
            }
        }
        let at = due.unwrap_or_else(Instant::now);
        part.due().push(at);
        let frame = format!(
            "{{\"type\":\"friendship\",\"channel\":\"{channel}\",\"payload\":\"{TEXT}\",{CLIENT_ID}{prefix}{number}\"}}"
        );
        sink.feed(Message::Text(frame.into())).await?;
        number += 1;
        due = due.zip(pace).map(|(at, (_, pause))| at + pause);
    }
    sink.flush().await?;
    // One more than were sent: 0 stands for "still writing".
    part.sent.store(number + 1, Ordering::Release);
    part.is_over.notify_one();
    Ok(())
}

impl Part {
    fn due(&self) -> std::sync::MutexGuard<'_, Vec<Instant>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether everything that was sent has arrived or was refused.
    fn is_done(&self) -> bool {
        let sent = self.sent.load(Ordering::Acquire);
        let came = self.delivered.load(Ordering::Relaxed) + self.refused.load(Ordering::Relaxed);
        sent > 0 && came + 1 >= sent
    }
}

async fn read_answers(part: &Part, answers: &mut SplitStream<Stream>) -> anyhow::Result<()> {
    loop {
        let Message::Text(frame) = answers.next().await.context("the writer was closed")?? else {
            continue;
        };
        if frame.starts_with("{\"type\":\"error\"") {
            if part.refused.fetch_add(1, Ordering::Relaxed) == 0 {
                eprintln!("refused: {frame}");
            }
            part.window.add_permits(1);
            if part.is_done() {
                return Ok(());
            }
        }
    }
}

async fn read(
    part: &Part,
    frames: &mut SplitStream<Stream>,
    prefix: &str,
    times: &mut Vec<Duration>,
    newest: &mut Instant,
) -> anyhow::Result<()> {
    loop {
        if part.is_done() {
            return Ok(());
        }
        let frame = tokio::select! {
            frame = frames.next() => frame.context("the reader was closed")??,
            () = part.is_over.notified() => continue,
        };
        let Message::Text(frame) = frame else {
            continue;
        };
        if let Some(number) = number_of(&frame, prefix) {
            let now = Instant::now();
            let due = part.due().get(number).copied();
            times.push(now - due.context("it was sent")?);
            *newest = now;
            part.delivered.fetch_add(1, Ordering::Relaxed);
            part.window.add_permits(1);
        }
    }
}

/// The number of a message of this run.
fn number_of(frame: &Utf8Bytes, prefix: &str) -> Option<usize> {
    let at = frame.find(CLIENT_ID)? + CLIENT_ID.len();
    let rest = frame[at..].strip_prefix(prefix)?;
    rest.split('"').next()?.parse().ok()
}
