//! Whether anything grows while Natter works at a steady rate, and whether everything that was in use
//! is given back when the work ends.
//!
//! Pairs of friends with two devices each (one basic, one with `natter.v1`) talk in an open loop;
//! meanwhile connections come and go, sessions begin and end, friendships break and are mended, and
//! people search, page and upload. What each process holds is read every few seconds. What was sent
//! and what each device was shown is compared at the end.

mod crowd;
mod device;
mod errands;
mod growth;
mod meter;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use natter_e2e::{Topology, World};
use tokio::time::Instant;

use self::{
    crowd::Crowd,
    errands::run_errands,
    growth::{Row, rows},
    meter::{Meter, given_back, watch},
};
use crate::{
    client::Place,
    record::{At, Stall},
    stalls::{Watch, stood_still},
};

/// Until allocators, caches and pools have what they need; of a short run a fifth.
const WARM_UP: Duration = Duration::from_secs(120);
/// What happens in less says nothing of what grows in an hour: caches still fill after ten minutes.
const SHORTEST_JUDGED: Duration = Duration::from_secs(1_800);
const PAUSE: Duration = Duration::from_millis(100);
const MOST_FAULTS: usize = 100;

/// What is to be run.
#[derive(Clone, Copy, Debug)]
pub struct Soak {
    pub length: Duration,
    /// Messages a second in all.
    pub rate: u32,
    /// Of people, with two devices each.
    pub pairs: usize,
    pub seed: u64,
}

impl Default for Soak {
    fn default() -> Self {
        Self {
            length: Duration::from_secs(3_600),
            rate: 50,
            pairs: 20,
            seed: 1,
        }
    }
}

impl Soak {
    fn warm_up(&self) -> Duration {
        WARM_UP.min(self.length / 5)
    }
}

/// How a run went.
#[derive(Debug)]
pub struct Report {
    settings: Soak,
    counts: BTreeMap<&'static str, u64>,
    rows: Vec<Row>,
    /// What was lost, what grew, and what was not given back.
    pub faults: Vec<String>,
}

/// Runs a Natter of its own under a steady load, and looks at what it holds.
pub async fn soak(settings: Soak, say: impl Fn(String)) -> anyhow::Result<Report> {
    let world = World::start(Topology::Apart).await;
    let mut meter = Meter::start(&world).await?;
    let before = meter.read(&world).await?;
    let tally = Arc::<Tally>::default();
    let place = Place::new(
        world.users(),
        world.friendships(),
        vec![world.messages(), world.url("messages-2")],
        vec![world.gateway(), world.gateway_2()],
    );
    let watched = Watch::start(&place);
    let mut crowd = Crowd::gather(&world, &place, &tally, settings).await?;
    say(format!("{} pairs have signed up", settings.pairs));
    let rooms = crowd.rooms.clone();
    let over = Instant::now() + settings.length;
    let (driven, errands, samples) = tokio::join!(
        crowd.drive(settings, over),
        run_errands(&place, &rooms, &tally, settings.seed, over),
        watch(&world, &mut meter, &tally, over, &say),
    );
    driven?;
    errands?;
    let samples = samples?;
    say("the load has ended: everybody is shown what was sent".to_owned());
    crowd.settle(&place, &tally).await?;
    // With the people go the connections of their HTTP clients.
    drop(rooms);
    crowd.leave().await?;
    say("everybody has gone: what is given back".to_owned());
    let (after, kept) = given_back(&world, &mut meter, &before).await?;
    let rows = rows(settings, &before, &samples, &after);
    let mut faults = tally.faults();
    let stalls = watched.end();
    faults.extend(tally.without_excuse(&stalls));
    let failures = place.failures().into_iter();
    let failures = failures.filter(|one| one.status != 503 || !stood_still(&stalls, one.at));
    faults.extend(failures.map(|one| one.what));
    faults.extend(kept);
    if settings.length >= SHORTEST_JUDGED {
        faults.extend(rows.iter().filter_map(Row::growth));
    }
    let report = Report {
        settings,
        counts: tally.counts().clone(),
        rows,
        faults,
    };
    // Before the processes are let go: one that has logged what it must not ends everything then.
    say(report.to_string());
    Ok(report)
}

/// What was counted, and what went wrong on the way.
#[derive(Default)]
struct Tally {
    counts: Mutex<BTreeMap<&'static str, u64>>,
    faults: Mutex<Vec<String>>,
    /// What is a fault unless the machine stood still then.
    late: Mutex<Vec<(At, String)>>,
}

impl Tally {
    fn counts(&self) -> MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, what: &'static str) {
        *self.counts().entry(what).or_default() += 1;
    }

    fn of(&self, what: &str) -> u64 {
        self.counts().get(what).copied().unwrap_or_default()
    }

    fn fault(&self, what: String) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        if faults.len() < MOST_FAULTS {
            faults.push(what);
        }
    }

    fn late(&self, at: At, what: String) {
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        late.push((at, what));
    }

    /// What was told while the machine did not stand still.
    fn without_excuse(&self, stalls: &[Stall]) -> Vec<String> {
        let late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        let late = late.iter().filter(|(at, _)| !stood_still(stalls, *at));
        late.map(|(at, what)| format!("at {:.3} s {what}", at.as_secs_f64()))
            .collect()
    }

    fn faults(&self) -> Vec<String> {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.clone()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Soak {
            length,
            rate,
            pairs,
            seed,
        } = self.settings;
        writeln!(
            f,
            "{:.1} minutes, {rate} messages a second, {pairs} pairs, seed {seed}",
            length.as_secs_f64() / 60.0
        )?;
        writeln!(
            f,
            "{:<14}{:<34}{:>8}{:>8}{:>8}{:>8}{:>10}{:>10}{:>10}",
            "process", "what", "before", "first", "last", "after", "a minute", "half 1", "half 2"
        )?;
        for row in &self.rows {
            let (process, what) = &row.key;
            writeln!(
                f,
                "{process:<14}{what:<34}{:>8.0}{:>8.0}{:>8.0}{:>8.0}{:>10.2}{:>10.2}{:>10.2}",
                row.before,
                row.first,
                row.last,
                row.after,
                row.a_minute,
                row.halves[0],
                row.halves[1]
            )?;
        }
        for (what, count) in &self.counts {
            writeln!(f, "{what:<48}{count:>9}")?;
        }
        writeln!(f, "{:<48}{:>9}", "faults", self.faults.len())?;
        for fault in &self.faults {
            writeln!(f, "{fault}")?;
        }
        Ok(())
    }
}
