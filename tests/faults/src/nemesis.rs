//! Faults, one after the other and two at a time, by choices that can be made again.

use std::{
    collections::BTreeMap,
    fs,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::Context;
use async_nats::jetstream::stream::Config;
use natter_e2e::{Topology, World};
use natter_test_support::{Choices, Link, Nats, Postgres, Signal, is_root, until};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::{client::Place, disk::Disk, record::Fault, run::Settings};

/// A running Natter whose parts can be struck: two of each service but one of users, a link before
/// each, and disks of their own below Postgres and NATS.
pub struct Site {
    world: World,
    links: Links,
    /// Dropped after the servers that use them.
    disks: Option<Disks>,
    is_cluster: bool,
    /// The first state of the single NATS server.
    copy: Option<TempDir>,
    /// What the clocks of the services say, each in a file.
    clocks: Option<TempDir>,
}

struct Disks {
    postgres: Disk,
    nats: Disk,
}

/// By whom they are used: `gateway` before a gateway, `messages-2 to postgres` behind a service.
type Links = BTreeMap<String, Link>;

/// A fault, and whom it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strike {
    Kill(&'static str),
    Freeze(&'static str),
    /// Longer than the other replica waits for an event to be handled.
    LongFreeze(&'static str),
    Restart(&'static str),
    /// Ends itself between two steps.
    Failpoint(&'static str, &'static str),
    PostgresKill,
    PostgresStop,
    PostgresFreeze,
    PostgresPower,
    PostgresFull,
    NatsKill(usize),
    NatsFreeze(usize),
    NatsPower,
    NatsFull,
    NatsOlder,
    /// Everybody is cut off at once, and comes back.
    Crowd,
    /// A stream has no room for what is told of users, or of friendships.
    FeedFull(&'static str),
    /// A gateway hears nothing from NATS: no notice, and not which sessions have ended.
    Deaf(&'static str),
    /// The clock of a process jumps ahead, then back behind the others, and is right again.
    Clock(&'static str),
}

/// What befalls a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    Cut,
    Silence,
    Partition,
    Slow,
}

const TROUBLES: [Trouble; 4] = [
    Trouble::Cut,
    Trouble::Silence,
    Trouble::Partition,
    Trouble::Slow,
];
const SERVICES: [&str; 7] = [
    "users",
    "friendships",
    "friendships-2",
    "messages",
    "messages-2",
    "gateway",
    "gateway-2",
];
const FAILPOINTS: [(&str, &str); 8] = [
    ("messages", "feed-sent"),
    ("messages-2", "feed-publish"),
    ("messages", "feed-confirmed"),
    ("messages-2", "marks-stored"),
    ("friendships", "outbox-publish"),
    ("friendships-2", "outbox-published"),
    ("friendships", "outbox-marked"),
    ("users", "outbox-published"),
];
/// How often something is looked at.
const TICK: Duration = Duration::from_millis(50);
/// Longer than anybody waits for an answer.
const LONG: Duration = Duration::from_secs(12);
/// Longer than a consumer has for an event before another replica gets it.
const LONGEST: Duration = Duration::from_secs(35);
const SLOW_BYTES_PER_SECOND: usize = 20_000;
/// How far a clock jumps, in seconds: less than a token lives.
const CLOCK_JUMP: i32 = 40;
/// The pause, now and then, in which nothing is struck: so long that after [`crate::checker::SETTLED`]
/// nobody may be told that anything is down.
const CALM: Duration = Duration::from_secs(15);
/// One fault in this many is followed by such a pause.
const CALM_IN: u64 = 12;
/// One trouble of a link in this many is followed by a pause of the links, in which a replica is struck
/// while all else works.
const LINKS_REST_IN: u64 = 5;
const LINKS_REST: Duration = Duration::from_secs(25);

impl Site {
    /// Starts everything. Without disks where this is not root on a Linux that may mount, and without
    /// clocks of their own where libfaketime is not there. `postgres` is the environment of Postgres.
    pub async fn start(is_cluster: bool, postgres: Vec<(String, String)>) -> anyhow::Result<Self> {
        let disks = if is_root() {
            Some(Disks {
                postgres: Disk::make().await?,
                nats: Disk::make().await?,
            })
        } else {
            None
        };
        let (below_postgres, below_nats) = match &disks {
            Some(disks) => (disks.postgres.path(), disks.nats.path()),
            None => (std::env::temp_dir(), std::env::temp_dir()),
        };
        let postgres = Postgres::start_with(&below_postgres, postgres).await;
        let nats = if is_cluster {
            Nats::start_cluster_in(&below_nats).await
        } else {
            Nats::start_in(&below_nats).await
        };
        if let Some(disks) = &disks {
            // The test's own copies of an empty database and of a configuration: nothing that the
            // servers promise to keep.
            disks.postgres.flush().await?;
            disks.nats.flush().await?;
        }
        let mut world = World::start_between(Topology::Apart, postgres, nats).await;
        world.add("friendships-2", "friendships").await;
        let clocks = match library("NATTER_TEST_FAKETIME") {
            Some(library) => Some(set_clocks(&mut world, &library)?),
            None => None,
        };
        let mut links = Links::new();
        for name in SERVICES {
            put_between(&mut world, &mut links, name, is_cluster).await;
        }
        let mut copy = None;
        if !is_cluster {
            world.nats.stop(Signal::Term).await;
            copy = Some(world.nats.copy());
            world.nats.start_again().await;
            world.ready().await;
        }
        Ok(Self {
            world,
            links,
            disks,
            is_cluster,
            copy,
            clocks,
        })
    }

    /// Writes down everything that Postgres has written so far.
    pub async fn flush_postgres(&self) -> anyhow::Result<()> {
        let mut admin = self.world.postgres.admin("natter").await;
        sqlx::raw_sql("CHECKPOINT").execute(&mut admin).await?;
        match &self.disks {
            Some(disks) => disks.postgres.flush().await,
            None => Ok(()),
        }
    }

    pub fn world(&self) -> &World {
        &self.world
    }

    /// Where the clients of a run find it.
    pub fn place(&self) -> Place {
        let gateways = ["gateway", "gateway-2"];
        let gateways = gateways.map(|name| format!("http://127.0.0.1:{}", self.links[name].port()));
        let messages = ["messages", "messages-2"].map(|name| self.world.url(name));
        let (users, friendships) = (self.world.users(), self.world.friendships());
        Place::new(users, friendships, messages.into(), gateways.into())
    }

    /// Every fault that can be made here, or those with one of these words in their names.
    fn strikes(&self, only: &[String]) -> Vec<Strike> {
        let mut all = Vec::new();
        for name in SERVICES {
            all.extend([
                Strike::Kill(name),
                Strike::Freeze(name),
                Strike::Restart(name),
            ]);
        }
        all.extend(["friendships-2", "messages-2"].map(Strike::LongFreeze));
        all.extend(FAILPOINTS.map(|(name, point)| Strike::Failpoint(name, point)));
        all.extend([
            Strike::Crowd,
            Strike::FeedFull("USERS"),
            Strike::FeedFull("FRIENDSHIPS"),
            Strike::PostgresKill,
            Strike::PostgresStop,
            Strike::PostgresFreeze,
        ]);
        let nodes = if self.is_cluster { 3 } else { 1 };
        for node in 0..nodes {
            all.extend([Strike::NatsKill(node), Strike::NatsFreeze(node)]);
        }
        if self.disks.is_some() {
            all.extend([
                Strike::PostgresPower,
                Strike::PostgresFull,
                Strike::NatsPower,
            ]);
        }
        if self.clocks.is_some() {
            all.extend(SERVICES.map(Strike::Clock));
        }
        if !self.is_cluster {
            all.extend(["gateway", "gateway-2"].map(Strike::Deaf));
            all.push(Strike::NatsOlder);
            if self.disks.is_some() {
                all.push(Strike::NatsFull);
            }
        }
        let is_named = |strike: &Strike| {
            let name = format!("{strike:?}");
            only.is_empty() || only.iter().any(|word| name.contains(word.as_str()))
        };
        all.retain(is_named);
        all
    }

    /// Makes faults by choice until the time is over, or each was made once, and the troubles of links
    /// beside them.
    pub async fn strike(
        &mut self,
        place: &Place,
        settings: &Settings,
        told: impl Fn(&Fault),
    ) -> anyhow::Result<Vec<Fault>> {
        let until = settings.length.map(|length| Instant::now() + length);
        let is_over = || until.is_some_and(|until| Instant::now() > until);
        let strikes = self.strikes(&settings.only);
        let pace = Pace::default();
        let Self {
            world,
            links,
            disks,
            copy,
            clocks,
            ..
        } = self;
        let on_links = trouble(links, place, Choices::new(settings.seed, 1_001), &pace);
        let on_servers = async {
            let mut choices = Choices::new(settings.seed, 1_000);
            let mut faults = Vec::new();
            let mut waiting = strikes.clone();
            while !is_over() {
                if waiting.is_empty() {
                    if until.is_none() {
                        break;
                    }
                    waiting.clone_from(&strikes);
                }
                let which = choices.below(waiting.len() as u64);
                let strike = waiting.swap_remove(usize::try_from(which)?);
                let from = place.now();
                let hold = Duration::from_millis(200 + choices.below(2_500));
                let mut struck = Struck {
                    world,
                    links,
                    disks: disks.as_ref(),
                    copy: copy.as_ref(),
                    pace: &pace,
                    clocks: clocks.as_ref(),
                };
                struck.strike(strike, hold).await?;
                let fault = Fault {
                    name: format!("{strike:?}"),
                    from,
                    to: place.now(),
                    covered: covered(strike).map(str::to_owned),
                };
                told(&fault);
                faults.push(fault);
                if choices.below(CALM_IN) == 0 {
                    pace.calm(CALM).await;
                }
                rest(&mut choices).await;
            }
            anyhow::Ok(faults)
        };
        let on_servers = async {
            let faults = on_servers.await;
            pace.is_over.store(true, Ordering::Relaxed);
            faults
        };
        let (faults, troubles) = tokio::join!(on_servers, on_links);
        let mut faults = faults?;
        faults.extend(troubles);
        self.world.ready().await;
        Ok(faults)
    }
}

/// Between two faults.
async fn rest(choices: &mut Choices) {
    sleep(Duration::from_millis(choices.below(1_500))).await;
}

/// What the troubles of links are told by the other faults.
#[derive(Default)]
struct Pace {
    is_over: AtomicBool,
    is_calm: AtomicBool,
    /// A link has its trouble.
    is_troubled: AtomicBool,
}

impl Pace {
    /// Nothing is struck, once the trouble that a link has is over.
    async fn calm(&self, length: Duration) {
        self.hold().await;
        sleep(length).await;
        self.go_on();
    }

    /// From its end on no link has a trouble.
    async fn hold(&self) {
        self.is_calm.store(true, Ordering::Relaxed);
        while self.is_troubled.load(Ordering::Relaxed) {
            sleep(TICK).await;
        }
    }

    fn go_on(&self) {
        self.is_calm.store(false, Ordering::Relaxed);
    }
}

/// A library that is loaded before all others, where the tests' tools have found it.
#[allow(
    clippy::disallowed_methods,
    reason = "a test's setting, not a service's"
)]
pub fn library(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Gives each service a clock of its own, which tells the time of day by a file.
fn set_clocks(world: &mut World, library: &str) -> anyhow::Result<TempDir> {
    let clocks = TempDir::with_prefix("natter-clocks-")?;
    for name in SERVICES {
        let clock = clocks.path().join(name);
        fs::write(&clock, "+0")?;
        world.set(name, "LD_PRELOAD", library);
        world.set(name, "FAKETIME_TIMESTAMP_FILE", &clock.to_string_lossy());
        world.set(name, "FAKETIME_CACHE_DURATION", "1");
        world.set(name, "FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }
    Ok(clocks)
}

/// Leaves a stream no room while it holds.
async fn fill_feed(world: &World, name: &str, hold: Duration) {
    let admin = natter_e2e::jetstream(&world.nats, "admin").await;
    // A server may be struck at the same time.
    let config = until("the stream is there", async || {
        let stream = admin.get_stream(name).await.ok()?;
        Some(stream.cached_info().config.clone())
    })
    .await;
    let full = Config {
        max_bytes: 1,
        ..config.clone()
    };
    for (config, hold) in [(full, hold), (config, Duration::ZERO)] {
        until("the stream is changed", async || {
            admin.update_stream(config.clone()).await.ok()
        })
        .await;
        sleep(hold).await;
    }
}

/// Puts a link before a gateway, and between a service and what it needs.
async fn put_between(world: &mut World, links: &mut Links, name: &'static str, is_cluster: bool) {
    if !is_cluster {
        let link = Link::start(world.nats.port()).await;
        let url = format!("nats://127.0.0.1:{}", link.port());
        world.set(name, "NATTER_NATS_URL", &url);
        links.insert(format!("{name} to nats"), link);
    }
    let schema = name.trim_end_matches("-2");
    if schema != "gateway" {
        let link = Link::start(world.postgres.port()).await;
        let url = world.postgres.url_through(link.port(), schema);
        let setting = format!("NATTER_{}_DATABASE_URL", schema.to_uppercase());
        world.set(name, &setting, &url);
        links.insert(format!("{name} to postgres"), link);
    }
    world.restart(name, Signal::Term).await;
    if schema == "gateway" {
        let port = world
            .url(name)
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok());
        let link = Link::start(port.expect("a port")).await;
        links.insert(name.to_owned(), link);
    }
}

/// The replica that is struck, where another is there for it.
fn covered(strike: Strike) -> Option<&'static str> {
    match strike {
        Strike::Kill(name)
        | Strike::Freeze(name)
        | Strike::LongFreeze(name)
        | Strike::Restart(name)
        | Strike::Failpoint(name, _) => (name != "users").then_some(name),
        Strike::Crowd => Some("crowd"),
        Strike::FeedFull(_) => Some("feed"),
        // The servers that are left of a cluster elect leaders first.
        _ => None,
    }
}

/// Makes the trouble of links until it is over.
async fn trouble(links: &Links, place: &Place, mut choices: Choices, pace: &Pace) -> Vec<Fault> {
    let mut faults = Vec::new();
    let names: Vec<&String> = links.keys().collect();
    while !pace.is_over.load(Ordering::Relaxed) {
        if pace.is_calm.load(Ordering::Relaxed) {
            sleep(TICK).await;
            continue;
        }
        pace.is_troubled.store(true, Ordering::Relaxed);
        let name = *choices.of(&names);
        let trouble = *choices.of(&TROUBLES);
        let link = &links[name];
        let from = place.now();
        match trouble {
            Trouble::Cut => link.cut(),
            Trouble::Silence => link.silence(),
            Trouble::Partition => link.partition(),
            Trouble::Slow => link.slow(SLOW_BYTES_PER_SECOND),
        }
        let hold = match trouble {
            Trouble::Cut => Duration::ZERO,
            // Until the other side has noticed it.
            Trouble::Silence => Duration::from_secs(3),
            Trouble::Partition | Trouble::Slow => Duration::from_millis(500 + choices.below(5_000)),
        };
        sleep(hold).await;
        link.mend();
        pace.is_troubled.store(false, Ordering::Relaxed);
        faults.push(Fault {
            name: format!("{trouble:?} {name}"),
            from,
            to: place.now(),
            covered: (!name.contains(" to ")).then(|| name.clone()),
        });
        match choices.below(LINKS_REST_IN) {
            0 => sleep(LINKS_REST).await,
            _ => rest(&mut choices).await,
        }
    }
    faults
}

struct Struck<'a> {
    world: &'a mut World,
    links: &'a Links,
    disks: Option<&'a Disks>,
    copy: Option<&'a TempDir>,
    pace: &'a Pace,
    clocks: Option<&'a TempDir>,
}

impl<'a> Struck<'a> {
    /// Makes a fault, holds it for a while, and mends it.
    async fn strike(&mut self, strike: Strike, hold: Duration) -> anyhow::Result<()> {
        let world = &mut *self.world;
        match strike {
            Strike::Kill(name) => {
                world.process(name).end(Signal::Kill).await;
                sleep(hold).await;
                world.begin(name);
            }
            Strike::Restart(name) => world.restart(name, Signal::Term).await,
            Strike::Freeze(name) | Strike::LongFreeze(name) => {
                let is_long = matches!(strike, Strike::LongFreeze(_));
                world.signal(name, Signal::Stop).await;
                sleep(if is_long { LONGEST } else { LONG }).await;
                world.signal(name, Signal::Cont).await;
            }
            Strike::Failpoint(name, point) => {
                world.set(name, "FAILPOINTS", &format!("{point}=return"));
                // It may end itself before it is ready.
                world.process(name).end(Signal::Term).await;
                world.begin(name);
                let give_up = Instant::now() + LONG;
                while !world.process(name).has_ended() && Instant::now() < give_up {
                    sleep(Duration::from_millis(50)).await;
                }
                world.set(name, "FAILPOINTS", "");
                if !world.process(name).has_ended() {
                    world.process(name).end(Signal::Kill).await;
                }
                world.begin(name);
            }
            Strike::PostgresKill | Strike::PostgresStop => {
                let is_killed = strike == Strike::PostgresKill;
                let signal = if is_killed { Signal::Kill } else { Signal::Int };
                world.postgres.stop(signal).await;
                sleep(hold).await;
                world.postgres.start_again().await;
            }
            Strike::PostgresFreeze => {
                world.postgres.signal_all(Signal::Stop).await;
                sleep(LONG).await;
                world.postgres.signal_all(Signal::Cont).await;
            }
            Strike::PostgresPower => {
                let disk = &self.disks()?.postgres;
                disk.lose_power().await?;
                self.world.postgres.stop(Signal::Kill).await;
                disk.power_up().await?;
                self.world.postgres.start_again().await;
            }
            Strike::PostgresFull => {
                let disk = &self.disks()?.postgres;
                disk.fill().await?;
                sleep(LONG).await;
                disk.empty()?;
                self.world.postgres.recover().await;
            }
            Strike::NatsKill(node) => {
                world.nats.stop_node(node, Signal::Kill).await;
                sleep(hold).await;
                world.nats.start_node(node).await;
            }
            Strike::NatsFreeze(node) => {
                world.nats.signal_node(node, Signal::Stop).await;
                sleep(LONG).await;
                world.nats.signal_node(node, Signal::Cont).await;
            }
            Strike::NatsPower => {
                let disk = &self.disks()?.nats;
                disk.lose_power().await?;
                let nodes = self.world.nats.urls().len();
                for node in 0..nodes {
                    self.world.nats.stop_node(node, Signal::Kill).await;
                }
                disk.power_up().await?;
                self.world.nats.start_all().await;
            }
            Strike::NatsFull => {
                let disk = &self.disks()?.nats;
                disk.fill().await?;
                sleep(LONG).await;
                disk.empty()?;
                // It switches JetStream off when it cannot write.
                self.world.nats.stop(Signal::Kill).await;
                self.world.nats.start_again().await;
            }
            Strike::NatsOlder => {
                let copy = self.copy.context("there is no copy")?;
                world.nats.stop(Signal::Term).await;
                world.nats.restore(copy);
                world.nats.start_again().await;
            }
            Strike::FeedFull(stream) => fill_feed(world, stream, LONG).await,
            Strike::Deaf(gateway) => {
                let link = &self.links[&format!("{gateway} to nats")];
                // The troubles of links would mend it.
                self.pace.hold().await;
                link.partition();
                sleep(LONG).await;
                link.mend();
                self.pace.go_on();
            }
            Strike::Clock(name) => {
                let clocks = self.clocks.context("there are no clocks")?;
                for jump in [CLOCK_JUMP, -CLOCK_JUMP, 0] {
                    fs::write(clocks.path().join(name), format!("{jump:+}"))?;
                    // The library looks once a second.
                    sleep(hold + Duration::from_secs(1)).await;
                }
            }
            Strike::Crowd => {
                for link in ["gateway", "gateway-2"] {
                    self.links[link].cut();
                }
            }
        }
        self.world.ready().await;
        Ok(())
    }

    fn disks(&self) -> anyhow::Result<&'a Disks> {
        self.disks.context("there are no disks")
    }
}
