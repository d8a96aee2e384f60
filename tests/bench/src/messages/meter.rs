//! What the processes used, and what Postgres counted.

use std::{fmt, fs, process::Stdio, time::Duration};

use anyhow::Context;
use natter_e2e::World;
use natter_test_support::Signal;
use tempfile::NamedTempFile;
use tokio::{
    process::{Child, Command},
    time::sleep,
};

/// The kernel's unit of CPU time, on every usual Linux.
const TICKS_PER_SECOND: f64 = 100.0;
/// After which Postgres has added up what its backends did.
const STATISTICS: Duration = Duration::from_secs(2);

/// CPU seconds, user and system.
#[derive(Clone, Copy, Default)]
pub struct Cpu {
    pub natter: f64,
    pub nats: f64,
    pub postgres: f64,
    pub generator: f64,
}

impl Cpu {
    pub fn all(&self) -> f64 {
        self.natter + self.nats + self.postgres
    }

    /// For each of `count`.
    pub fn per(self, count: f64) -> Self {
        let Self {
            natter,
            nats,
            postgres,
            generator,
        } = self;
        Self {
            natter: natter / count,
            nats: nats / count,
            postgres: postgres / count,
            generator: generator / count,
        }
    }

    fn now(world: &World) -> anyhow::Result<Self> {
        let natter = natter_ids(world).into_iter();
        let natter: anyhow::Result<Vec<f64>> = natter.map(used).collect();
        let nats = world.nats.process_id().context("NATS runs")?;
        Ok(Self {
            natter: natter?.into_iter().sum(),
            nats: used(nats)?,
            postgres: used_with_children(world.postgres.process_id().context("Postgres runs")?)?,
            generator: used(std::process::id())?,
        })
    }
}

fn natter_ids(world: &World) -> Vec<u32> {
    let names = world.names().into_iter();
    names.filter_map(|name| world.process_id(name)).collect()
}

/// What a process has used so far.
pub fn used(process: u32) -> anyhow::Result<f64> {
    Ok(times(process)?.0)
}

/// The same with its children, those that have ended too.
pub fn used_with_children(process: u32) -> anyhow::Result<f64> {
    let (own, ended) = times(process)?;
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children"))?;
    let children = children.split_whitespace().filter_map(|id| id.parse().ok());
    // One that has ended meanwhile is counted above the next time.
    let children = children.filter_map(|id| used(id).ok());
    Ok(own + ended + children.sum::<f64>())
}

/// Of a process, and of its children that have ended.
fn times(process: u32) -> anyhow::Result<(f64, f64)> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name, in parentheses, may hold spaces.
    let (_, fields) = stat.rsplit_once(')').context("a name in parentheses")?;
    let ticks: Vec<f64> = fields
        .split_whitespace()
        .skip(11)
        .take(4)
        .filter_map(|field| field.parse().ok())
        .collect();
    let [user, system, ended_user, ended_system] = ticks[..] else {
        anyhow::bail!("four times in {stat}");
    };
    let seconds = |ticks: f64| ticks / TICKS_PER_SECOND;
    Ok((seconds(user + system), seconds(ended_user + ended_system)))
}

/// Measures CPU from here to its stop.
pub struct Meter(Cpu);

impl Meter {
    pub fn start(world: &World) -> anyhow::Result<Self> {
        Ok(Self(Cpu::now(world)?))
    }

    pub fn stop(self, world: &World) -> anyhow::Result<Cpu> {
        let (before, now) = (self.0, Cpu::now(world)?);
        Ok(Cpu {
            natter: now.natter - before.natter,
            nats: now.nats - before.nats,
            postgres: now.postgres - before.postgres,
            generator: now.generator - before.generator,
        })
    }
}

/// Starts Postgres again as one that counts statements when it is told to.
pub async fn prepare(world: &mut World) -> anyhow::Result<()> {
    let mut admin = world.postgres.admin("natter").await;
    for statement in [
        "CREATE EXTENSION IF NOT EXISTS pg_stat_statements",
        "ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'",
    ] {
        sqlx::raw_sql(statement).execute(&mut admin).await?;
    }
    world.postgres.stop(Signal::Int).await;
    world.postgres.start_again().await;
    set_tracking(world, "none").await?;
    world.ready().await;
    Ok(())
}

/// What one message came to.
pub struct Counted {
    statements: f64,
    commits: f64,
    pub calls: Option<f64>,
    wal_bytes: f64,
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls = match self.calls {
            Some(calls) => format!("{calls:.0}"),
            None => "(strace is not installed)".to_owned(),
        };
        let Self {
            statements,
            commits,
            wal_bytes,
            ..
        } = self;
        write!(
            f,
            "{statements:.1} | {commits:.1} | {calls} | {wal_bytes:.0}"
        )
    }
}

/// Counts what Postgres does from here to its stop.
pub struct Counting(Totals);

#[derive(sqlx::FromRow)]
struct Totals {
    statements: f64,
    commits: f64,
    wal_bytes: f64,
}

impl Counting {
    pub async fn start(world: &World) -> anyhow::Result<Self> {
        set_tracking(world, "all").await?;
        Ok(Self(totals(world).await?))
    }

    pub async fn stop(self, world: &World, messages: f64) -> anyhow::Result<Counted> {
        let (before, now) = (self.0, totals(world).await?);
        set_tracking(world, "none").await?;
        Ok(Counted {
            statements: (now.statements - before.statements) / messages,
            commits: (now.commits - before.commits) / messages,
            calls: None,
            wal_bytes: (now.wal_bytes - before.wal_bytes) / messages,
        })
    }
}

async fn set_tracking(world: &World, which: &str) -> anyhow::Result<()> {
    let mut admin = world.postgres.admin("natter").await;
    let set = format!("ALTER SYSTEM SET pg_stat_statements.track = '{which}'");
    let set = sqlx::AssertSqlSafe(set);
    sqlx::raw_sql(set).execute(&mut admin).await?;
    sqlx::raw_sql("SELECT pg_reload_conf()")
        .execute(&mut admin)
        .await?;
    Ok(())
}

/// The statements of the messages service's role alone; commits and WAL of all, which Postgres does not
/// tell apart.
async fn totals(world: &World) -> anyhow::Result<Totals> {
    sleep(STATISTICS).await;
    let mut admin = world.postgres.admin("natter").await;
    Ok(sqlx::query_as(
        "SELECT coalesce((SELECT sum(calls) FROM pg_stat_statements
                          WHERE userid = 'natter_messages'::regrole), 0)::float8 AS statements,
                (SELECT xact_commit FROM pg_stat_database
                 WHERE datname = 'natter')::float8 AS commits,
                (pg_current_wal_lsn() - '0/0')::float8 AS wal_bytes",
    )
    .fetch_one(&mut admin)
    .await?)
}

/// Counts Natter's system calls from here to its stop. Slow: nothing else is measured meanwhile.
pub struct Tracing(Option<(Child, NamedTempFile)>);

impl Tracing {
    pub fn start(world: &World) -> anyhow::Result<Self> {
        let out = NamedTempFile::with_prefix("natter-strace-")?;
        let mut command = Command::new("strace");
        command.args(["-f", "-c", "-o"]).arg(out.path());
        for id in natter_ids(world) {
            command.args(["-p", &id.to_string()]);
        }
        let strace = command.stderr(Stdio::null()).kill_on_drop(true).spawn();
        // A machine without strace has one figure less.
        Ok(Self(strace.ok().map(|strace| (strace, out))))
    }

    /// System calls for each of so many messages.
    pub async fn stop(self, messages: f64) -> anyhow::Result<Option<f64>> {
        let Some((mut strace, out)) = self.0 else {
            return Ok(None);
        };
        let id = strace.id().context("strace runs")?;
        Command::new("sh")
            .args(["-c", &format!("kill -INT {id}")])
            .status()
            .await?;
        strace.wait().await?;
        let table = fs::read_to_string(out.path())?;
        let total = table.lines().find(|line| line.ends_with(" total"));
        let calls = total.and_then(|line| line.split_whitespace().nth(3));
        let calls: f64 = calls.context("strace's total")?.parse()?;
        Ok(Some(calls / messages))
    }
}
