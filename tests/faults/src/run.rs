//! A whole run, and what is said of it.

use std::{collections::BTreeMap, env, fmt, fs, path::PathBuf, time::Duration};

use anyhow::Context;
use async_nats::jetstream;
use natter_e2e::World;
use natter_test_support::PATIENCE;
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    checker::{PROMPT, Violation, check},
    client::Place,
    crowd::Crowd,
    nemesis::Site,
    record::{Fault, History, Seen, Send, Stall},
    stalls::Watch,
    subscriber::feeds,
};

/// How long the clients work before the first fault, and after the last.
const QUIET: Duration = Duration::from_secs(5);
/// The same before the first of all faults: a session ends in each of the ways meanwhile.
const LONG_QUIET: Duration = Duration::from_secs(18);
const PROGRESS: Duration = Duration::from_secs(30);

/// What is to be run.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// None: until each fault was made once.
    pub length: Option<Duration>,
    pub seed: u64,
    /// Three NATS servers instead of one.
    pub is_cluster: bool,
    /// Words of the names of the faults to make; without any, every fault.
    pub only: Vec<String>,
    /// A library that Postgres loads before all others: libeatmydata, with which nothing is flushed.
    pub below_postgres: Option<String>,
}

/// How a run went.
#[derive(Debug)]
pub struct Summary {
    pub seed: u64,
    pub history: History,
    pub violations: Vec<Violation>,
}

/// Runs clients and faults against a Natter of its own.
pub async fn with_faults(settings: Settings, say: impl Fn(String)) -> anyhow::Result<Summary> {
    let preloaded = settings.below_postgres.iter();
    let preloaded = preloaded.map(|library| ("LD_PRELOAD".to_owned(), library.clone()));
    let mut site = Site::start(settings.is_cluster, preloaded.collect()).await?;
    let place = site.place();
    let mut crowd = Crowd::gather(&place, settings.seed).await?;
    let watch = Watch::start(&place);
    site.world().published().await;
    if settings.below_postgres.is_some() {
        // The people at least are there afterwards; they make no more of them.
        site.flush_postgres().await?;
    }
    let told = |fault: &Fault| {
        let (from, to) = (fault.from.as_secs_f64(), fault.to.as_secs_f64());
        say(format!("{from:8.1} to {to:8.1} s  {}", fault.name));
    };
    let striking = async {
        let is_whole = settings.only.is_empty();
        sleep(if is_whole { LONG_QUIET } else { QUIET }).await;
        let faults = site.strike(&place, &settings, told).await;
        sleep(QUIET).await;
        place.end();
        faults
    };
    let living = async {
        if settings.below_postgres.is_some() {
            crowd.talk().await
        } else {
            crowd.live().await
        }
    };
    let (lived, faults) = tokio::join!(living, striking);
    lived?;
    let faults = faults?;
    say("all is mended: everybody catches up, and everything is read from both sides".to_owned());
    let accounts = crowd.accounts().await?;
    let mut history = crowd.end().await?;
    say("what is left in queues, and what a subscriber has".to_owned());
    history.faults = faults;
    history.stalls.extend(watch.end());
    history.residue = residue(site.world()).await?;
    let channels = &history.channels;
    let mut feeds = feeds(site.world(), channels, &mut history.residue).await?;
    feeds.accounts = accounts;
    history.feeds = Some(feeds);
    let summary = judged(settings.seed, history);
    // Before the processes are let go: one that has logged what it must not ends everything then.
    say(summary.to_string());
    if !summary.violations.is_empty() {
        let folder = keep(site.world(), settings.seed)?;
        say(format!("logs and database are in {}", folder.display()));
    }
    Ok(summary)
}

/// Writes down what says why a promise was broken: the log of each process, and the database.
fn keep(world: &World, seed: u64) -> anyhow::Result<PathBuf> {
    let folder = env::temp_dir().join(format!("natter-faults-seed-{seed}"));
    fs::create_dir_all(&folder)?;
    for (name, log) in world.logs() {
        fs::write(folder.join(format!("{name}.log")), log)?;
    }
    fs::write(folder.join("database.sql"), world.postgres.dump())?;
    Ok(folder)
}

/// Runs clients against any Natter, and makes no faults.
pub async fn without_faults(
    place: Place,
    seed: u64,
    length: Duration,
    say: impl Fn(String),
) -> anyhow::Result<Summary> {
    let mut crowd = Crowd::gather(&place, seed).await?;
    let watch = Watch::start(&place);
    let until = Instant::now() + length;
    let ticking = async {
        while Instant::now() < until {
            sleep_until(until.min(Instant::now() + PROGRESS)).await;
            say(format!("{:8.1} s", place.now().as_secs_f64()));
        }
        place.end();
    };
    let (lived, ()) = tokio::join!(crowd.live(), ticking);
    lived?;
    let mut history = crowd.end().await?;
    history.stalls.extend(watch.end());
    let summary = judged(seed, history);
    say(summary.to_string());
    Ok(summary)
}

fn judged(seed: u64, history: History) -> Summary {
    Summary {
        violations: check(&history),
        seed,
        history,
    }
}

/// What is left that should be gone.
async fn residue(world: &World) -> anyhow::Result<Vec<String>> {
    let mut left = Vec::new();
    world.published().await;
    let admin = natter_e2e::jetstream(&world.nats, "admin").await;
    // Only the consumer's own service may ask for it.
    for (stream, consumer) in [("USERS", "friendships"), ("FRIENDSHIPS", "messages")] {
        let of = || format!("what waits in {stream} for {consumer}");
        let own = natter_e2e::jetstream(&world.nats, consumer).await;
        let known = own.get_stream_no_info(stream).await.with_context(of)?;
        let give_up = Instant::now() + PATIENCE;
        loop {
            let info = known.consumer_info(consumer).await.with_context(of)?;
            let waiting = info.num_pending + info.num_ack_pending as u64;
            if waiting == 0 {
                break;
            }
            if Instant::now() > give_up {
                left.push(format!("{waiting} events of {stream} wait for {consumer}"));
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
    match dead_letters(&admin).await {
        Ok(0) => {}
        Ok(dead) => left.push(format!("{dead} dead letters")),
        Err(error) => left.push(format!(
            "nobody can say whether there are dead letters: {error}"
        )),
    }
    Ok(left)
}

/// How many there are; asked until it is answered.
async fn dead_letters(admin: &jetstream::Context) -> anyhow::Result<u64> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        match admin.get_stream("DLQ").await {
            Ok(stream) => return Ok(stream.cached_info().state.messages),
            Err(error) if Instant::now() > give_up => return Err(error.into()),
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let History {
            devices,
            changes,
            faults,
            channels,
            ..
        } = &self.history;
        let mut kinds: BTreeMap<&str, (usize, Duration)> = BTreeMap::new();
        for fault in faults {
            let kind = fault.name.split(['(', ' ']).next().unwrap_or_default();
            let kind = kinds.entry(kind).or_default();
            *kind = (kind.0 + 1, kind.1 + (fault.to - fault.from));
        }
        writeln!(f, "{:<28}{:>8}{:>12}", "fault", "times", "seconds")?;
        for (kind, (times, time)) in &kinds {
            writeln!(f, "{kind:<28}{times:>8}{:>12.0}", time.as_secs_f64())?;
        }
        let sends = || devices.iter().flat_map(|device| &device.sends);
        let sights = || devices.iter().flat_map(|device| &device.sights);
        let events = sights().filter(|sight| matches!(sight.seen, Seen::Event(_)));
        let ended = || devices.iter().filter_map(|device| device.ended);
        let rows = [
            ("faults", faults.len()),
            ("sends", sends().count()),
            ("tries", sends().map(|send| send.tries.len()).sum()),
            (
                "acknowledged",
                sends().filter(|send| send.acks().next().is_some()).count(),
            ),
            ("entries shown", events.count()),
            (
                "marks and other sights",
                sights()
                    .filter(|sight| !matches!(sight.seen, Seen::Event(_)))
                    .count(),
            ),
            (
                "connections",
                devices.iter().map(|device| device.connected.len()).sum(),
            ),
            ("devices", devices.len()),
            ("sessions ended", ended().count()),
            (
                "of them while nothing was down",
                ended()
                    .filter(|at| self.history.is_calm(*at + PROMPT))
                    .count(),
            ),
            ("channels", channels.len()),
            ("friendships changed", changes.len()),
            (
                "told unavailable",
                devices.iter().map(|device| device.unavailable.len()).sum(),
            ),
            (
                "closed with 1013 or 4008",
                devices
                    .iter()
                    .flat_map(|device| &device.closed)
                    .filter(|(_, code)| [1013, 4008].contains(code))
                    .count(),
            ),
            (
                "sends while nothing was down",
                sends()
                    .filter_map(Send::first_sent)
                    .filter(|at| self.history.is_calm(*at))
                    .count(),
            ),
            ("violations", self.violations.len()),
        ];
        for (what, number) in rows {
            writeln!(f, "{what:<28}{number:>8}")?;
        }
        writeln!(f, "seed {}", self.seed)?;
        let length = |stall: &&Stall| stall.to - stall.from;
        if let Some(stall) = self.history.stalls.iter().max_by_key(length) {
            writeln!(
                f,
                "longest wait for a processor {:?}, at {:.1} s, of {}",
                length(&stall),
                stall.from.as_secs_f64(),
                stall.who
            )?;
        }
        for violation in &self.violations {
            writeln!(f, "{violation}")?;
        }
        Ok(())
    }
}
