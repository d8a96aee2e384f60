//! What happens when an ingress cuts every connection and all of them come back at once.

use std::time::{Duration, Instant};

use natter_e2e::{Topology, World};

use crate::{crowd, table::line};

const PEOPLE: usize = 10_000;
/// Connections that are being opened at a time, before they are cut.
const OPENING: usize = 50;

pub async fn run() -> anyhow::Result<()> {
    let world = World::start(Topology::Apart).await;
    let tokens = crowd::people(&world, PEOPLE).await?;
    let (ones, others) = tokens.split_at(PEOPLE / 2);
    let (gateway, gateway_2) = (world.gateway(), world.gateway_2());
    line("| how they come | time for all | to `resumed`: median | p99 | longest |")?;
    line("| --- | --- | --- | --- | --- |")?;
    for (how, at_a_time) in [("50 at a time", OPENING), ("10,000 at once", PEOPLE)] {
        let started = Instant::now();
        // The connections of the round before are closed; whoever is refused ends the measurement.
        let (one, other) = tokio::try_join!(
            crowd::open(&gateway, ones, 1, at_a_time / 2),
            crowd::open(&gateway_2, others, 1, at_a_time / 2),
        )?;
        let all = started.elapsed();
        let mut took: Vec<Duration> = one.iter().chain(&other).map(|opened| opened.took).collect();
        took.sort_unstable();
        let [median, p99, longest] = [took.len() / 2, took.len() * 99 / 100, took.len() - 1]
            .map(|at| took[at].as_secs_f64());
        line(&format!(
            "| {how} | {:.1} s | {median:.2} s | {p99:.2} s | {longest:.2} s |",
            all.as_secs_f64()
        ))?;
    }
    Ok(())
}
