//! What a message costs: delivered a second, latency, and CPU seconds of every process, beside the
//! floors that the parts have alone on the same machine in the same run.

mod floors;
mod load;
mod meter;
mod plot;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::Context;
use clap::{Args, ValueEnum};
use natter_e2e::{Topology, World};
use tokio::time::{Instant, sleep};

pub use floors::relay;

use crate::{
    history,
    table::{line, percentile},
};
use floors::Floors;
use load::{Pair, Pattern, Tally};
use meter::{Counted, Cpu, Meter};

/// Pairs of the open loop, and of the counting of statements and system calls.
const PAIRS: usize = 50;
const COUNTED_RATE: u64 = 50;
const PATTERNS: [Pattern; 7] = [
    Pattern::Open { rate: 50 },
    Pattern::Open { rate: 200 },
    Pattern::Open { rate: 1_000 },
    Pattern::Open { rate: 5_000 },
    Pattern::Closed {
        pairs: 50,
        window: 8,
    },
    Pattern::Closed {
        pairs: 400,
        window: 4,
    },
    Pattern::Closed {
        pairs: 1,
        window: 200,
    },
];

/// After the loading the disk is quick again when so many commits in a row, with this pause before
/// each, have taken less than this.
const QUICK_COMMITS: u32 = 50;
const COMMIT_PAUSE: Duration = Duration::from_millis(100);
const SLOW_COMMIT: Duration = Duration::from_millis(50);
const SETTLE_PATIENCE: Duration = Duration::from_secs(300);

#[derive(Args)]
pub struct Options {
    /// How the services run [default: both]
    #[arg(long)]
    services: Option<Services>,
    /// Messages that the database holds before [default: none, and then 10 million]
    #[arg(long)]
    stored: Option<u64>,
    /// Seconds that each load lasts
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Only loads whose name contains this: "200/s", "closed"
    #[arg(long, default_value = "")]
    only: String,
    /// Where the plot goes; none where a part of the loads is measured
    #[arg(long, default_value = "tests/bench/messages.svg")]
    plot: PathBuf,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Services {
    /// In one process.
    Standalone,
    /// A process each: two gateways and two messages replicas.
    Apart,
}

impl Services {
    fn topology(self) -> Topology {
        match self {
            Self::Standalone => Topology::Standalone,
            Self::Apart => Topology::Apart,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Standalone => "standalone",
            Self::Apart => "apart",
        }
    }
}

/// The result of one load.
pub struct Point {
    pub variant: String,
    pub load: String,
    pub delivered_per_second: f64,
    /// Milliseconds from the intended send.
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    /// CPU seconds per 1,000 delivered.
    pub cpu: Cpu,
    /// CPU seconds per 1,000 that the parts take alone.
    pub floor: f64,
    refused: u64,
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    let services = match options.services {
        Some(one) => vec![one],
        None => vec![Services::Standalone, Services::Apart],
    };
    let stored = match options.stored {
        Some(one) => vec![one],
        None => vec![0, 10_000_000],
    };
    let is_whole = options.only.is_empty();
    let patterns = PATTERNS.into_iter();
    let patterns: Vec<Pattern> = patterns
        .filter(|pattern| pattern.name().contains(&options.only))
        .collect();
    let seconds = Duration::from_secs(options.seconds);
    let mut progress = Progress {
        done: 0,
        steps: 1 + services.len() * stored.len() * (patterns.len() + 2),
    };
    progress.step("floors");
    let floors = Floors::measure(seconds / 3).await?;
    floors.print()?;
    line(
        "| services, stored before | load | delivered a second | p50 / p99 / p99.9 ms | CPU-s per 1,000: all | Natter | nats-server | Postgres | times the floor | refused |",
    )?;
    line("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")?;
    let (mut points, mut counted) = (Vec::new(), BTreeMap::new());
    for services in services {
        for stored in &stored {
            let variant = format!("{}, {}", services.name(), number(*stored));
            progress.step(&format!("{variant}: starting"));
            let world = start(services, *stored).await?;
            let most = patterns.iter().map(Pattern::pairs).max().unwrap_or(1);
            let mut pairs = load::connect(&world, most.max(PAIRS)).await?;
            let meter = Meter::start(&world)?;
            sleep(seconds).await;
            let idle = meter.stop(&world)?.per(options.seconds as f64).all();
            eprintln!("{variant}: idle, {idle:.3} CPU-s a second");
            for pattern in &patterns {
                progress.step(&format!("{variant}: {}", pattern.name()));
                let point = measure(&world, &mut pairs, *pattern, seconds, &floors).await?;
                let point = Point {
                    variant: variant.clone(),
                    ..point
                };
                point.print()?;
                points.push(point);
            }
            progress.step(&format!("{variant}: counting"));
            counted.insert(variant, count(&world, &mut pairs).await?);
        }
    }
    line("")?;
    line(&format!(
        "At {COUNTED_RATE}/s, a message: | statements | commits | system calls of Natter | bytes of WAL"
    ))?;
    for (variant, counted) in &counted {
        line(&format!("| {variant} | {counted}"))?;
    }
    if is_whole {
        std::fs::write(&options.plot, plot::svg(&points))
            .with_context(|| format!("{} cannot be written", options.plot.display()))?;
    }
    Ok(())
}

/// A Natter that holds so many messages, and whose Postgres counts statements when it is told to.
async fn start(services: Services, stored: u64) -> anyhow::Result<World> {
    let mut world = World::start(services.topology()).await;
    if stored > 0 {
        history::fill(&world, stored).await?;
    }
    meter::prepare(&mut world).await?;
    if stored > 0 {
        settle(&world).await?;
    }
    Ok(world)
}

/// Waits until the disk has taken what was loaded, and commits are as quick as they usually are.
async fn settle(world: &World) -> anyhow::Result<()> {
    let mut admin = world.postgres.admin("natter").await;
    let give_up = Instant::now() + SETTLE_PATIENCE;
    let mut quick = 0;
    while quick < QUICK_COMMITS {
        anyhow::ensure!(
            Instant::now() < give_up,
            "commits stay slow after the loading"
        );
        let begun = Instant::now();
        sqlx::raw_sql("SELECT pg_logical_emit_message(true, 'natter', 'a commit')")
            .execute(&mut admin)
            .await?;
        let is_quick = begun.elapsed() < SLOW_COMMIT;
        quick = if is_quick { quick + 1 } else { 0 };
        sleep(COMMIT_PAUSE).await;
    }
    Ok(())
}

async fn measure(
    world: &World,
    pairs: &mut [Pair],
    pattern: Pattern,
    time: Duration,
    floors: &Floors,
) -> anyhow::Result<Point> {
    load::run(pairs, pattern, time / 5, "warm").await?;
    let meter = Meter::start(world)?;
    let Tally {
        mut times,
        refused,
        took,
    } = load::run(pairs, pattern, time, "load").await?;
    let delivered = times.len() as f64;
    let cpu = meter.stop(world)?.per(delivered / 1_000.0);
    let ms = |share: f64, times: &mut Vec<Duration>| percentile(times, share).as_secs_f64() * 1e3;
    Ok(Point {
        variant: String::new(),
        load: pattern.name(),
        delivered_per_second: delivered / took.as_secs_f64(),
        p50: ms(0.5, &mut times),
        p99: ms(0.99, &mut times),
        p999: ms(0.999, &mut times),
        cpu,
        floor: floors.of(pattern),
        refused,
    })
}

async fn count(world: &World, pairs: &mut [Pair]) -> anyhow::Result<Counted> {
    let pattern = Pattern::Open { rate: COUNTED_RATE };
    let counting = meter::Counting::start(world).await?;
    let tally = load::run(pairs, pattern, Duration::from_secs(6), "count").await?;
    let mut counted = counting.stop(world, tally.times.len() as f64).await?;
    let tracing = meter::Tracing::start(world)?;
    let tally = load::run(pairs, pattern, Duration::from_secs(6), "trace").await?;
    counted.calls = tracing.stop(tally.times.len() as f64).await?;
    Ok(counted)
}

impl Point {
    fn print(&self) -> anyhow::Result<()> {
        let Cpu {
            natter,
            nats,
            postgres,
            generator,
        } = self.cpu;
        let all = self.cpu.all();
        line(&format!(
            "| {} | {} | {:.0} | {:.1} / {:.1} / {:.1} | {all:.3} | {natter:.3} | {nats:.3} | {postgres:.3} | {:.1} | {} |",
            self.variant,
            self.load,
            self.delivered_per_second,
            self.p50,
            self.p99,
            self.p999,
            all / self.floor,
            self.refused
        ))?;
        eprintln!("the generator itself: {generator:.3}");
        Ok(())
    }
}

/// Prints which step runs, and how many are done.
struct Progress {
    done: usize,
    steps: usize,
}

impl Progress {
    fn step(&mut self, what: &str) {
        let bar = "#".repeat(30 * self.done / self.steps);
        self.done += 1;
        eprintln!("[{bar:30}] {} of {}: {what}", self.done, self.steps);
    }
}

fn number(stored: u64) -> String {
    match stored {
        0 => "none".to_owned(),
        stored if stored % 1_000_000 == 0 => format!("{} million", stored / 1_000_000),
        stored => stored.to_string(),
    }
}
