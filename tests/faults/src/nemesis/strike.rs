//! What strikes, how it is made and how it is mended.

use std::{cell::RefCell, fs, time::Duration};

use anyhow::{Context, ensure};
use async_nats::jetstream::stream::Config;
use natter_e2e::World;
use natter_test_support::{Signal, until};
use tempfile::TempDir;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout},
};

use super::{
    Disks, TICK,
    links::{Links, Pace},
};
use crate::client::PATIENCE;

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

/// Longer than anybody waits for an answer.
const LONG: Duration = Duration::from_secs(12);
/// Longer than a consumer has for an event before another replica gets it.
const LONGEST: Duration = Duration::from_secs(35);
/// Long enough for something to be written, and to be waited for in vain.
const BRIEF: Duration = Duration::from_secs(5);
/// How far a clock jumps, in seconds: less than a token lives.
const CLOCK_JUMP: i32 = 40;
/// How long a frozen process may keep us waiting when it is asked whether it is ready.
const ASK: Duration = Duration::from_secs(1);

impl Strike {
    /// The replica that is struck, where another is there for it.
    pub fn covered(self) -> Option<&'static str> {
        match self {
            Self::Crowd => Some("crowd"),
            Self::FeedFull(_) => Some("feed"),
            // The servers that are left of a cluster elect leaders first.
            _ => self
                .process()
                .filter(|name| *name != "users" && !self.is_of_clock()),
        }
    }

    fn is_of_clock(self) -> bool {
        matches!(self, Self::Clock(_))
    }

    /// The process that is not itself while it is struck.
    fn process(self) -> Option<&'static str> {
        match self {
            Self::Kill(name)
            | Self::Freeze(name)
            | Self::LongFreeze(name)
            | Self::Restart(name)
            | Self::Failpoint(name, _)
            | Self::Clock(name) => Some(name),
            _ => None,
        }
    }

    /// What is struck once at a time: a service with all its replicas, or the servers together.
    fn target(self) -> &'static str {
        match self {
            Self::Deaf(_) | Self::Crowd => "gateway",
            _ => self
                .process()
                .map_or("servers", |name| name.trim_end_matches("-2")),
        }
    }

    /// How long it holds, where nothing else says so. A second replica, a full disk and the like are
    /// held more briefly where `is_brief`: the first replica has shown what takes its time.
    fn hold(self, is_brief: bool) -> Duration {
        match self {
            Self::LongFreeze(_) => LONGEST,
            Self::Freeze(name) | Self::Deaf(name) if is_brief && name.ends_with("-2") => BRIEF,
            Self::PostgresFull | Self::NatsFull | Self::FeedFull(_) if is_brief => BRIEF,
            _ => LONG,
        }
    }
}

/// What those who strike at the same time share. The world is held for single steps alone: never
/// while something is waited for that another has to mend.
pub struct Struck<'a> {
    pub world: Mutex<&'a mut World>,
    pub links: &'a Links,
    pub disks: Option<&'a Disks>,
    pub copy: Option<&'a TempDir>,
    pub clocks: Option<&'a TempDir>,
    pub pace: &'a Pace,
    pub is_brief: bool,
    /// What is struck now.
    pub now: RefCell<Vec<Strike>>,
}

impl<'a> Struck<'a> {
    /// Takes one whose target nobody strikes now, and which is struck from now on.
    pub fn begin(&self, waiting: &mut Vec<Strike>, which: u64) -> Option<Strike> {
        let mut now = self.now.borrow_mut();
        let strike = take(waiting, &now, which)?;
        now.push(strike);
        Some(strike)
    }

    /// Makes a fault, holds it, mends it, and waits until all is well that nobody else strikes.
    pub async fn strike(&self, strike: Strike, moment: Duration) -> anyhow::Result<()> {
        self.make(strike, moment).await?;
        self.ready(strike).await?;
        self.now.borrow_mut().retain(|other| *other != strike);
        Ok(())
    }

    async fn make(&self, strike: Strike, moment: Duration) -> anyhow::Result<()> {
        let hold = strike.hold(self.is_brief);
        match strike {
            Strike::Kill(name) => {
                self.end(name, Signal::Kill).await?;
                sleep(moment).await;
                self.world.lock().await.begin(name);
            }
            Strike::Restart(name) => {
                self.end(name, Signal::Term).await?;
                self.world.lock().await.begin(name);
            }
            Strike::Freeze(name) | Strike::LongFreeze(name) => {
                self.world.lock().await.signal(name, Signal::Stop).await;
                sleep(hold).await;
                self.world.lock().await.signal(name, Signal::Cont).await;
            }
            Strike::Failpoint(name, point) => self.fail_at(name, point).await?,
            Strike::PostgresKill
            | Strike::PostgresStop
            | Strike::PostgresFreeze
            | Strike::PostgresPower
            | Strike::PostgresFull => self.strike_postgres(strike, moment, hold).await?,
            Strike::NatsKill(_)
            | Strike::NatsFreeze(_)
            | Strike::NatsPower
            | Strike::NatsFull
            | Strike::NatsOlder => self.strike_nats(strike, moment, hold).await?,
            Strike::FeedFull(stream) => self.fill_feed(stream, hold).await?,
            Strike::Deaf(gateway) => {
                let link = &self.links[&format!("{gateway} to nats")];
                // The troubles of links would mend it.
                self.pace.hold().await;
                link.partition();
                sleep(hold).await;
                link.mend();
                self.pace.go_on();
            }
            Strike::Clock(name) => {
                let clocks = self.clocks.context("there are no clocks")?;
                for jump in [CLOCK_JUMP, -CLOCK_JUMP, 0] {
                    fs::write(clocks.path().join(name), format!("{jump:+}"))?;
                    // The library looks once a second.
                    sleep(moment + Duration::from_secs(1)).await;
                }
            }
            Strike::Crowd => {
                for link in ["gateway", "gateway-2"] {
                    self.links[link].cut();
                }
            }
        }
        Ok(())
    }

    /// Ends a process, however long that takes it.
    async fn end(&self, name: &str, signal: Signal) -> anyhow::Result<()> {
        self.world.lock().await.signal(name, signal).await;
        let give_up = Instant::now() + PATIENCE;
        while !self.world.lock().await.process(name).has_ended() {
            ensure!(
                Instant::now() < give_up,
                "{name} does not end after {signal:?}"
            );
            sleep(TICK).await;
        }
        Ok(())
    }

    /// Lets a process end itself at a point, if it comes to it.
    async fn fail_at(&self, name: &str, point: &str) -> anyhow::Result<()> {
        let set = async |value: &str| self.world.lock().await.set(name, "FAILPOINTS", value);
        set(&format!("{point}=return")).await;
        // It may end itself before it is ready.
        self.end(name, Signal::Term).await?;
        self.world.lock().await.begin(name);
        let give_up = Instant::now() + LONG;
        while !self.world.lock().await.process(name).has_ended() && Instant::now() < give_up {
            sleep(TICK).await;
        }
        set("").await;
        self.end(name, Signal::Kill).await?;
        self.world.lock().await.begin(name);
        Ok(())
    }

    async fn strike_postgres(
        &self,
        strike: Strike,
        moment: Duration,
        hold: Duration,
    ) -> anyhow::Result<()> {
        match strike {
            Strike::PostgresFreeze => {
                self.world
                    .lock()
                    .await
                    .postgres
                    .signal_all(Signal::Stop)
                    .await;
                sleep(hold).await;
                self.world
                    .lock()
                    .await
                    .postgres
                    .signal_all(Signal::Cont)
                    .await;
            }
            Strike::PostgresPower => {
                let disk = &self.disks()?.postgres;
                disk.lose_power().await?;
                self.world.lock().await.postgres.stop(Signal::Kill).await;
                disk.power_up().await?;
                self.world.lock().await.postgres.start_again().await;
            }
            Strike::PostgresFull => {
                let disk = &self.disks()?.postgres;
                disk.fill().await?;
                sleep(hold).await;
                disk.empty().await?;
                self.world.lock().await.postgres.recover().await;
            }
            _ => {
                let is_killed = strike == Strike::PostgresKill;
                let signal = if is_killed { Signal::Kill } else { Signal::Int };
                self.world.lock().await.postgres.stop(signal).await;
                sleep(moment).await;
                self.world.lock().await.postgres.start_again().await;
            }
        }
        Ok(())
    }

    async fn strike_nats(
        &self,
        strike: Strike,
        moment: Duration,
        hold: Duration,
    ) -> anyhow::Result<()> {
        match strike {
            Strike::NatsKill(node) => {
                self.world
                    .lock()
                    .await
                    .nats
                    .stop_node(node, Signal::Kill)
                    .await;
                sleep(moment).await;
                self.world.lock().await.nats.start_node(node).await;
            }
            Strike::NatsFreeze(node) => {
                self.world
                    .lock()
                    .await
                    .nats
                    .signal_node(node, Signal::Stop)
                    .await;
                sleep(hold).await;
                self.world
                    .lock()
                    .await
                    .nats
                    .signal_node(node, Signal::Cont)
                    .await;
            }
            Strike::NatsPower => {
                let disk = &self.disks()?.nats;
                disk.lose_power().await?;
                let nodes = self.world.lock().await.nats.urls().len();
                for node in 0..nodes {
                    self.world
                        .lock()
                        .await
                        .nats
                        .stop_node(node, Signal::Kill)
                        .await;
                }
                disk.power_up().await?;
                self.world.lock().await.nats.start_all().await;
            }
            Strike::NatsFull => {
                let disk = &self.disks()?.nats;
                disk.fill().await?;
                sleep(hold).await;
                disk.empty().await?;
                // It switches JetStream off when it cannot write.
                let mut world = self.world.lock().await;
                world.nats.stop(Signal::Kill).await;
                world.nats.start_again().await;
            }
            _ => {
                let copy = self.copy.context("there is no copy")?;
                let mut world = self.world.lock().await;
                world.nats.stop(Signal::Term).await;
                world.nats.restore(copy);
                // Else a power cut that follows would tear it.
                if let Some(disks) = self.disks {
                    disks.nats.flush().await?;
                }
                world.nats.start_again().await;
            }
        }
        Ok(())
    }

    /// Leaves a stream no room while it holds.
    async fn fill_feed(&self, name: &str, hold: Duration) -> anyhow::Result<()> {
        let admin = natter_e2e::jetstream(&self.world.lock().await.nats, "admin").await;
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
            let give_up = Instant::now() + PATIENCE;
            while let Err(error) = admin.update_stream(config.clone()).await {
                let context = || format!("the stream {name} cannot be changed");
                if Instant::now() > give_up {
                    return Err(error).with_context(context);
                }
                sleep(TICK).await;
            }
            sleep(hold).await;
        }
        Ok(())
    }

    /// Waits until the process that was struck is ready, or after another strike every process that
    /// nobody else strikes.
    async fn ready(&self, own: Strike) -> anyhow::Result<()> {
        let names = match own.process() {
            Some(name) => vec![name],
            None => self.world.lock().await.names(),
        };
        let give_up = Instant::now() + PATIENCE;
        for name in names {
            while !self.is_struck(name, own) && !self.is_ready(name).await {
                let log = || async { self.world.lock().await.process(name).lines().join("\n") };
                if Instant::now() > give_up {
                    anyhow::bail!("after {own:?} {name} does not get ready\n{}", log().await);
                }
                sleep(TICK).await;
            }
        }
        Ok(())
    }

    fn is_struck(&self, name: &str, own: Strike) -> bool {
        let now = self.now.borrow();
        let mut others = now.iter().filter(|other| **other != own);
        others.any(|other| other.process() == Some(name))
    }

    async fn is_ready(&self, name: &str) -> bool {
        let world = self.world.lock().await;
        let asking = timeout(ASK, world.is_ready(name));
        asking.await.unwrap_or(false)
    }

    fn disks(&self) -> anyhow::Result<&'a Disks> {
        self.disks.context("there are no disks")
    }
}

/// Takes one of those whose target none of the others has.
fn take(waiting: &mut Vec<Strike>, others: &[Strike], which: u64) -> Option<Strike> {
    let is_free = |strike: &Strike| others.iter().all(|other| other.target() != strike.target());
    let free: Vec<usize> = (0..waiting.len())
        .filter(|at| is_free(&waiting[*at]))
        .collect();
    let which = usize::try_from(which).ok()? % free.len().max(1);
    Some(waiting.swap_remove(*free.get(which)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_and_the_servers_are_struck_once_at_a_time() {
        let all = [
            Strike::Kill("messages"),
            Strike::LongFreeze("messages-2"),
            Strike::Clock("messages"),
            Strike::PostgresFull,
            Strike::NatsKill(1),
            Strike::FeedFull("USERS"),
            Strike::Deaf("gateway-2"),
            Strike::Crowd,
        ];
        for which in 0..100 {
            let mut waiting = all.to_vec();
            let mut now = Vec::new();
            while let Some(strike) = take(&mut waiting, &now, which) {
                now.push(strike);
            }
            let mut struck: Vec<&str> = now.iter().map(|strike| strike.target()).collect();
            struck.sort_unstable();
            assert_eq!(struck, ["gateway", "messages", "servers"], "{now:?}");
            assert_eq!(waiting.len() + now.len(), all.len());
        }
    }

    #[test]
    fn only_a_replica_whose_other_goes_on_is_covered() {
        for strike in [
            Strike::Kill("users"),
            Strike::Clock("messages"),
            Strike::Deaf("gateway"),
            Strike::NatsFreeze(2),
            Strike::PostgresKill,
        ] {
            assert_eq!(strike.covered(), None, "{strike:?}");
        }
        let failing = Strike::Failpoint("messages-2", "feed-publish");
        assert_eq!(failing.covered(), Some("messages-2"));
        assert_eq!(Strike::Freeze("gateway").covered(), Some("gateway"));
    }
}
