//! What an idle connection costs the gateway, and how fast connections are opened.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::Context;
use natter_e2e::{Topology, World};

use crate::{crowd, table::line};

const SIZES: [usize; 2] = [1_000, 10_000];
/// Connections of users without a channel.
const WITHOUT_CHANNEL: usize = 2_000;
/// Connections that are being opened at a time.
const OPENING: usize = 50;
/// How long the gateway gets to free what the opening of the connections needed.
const SETTLE: Duration = Duration::from_secs(5);

pub async fn run() -> anyhow::Result<()> {
    let world = World::start(Topology::Apart).await;
    let most = SIZES.into_iter().max().unwrap_or_default();
    let tokens = crowd::people(&world, most).await?;
    let mut sockets = Vec::with_capacity(most);
    let id = world.process_id("gateway").context("the gateway runs")?;
    // One connection first, so that what is allocated only once does not count.
    let gateway = world.gateway();
    sockets.extend(crowd::open(&gateway, &tokens[..1], 1, OPENING).await?);
    tokio::time::sleep(SETTLE).await;
    let empty = resident_bytes(id)?;
    line("| connections | RSS of the gateway | for each | connects a second |")?;
    line("| --- | --- | --- | --- |")?;
    line(&format!("| 1 | {:.1} MiB | | |", mib(empty)))?;
    for size in SIZES {
        let from = sockets.len();
        let started = Instant::now();
        sockets.extend(crowd::open(&gateway, &tokens[from..size], 1, OPENING).await?);
        let rate = (size - from) as f64 / started.elapsed().as_secs_f64();
        tokio::time::sleep(SETTLE).await;
        let now = resident_bytes(id)?;
        let each = now.saturating_sub(empty) as f64 / size as f64 / 1_024.0;
        let now = mib(now);
        line(&format!(
            "| {size} | {now:.1} MiB | {each:.1} KiB | {rate:.0} |"
        ))?;
    }
    let tokens = crowd::strangers(&world, WITHOUT_CHANNEL).await?;
    let started = Instant::now();
    let opened = crowd::open(&gateway, &tokens, 0, OPENING).await?;
    let rate = opened.len() as f64 / started.elapsed().as_secs_f64();
    line("")?;
    line(&format!(
        "{WITHOUT_CHANNEL} more, each without a channel and until `ready`: {rate:.0} a second"
    ))?;
    Ok(())
}

pub fn resident_bytes(process: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .context("VmRSS")?;
    Ok(kib.trim().parse::<u64>()? * 1_024)
}

pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1 << 20) as f64
}
