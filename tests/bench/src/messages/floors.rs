//! What cannot be avoided, each part alone: a row committed, an event stored by the broker, a
//! request answered, a frame passed on.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::Context;
use async_nats::jetstream::{self, stream::Config};
use futures_util::{SinkExt, StreamExt, stream::FuturesUnordered};
use natter_e2e::{Topology, World};
use natter_test_support::{Nats, Person, befriend};
use sqlx::{PgConnection, types::Uuid};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    sync::mpsc,
};
use tokio_tungstenite::{accept_async, connect_async};

use super::load::{self, Pair, Pattern, Tally};
use super::meter::{used, used_with_children};
use crate::table::{line, percentile};

const ROW_BATCHES: [usize; 3] = [1, 50, 500];
const UNCONFIRMED: [usize; 2] = [1, 64];
const SUBJECT: &str = "chat.friendship.00000000-0000-7000-8000-000000000000.log";
/// About what an event of a message of 200 bytes has.
const EVENT_BYTES: usize = 800;

/// One part alone.
struct Floor {
    name: String,
    per_second: f64,
    /// CPU seconds of the server for 1,000.
    cpu: f64,
    note: String,
}

pub struct Floors(Vec<Floor>);

impl Floors {
    pub async fn measure(time: Duration) -> anyhow::Result<Self> {
        let mut all = Vec::new();
        let world = World::start(Topology::Standalone).await;
        let one = Person::sign_up(&world.users(), "one").await;
        let other = Person::sign_up(&world.users(), "other").await;
        befriend(&world.friendships(), &one, &other).await;
        for rows in ROW_BATCHES {
            all.push(rows_of(&world, rows, time).await?);
        }
        drop(world);
        for unconfirmed in UNCONFIRMED {
            all.push(stored(unconfirmed, time).await?);
        }
        all.push(requests(time).await?);
        for pattern in [
            Pattern::Open { rate: 200 },
            Pattern::Closed {
                pairs: 50,
                window: 8,
            },
        ] {
            all.push(relayed(pattern, time).await?);
        }
        Ok(Self(all))
    }

    fn cpu(&self, name: &str) -> f64 {
        let floor = self.0.iter().find(|floor| floor.name == name);
        floor.map_or(0.0, |floor| floor.cpu)
    }

    /// The sum of the parts for a load: as measured one at a time where each message comes alone,
    /// otherwise as measured in batches.
    pub fn of(&self, pattern: Pattern) -> f64 {
        let is_alone = matches!(pattern, Pattern::Open { rate } if rate <= 200);
        let (rows, events, relay) = if is_alone {
            (1, 1, Pattern::Open { rate: 200 })
        } else {
            (
                50,
                64,
                Pattern::Closed {
                    pairs: 50,
                    window: 8,
                },
            )
        };
        let request = if is_alone {
            self.cpu("NATS request and reply")
        } else {
            0.0
        };
        self.cpu(&rows_name(rows))
            + self.cpu(&stored_name(events))
            + request
            + self.cpu(&relay_name(relay))
    }

    pub fn print(&self) -> anyhow::Result<()> {
        line("| floor: a part alone | a second | CPU-s of its server per 1,000 | |")?;
        line("| --- | --- | --- | --- |")?;
        for floor in &self.0 {
            line(&format!(
                "| {} | {:.0} | {:.3} | {} |",
                floor.name, floor.per_second, floor.cpu, floor.note
            ))?;
        }
        line("")
    }
}

fn rows_name(rows: usize) -> String {
    format!("Postgres, rows of the log, {rows} a commit")
}

fn stored_name(unconfirmed: usize) -> String {
    format!("JetStream, events stored, {unconfirmed} unconfirmed")
}

fn relay_name(pattern: Pattern) -> String {
    format!("WebSocket relay without a store, {}", pattern.name())
}

async fn rows_of(world: &World, rows: usize, time: Duration) -> anyhow::Result<Floor> {
    let mut admin = world.postgres.admin("natter").await;
    sqlx::raw_sql(
        "DROP TABLE IF EXISTS floor; CREATE TABLE floor (LIKE messages.log INCLUDING ALL);
         SET plan_cache_mode = force_generic_plan",
    )
    .execute(&mut admin)
    .await?;
    let postgres = world.postgres.process_id().context("Postgres runs")?;
    let channel = Uuid::new_v4();
    let (mut seq, before, started) = (0_i64, used_with_children(postgres)?, Instant::now());
    while started.elapsed() < time {
        insert(&mut admin, channel, seq, rows).await?;
        seq += i64::try_from(rows)?;
    }
    let took = started.elapsed().as_secs_f64();
    Ok(Floor {
        name: rows_name(rows),
        per_second: seq as f64 / took,
        cpu: (used_with_children(postgres)? - before) / (seq as f64 / 1_000.0),
        note: String::new(),
    })
}

async fn insert(db: &mut PgConnection, channel: Uuid, seq: i64, rows: usize) -> anyhow::Result<()> {
    let seqs: Vec<i64> = (0..rows as i64).map(|number| seq + number).collect();
    let client_ids: Vec<String> = seqs.iter().map(|seq| format!("client-{seq}")).collect();
    sqlx::query(
        "INSERT INTO floor (friendship_id, seq, id, kind, position, from_position, at, sender,
                            client_id, digest, content)
         SELECT $1, seq, $1, 0, seq, seq, now(), $1, client_id, seq, $4
         FROM unnest($2::bigint[], $3::text[]) AS row (seq, client_id)",
    )
    .bind(channel)
    .bind(seqs)
    .bind(client_ids)
    .bind("x".repeat(200))
    .execute(db)
    .await?;
    Ok(())
}

async fn client(nats: &Nats, user: &str) -> anyhow::Result<async_nats::Client> {
    let options = async_nats::ConnectOptions::new()
        .user_and_password(user.to_owned(), Nats::password(user))
        .custom_inbox_prefix(format!("_INBOX_{user}"));
    Ok(options.connect(nats.url()).await?)
}

async fn stored(unconfirmed: usize, time: Duration) -> anyhow::Result<Floor> {
    let nats = Nats::start().await;
    jetstream::new(client(&nats, "admin").await?)
        .create_stream(Config {
            name: "CHAT".to_owned(),
            subjects: vec!["chat.friendship.*.log".to_owned()],
            duplicate_window: Duration::from_secs(120),
            ..Config::default()
        })
        .await?;
    let stream = jetstream::new(client(&nats, "messages").await?);
    let server = nats.process_id().context("NATS runs")?;
    let payload = bytes::Bytes::from("x".repeat(EVENT_BYTES));
    let (mut count, before, started) = (0, used(server)?, Instant::now());
    let mut waiting = FuturesUnordered::new();
    while started.elapsed() < time {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Msg-Id", Uuid::new_v4().to_string().as_str());
        let sent = stream.publish_with_headers(SUBJECT, headers, payload.clone());
        waiting.push(IntoFuture::into_future(sent.await?));
        if waiting.len() >= unconfirmed {
            waiting.next().await.context("one is waited for")??;
        }
        count += 1;
    }
    Ok(Floor {
        name: stored_name(unconfirmed),
        per_second: f64::from(count) / started.elapsed().as_secs_f64(),
        cpu: (used(server)? - before) / (f64::from(count) / 1_000.0),
        note: String::new(),
    })
}

async fn requests(time: Duration) -> anyhow::Result<Floor> {
    let subject = "send.friendship.00000000-0000-7000-8000-000000000000";
    let nats = Nats::start().await;
    let answering = client(&nats, "messages").await?;
    let asking = client(&nats, "gateway").await?;
    let mut asked = answering
        .queue_subscribe(subject, "messages".to_owned())
        .await?;
    answering.flush().await?;
    let answers = tokio::spawn(async move {
        while let Some(request) = asked.next().await {
            if let Some(reply) = request.reply {
                let _ = answering.publish(reply, request.payload).await;
            }
        }
    });
    let server = nats.process_id().context("NATS runs")?;
    let payload = bytes::Bytes::from("x".repeat(EVENT_BYTES / 2));
    let mut times = Vec::new();
    let (before, started) = (used(server)?, Instant::now());
    while started.elapsed() < time {
        let asked = Instant::now();
        // The first may come before the server knows who answers.
        if asking.request(subject, payload.clone()).await.is_ok() {
            times.push(asked.elapsed());
        }
    }
    let count = times.len() as f64;
    answers.abort();
    Ok(Floor {
        name: "NATS request and reply".to_owned(),
        per_second: count / started.elapsed().as_secs_f64(),
        cpu: (used(server)? - before) / (count / 1_000.0),
        note: note(&mut times),
    })
}

fn note(times: &mut [Duration]) -> String {
    let mut ms = |share| percentile(times, share).as_secs_f64() * 1e3;
    format!("p50 {:.2} ms, p99 {:.2} ms", ms(0.5), ms(0.99))
}

/// The same load through a process that passes frames on and does nothing else.
async fn relayed(pattern: Pattern, time: Duration) -> anyhow::Result<Floor> {
    let (relay, port) = start_relay().await?;
    let mut pairs = Vec::new();
    for _ in 0..pattern.pairs() {
        let url = format!("ws://127.0.0.1:{port}/");
        let (one, _) = connect_async(&url).await?;
        let (other, _) = connect_async(&url).await?;
        pairs.push(Pair::new(Uuid::new_v4().to_string(), one, other));
    }
    let id = relay.id().context("the relay runs")?;
    load::run(&mut pairs, pattern, time / 4, "warm").await?;
    let before = used(id)?;
    let Tally {
        mut times, took, ..
    } = load::run(&mut pairs, pattern, time, "load").await?;
    let count = times.len() as f64;
    Ok(Floor {
        name: relay_name(pattern),
        per_second: count / took.as_secs_f64(),
        cpu: (used(id)? - before) / (count / 1_000.0),
        note: note(&mut times),
    })
}

async fn start_relay() -> anyhow::Result<(Child, u16)> {
    let mut relay = Command::new(std::env::current_exe()?)
        .arg("relay")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let out = relay.stdout.take().context("it is piped")?;
    let said = BufReader::new(out).lines().next_line().await?;
    let port = said.context("the relay says its port")?.parse()?;
    Ok((relay, port))
}

/// Passes the frames of each first connection on to the next one.
pub async fn relay() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    line(&listener.local_addr()?.port().to_string())?;
    loop {
        let (one, _) = listener.accept().await?;
        one.set_nodelay(true)?;
        let one = accept_async(one).await?;
        let (other, _) = listener.accept().await?;
        other.set_nodelay(true)?;
        let other = accept_async(other).await?;
        tokio::spawn(pass_on(one, other));
    }
}

type Accepted = tokio_tungstenite::WebSocketStream<TcpStream>;

async fn pass_on(mut one: Accepted, mut other: Accepted) {
    // As in the gateway: one task reads a socket, another writes the other.
    let (frames, mut waiting) = mpsc::channel(256);
    tokio::spawn(async move {
        while let Some(frame) = waiting.recv().await {
            let mut next = Some(frame);
            while let Some(frame) = next {
                if other.feed(frame).await.is_err() {
                    return;
                }
                next = waiting.try_recv().ok();
            }
            if other.flush().await.is_err() {
                return;
            }
        }
    });
    while let Some(Ok(frame)) = one.next().await {
        if frames.send(frame).await.is_err() {
            return;
        }
    }
}
