//! What every process holds, read again and again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

use anyhow::Context;
use async_nats::jetstream;
use natter_e2e::World;
use natter_test_support::PATIENCE;
use sqlx::PgConnection;
use tokio::time::{Instant, interval, sleep, sleep_until};

use super::{PAUSE, Tally};

const SAMPLE_EVERY: Duration = Duration::from_secs(5);
const PROGRESS: Duration = Duration::from_secs(30);
/// Beside what was there before the first connection: a connection of the last reading of `/metrics`,
/// and one that a service opens when it needs it first and keeps.
const SPARE_DESCRIPTORS: f64 = 3.0;
/// Of tokio's threads for blocking work, which end when they were idle for ten seconds.
const SPARE_THREADS: f64 = 2.0;
const STREAMS: [&str; 4] = ["USERS", "FRIENDSHIPS", "CHAT", "KV_revoked_sessions"];
pub(super) const MEMORY: &str = "memory KiB";
pub(super) const DESCRIPTORS: &str = "descriptors";
const THREADS: &str = "threads";
const POSTGRES: &str = "postgres";
const NATS: &str = "nats-server";
pub(super) const EVENTS_KEPT: &str = "events kept";

/// What is measured: of which process, and what.
pub(super) type Key = (&'static str, String);
pub(super) type Reading = BTreeMap<Key, f64>;

pub(super) struct Sample {
    pub(super) at: Duration,
    pub(super) reading: Reading,
}

/// Reads what the processes hold. It has its own connections before the first reading.
pub(super) struct Meter {
    database: PgConnection,
    admin: jetstream::Context,
    /// Only the consumer's own service may ask for it.
    consumers: Vec<(&'static str, jetstream::stream::Stream<()>)>,
}

impl Meter {
    pub(super) async fn start(world: &World) -> anyhow::Result<Self> {
        let mut consumers = Vec::new();
        for (stream, consumer) in [("USERS", "friendships"), ("FRIENDSHIPS", "messages")] {
            let own = natter_e2e::jetstream(&world.nats, consumer).await;
            let known = own.get_stream_no_info(stream).await;
            consumers.push((consumer, known.context(stream)?));
        }
        Ok(Self {
            database: world.postgres.admin("natter").await,
            admin: natter_e2e::jetstream(&world.nats, "admin").await,
            consumers,
        })
    }

    pub(super) async fn read(&mut self, world: &World) -> anyhow::Result<Reading> {
        let mut reading = Reading::new();
        for name in world.names() {
            let id = world.process_id(name).context(name)?;
            let held = Held::of(id).with_context(|| format!("{name} has ended"))?;
            held.put(name, &mut reading);
            let metrics = world.metrics(name).await?;
            for (gauge, value) in gauges(&metrics) {
                *reading.entry((name, gauge.to_owned())).or_default() += value;
            }
        }
        let id = world.nats.process_id().context(NATS)?;
        Held::of(id).context(NATS)?.put(NATS, &mut reading);
        let id = world.postgres.process_id().context(POSTGRES)?;
        Held::of_family(id).put(POSTGRES, &mut reading);
        self.ask_postgres(&mut reading).await?;
        self.ask_nats(&mut reading).await?;
        Ok(reading)
    }

    async fn ask_postgres(&mut self, reading: &mut Reading) -> anyhow::Result<()> {
        let (sessions, waiting): (i64, i64) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM pg_stat_activity
                     WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()),
                    (SELECT count(*) FROM users.outbox WHERE published_at IS NULL)
                    + (SELECT count(*) FROM friendships.outbox WHERE published_at IS NULL)
                    + (SELECT count(*) FROM messages.outbox WHERE published_at IS NULL)",
        )
        .fetch_one(&mut self.database)
        .await?;
        reading.insert((POSTGRES, "sessions".to_owned()), sessions as f64);
        reading.insert(
            (POSTGRES, "outbox rows that wait".to_owned()),
            waiting as f64,
        );
        Ok(())
    }

    async fn ask_nats(&mut self, reading: &mut Reading) -> anyhow::Result<()> {
        let mut put = |what: String, value| reading.insert((NATS, what), value);
        for (consumer, stream) in &self.consumers {
            let info = stream.consumer_info(consumer).await;
            let info = info.with_context(|| format!("the consumer of {consumer}"))?;
            let waiting = info.num_pending as f64 + info.num_ack_pending as f64;
            put(format!("events that wait for {consumer}"), waiting);
        }
        let (mut consumers, mut events) = (0.0, 0.0);
        for name in STREAMS {
            let stream = self.admin.get_stream(name).await.context(name)?;
            let state = &stream.cached_info().state;
            consumers += state.consumer_count as f64;
            events += state.messages as f64;
        }
        put("consumers".to_owned(), consumers);
        put(EVENTS_KEPT.to_owned(), events);
        Ok(())
    }
}

/// What a process holds of the kernel.
#[derive(Default)]
struct Held {
    /// Its own memory alone: a program's file and what Postgres' processes share cannot leak, and would
    /// be counted for each of them.
    memory_kib: f64,
    descriptors: f64,
    /// Of Postgres: processes.
    threads: f64,
}

impl Held {
    fn of(id: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        Some(Self {
            memory_kib: number("RssAnon:")?,
            descriptors: fs::read_dir(format!("/proc/{id}/fd")).ok()?.count() as f64,
            threads: number("Threads:")?,
        })
    }

    /// Of a process and its children together, of which some may end meanwhile.
    fn of_family(id: u32) -> Self {
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let children = children.unwrap_or_default();
        let children = children.split_whitespace().flat_map(str::parse);
        let mut all = Self::default();
        for one in children.chain([id]).filter_map(Self::of) {
            all.memory_kib += one.memory_kib;
            all.descriptors += one.descriptors;
            all.threads += one.threads;
        }
        all
    }

    fn put(&self, name: &'static str, reading: &mut Reading) {
        reading.insert((name, MEMORY.to_owned()), self.memory_kib);
        reading.insert((name, DESCRIPTORS.to_owned()), self.descriptors);
        reading.insert((name, THREADS.to_owned()), self.threads);
    }
}

/// The gauges of `/metrics`, each label's value on its own.
fn gauges(metrics: &str) -> impl Iterator<Item = (&str, f64)> {
    let names = metrics.lines().filter_map(|line| {
        let kind = line.strip_prefix("# TYPE ")?;
        kind.strip_suffix(" gauge")
    });
    let names: BTreeSet<&str> = names.collect();
    metrics.lines().filter_map(move |line| {
        let name = line.split(['{', ' ']).next()?;
        let value = line.rsplit(' ').next()?.parse().ok()?;
        names.contains(name).then_some((name, value))
    })
}

/// Reads what everything holds, again and again.
pub(super) async fn watch(
    world: &World,
    meter: &mut Meter,
    tally: &Tally,
    over: Instant,
    say: impl Fn(String),
) -> anyhow::Result<Vec<Sample>> {
    let begun = Instant::now();
    let mut samples = Vec::new();
    let mut ticks = interval(SAMPLE_EVERY);
    let mut told = begun;
    while Instant::now() < over {
        tokio::select! {
            _ = ticks.tick() => {}
            () = sleep_until(over) => break,
        }
        let at = begun.elapsed();
        let reading = meter.read(world).await?;
        if told.elapsed() >= PROGRESS {
            told += PROGRESS;
            say(progress(at, tally, &reading));
        }
        samples.push(Sample { at, reading });
    }
    Ok(samples)
}

fn progress(at: Duration, tally: &Tally, reading: &Reading) -> String {
    let (sent, acknowledged) = (tally.of("sent"), tally.of("acknowledged"));
    let faults = tally.faults().len();
    let mut line = format!(
        "{:6.0} s  {sent} sent, {acknowledged} acknowledged, {faults} faults; MiB",
        at.as_secs_f64()
    );
    for ((process, what), value) in reading {
        if what == MEMORY {
            line += &format!(" {process} {:.1}", value / 1_024.0);
        }
    }
    line
}

/// Reads until everything is back at what it was, each at one time or another; the last reading, and
/// what was never given back.
pub(super) async fn given_back(
    world: &World,
    meter: &mut Meter,
    before: &Reading,
) -> anyhow::Result<(Reading, Vec<String>)> {
    let of = |reading: &Reading, key: &Key| reading.get(key).copied().unwrap_or_default();
    let give_up = Instant::now() + PATIENCE;
    let mut back: BTreeSet<Key> = BTreeSet::new();
    loop {
        let reading = meter.read(world).await?;
        let is_back = |key: &&Key| {
            spare(key).is_none_or(|spare| of(&reading, key) <= of(before, key) + spare)
        };
        back.extend(reading.keys().filter(is_back).cloned());
        if back.len() == reading.len() || Instant::now() > give_up {
            let kept = reading.keys().filter(|key| !back.contains(*key));
            let kept = kept.map(|key| {
                let (process, what) = key;
                let (was, is) = (of(before, key), of(&reading, key));
                format!("{process}: {what} were {was}, and stay {is}")
            });
            let kept = kept.collect();
            return Ok((reading, kept));
        }
        sleep(PAUSE).await;
    }
}

/// How much more than before may stay; None: that it stays is no fault.
pub(super) fn spare((process, what): &Key) -> Option<f64> {
    match (*process, what.as_str()) {
        (_, MEMORY | EVENTS_KEPT) => None,
        // Each of its processes keeps the files of tables open, and background workers come and go.
        (POSTGRES, DESCRIPTORS | THREADS) => None,
        // Go keeps threads.
        (NATS, THREADS) => None,
        (_, DESCRIPTORS) => Some(SPARE_DESCRIPTORS),
        (_, THREADS) => Some(SPARE_THREADS),
        _ => Some(0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::gauges;

    #[test]
    fn gauges_are_read_and_counters_are_not() {
        let metrics = "# HELP a x\n# TYPE a gauge\na{s=\"1\"} 2\na{s=\"2\"} 3.5\n\
                       # TYPE b counter\nb 9\n\n# TYPE c gauge\nc 0\n";
        let read: Vec<(&str, f64)> = gauges(metrics).collect();
        assert_eq!(read, [("a", 2.0), ("a", 3.5), ("c", 0.0)]);
    }
}
