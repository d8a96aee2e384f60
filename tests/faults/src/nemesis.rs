//! Faults, one after the other and two at a time, by choices that can be made again.

mod links;
mod strike;

use std::{cell::RefCell, fs, time::Duration};

use anyhow::Context;
use futures_util::future::try_join_all;
use natter_e2e::{Topology, World};
use natter_test_support::{Choices, Nats, Postgres, Signal, is_root};
use tempfile::TempDir;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};

use self::{
    links::{Links, Pace, put_between, trouble},
    strike::{Strike, Struck},
};
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
/// The pause, now and then, in which nothing is struck: so long that after [`crate::checker::SETTLED`]
/// nobody may be told that anything is down.
const CALM: Duration = Duration::from_secs(15);
/// One fault in this many is followed by such a pause.
const CALM_IN: u64 = 12;
/// How many strike at the same time where each fault is made once and nobody stands in for what is
/// struck.
const LANES: u64 = 2;

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

    /// Makes faults until the time is over, or each was made once, and the troubles of links beside them.
    pub async fn strike(
        &mut self,
        place: &Place,
        settings: &Settings,
        told: impl Fn(&Fault),
    ) -> anyhow::Result<Vec<Fault>> {
        let strikes = self.strikes(&settings.only);
        let pace = Pace::default();
        let is_once = settings.length.is_none();
        let nemesis = Nemesis {
            struck: Struck {
                world: Mutex::new(&mut self.world),
                links: &self.links,
                disks: self.disks.as_ref(),
                copy: self.copy.as_ref(),
                clocks: self.clocks.as_ref(),
                pace: &pace,
                is_brief: is_once,
                now: RefCell::default(),
            },
            place,
            told,
        };
        let choices = |series| Choices::new(settings.seed, series);
        let on_links = trouble(&self.links, place, choices(1_001), &pace, is_once);
        let on_servers = async {
            let faults = match settings.length {
                Some(length) => nemesis.for_long(&strikes, length, choices(1_000)).await,
                None => nemesis.each_once(strikes, settings).await,
            };
            pace.is_over.set(true);
            faults
        };
        let (faults, troubles) = tokio::join!(on_servers, on_links);
        let mut faults = faults?;
        faults.extend(troubles);
        drop(nemesis);
        self.world.ready().await;
        Ok(faults)
    }
}

struct Nemesis<'a, T> {
    struck: Struck<'a>,
    place: &'a Place,
    told: T,
}

impl<T: Fn(&Fault)> Nemesis<'_, T> {
    /// One after the other by choice, each as often as the others, with a calm now and then.
    async fn for_long(
        &self,
        strikes: &[Strike],
        length: Duration,
        mut choices: Choices,
    ) -> anyhow::Result<Vec<Fault>> {
        let until = Instant::now() + length;
        let mut faults = Vec::new();
        let mut waiting = Vec::new();
        while Instant::now() < until {
            if waiting.is_empty() {
                waiting = strikes.to_vec();
            }
            let strike = self.struck.begin(&mut waiting, choices.below(1_000_000));
            let strike = strike.context("there is no fault to make")?;
            faults.push(self.strike(strike, &mut choices).await?);
            if choices.below(CALM_IN) == 0 {
                self.struck.pace.calm(CALM).await;
            }
            rest(&mut choices, false).await;
        }
        Ok(faults)
    }

    /// Each once, in as little time as they need. First those for which nobody stands in, two at a
    /// time of different services; then, after a calm and with all links well, those of a replica
    /// whose other goes on, one at a time: nobody may be told that anything is down.
    async fn each_once(
        &self,
        strikes: Vec<Strike>,
        settings: &Settings,
    ) -> anyhow::Result<Vec<Fault>> {
        let is_covered = |strike: &Strike| strike.covered().is_some();
        let (covered, others): (Vec<Strike>, Vec<Strike>) =
            strikes.into_iter().partition(is_covered);
        let pace = self.struck.pace;
        let mut faults = self.in_lanes(LANES, others, settings.seed, 1_100).await?;
        if settings.only.is_empty() {
            pace.had_all().await;
        }
        if !covered.is_empty() {
            pace.hold().await;
            sleep(CALM).await;
            faults.extend(self.in_lanes(1, covered, settings.seed, 1_200).await?);
        }
        Ok(faults)
    }

    async fn in_lanes(
        &self,
        lanes: u64,
        strikes: Vec<Strike>,
        seed: u64,
        series: u64,
    ) -> anyhow::Result<Vec<Fault>> {
        let waiting = RefCell::new(strikes);
        let lanes = (0..lanes).map(|lane| self.lane(&waiting, Choices::new(seed, series + lane)));
        Ok(try_join_all(lanes).await?.concat())
    }

    /// Strikes until none is left.
    async fn lane(
        &self,
        waiting: &RefCell<Vec<Strike>>,
        mut choices: Choices,
    ) -> anyhow::Result<Vec<Fault>> {
        let mut faults = Vec::new();
        while !waiting.borrow().is_empty() {
            let which = choices.below(1_000_000);
            let strike = self.struck.begin(&mut waiting.borrow_mut(), which);
            let Some(strike) = strike else {
                // What is left is for whoever is struck now.
                sleep(TICK).await;
                continue;
            };
            faults.push(self.strike(strike, &mut choices).await?);
            rest(&mut choices, true).await;
        }
        Ok(faults)
    }

    async fn strike(&self, strike: Strike, choices: &mut Choices) -> anyhow::Result<Fault> {
        let longest = if self.struck.is_brief { 1_000 } else { 2_500 };
        let moment = Duration::from_millis(200 + choices.below(longest));
        let from = self.place.now();
        self.struck.strike(strike, moment).await?;
        let fault = Fault {
            name: format!("{strike:?}"),
            from,
            to: self.place.now(),
            covered: strike.covered().map(str::to_owned),
        };
        (self.told)(&fault);
        Ok(fault)
    }
}

/// Between two faults.
async fn rest(choices: &mut Choices, is_brief: bool) {
    let longest = if is_brief { 400 } else { 1_500 };
    sleep(Duration::from_millis(choices.below(longest))).await;
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
