//! How long a send takes to its ack, and how many sends a commit holds, at growing rates.

use std::time::{Duration, Instant};

use futures_util::future::{join_all, try_join_all};
use natter_e2e::{Topology, World};
use natter_test_support::{Person, Socket, befriend};
use serde_json::json;

use crate::table::{line, ms, percentile};

const RATES: [u64; 4] = [10, 100, 1_000, 5_000];
/// Senders, each in a channel of their own, where a send waits for the one before.
const SENDERS: usize = 200;
const SECONDS: u64 = 10;

pub async fn run() -> anyhow::Result<()> {
    let world = World::start(Topology::Apart).await;
    let mut senders = Vec::with_capacity(SENDERS);
    for _ in 0..SENDERS / 2 {
        let one = Person::sign_up(&world.users(), "one").await;
        let other = Person::sign_up(&world.users(), "other").await;
        let channel = befriend(&world.friendships(), &one, &other).await;
        for (person, gateway) in [(one, world.gateway()), (other, world.gateway_2())] {
            let socket = person.connect(&gateway).await;
            senders.push((socket, channel.clone()));
        }
    }
    line("| sends a second | reached | send to ack: median | p99 | sends a commit |")?;
    line("| --- | --- | --- | --- | --- |")?;
    for rate in RATES {
        let before = committed(&world).await?;
        let started = Instant::now();
        let each = SENDERS.min(usize::try_from(rate * SECONDS / 10)?).max(1);
        let work = senders.iter_mut().take(each).enumerate();
        let work = work.map(|(number, (socket, channel))| {
            let pause = Duration::from_secs_f64(each as f64 / rate as f64);
            send_on(
                socket,
                channel,
                format!("{rate}-{number}"),
                pause,
                pause.mul_f64(number as f64 / each as f64),
            )
        });
        let mut times: Vec<Duration> = join_all(work).await.concat();
        let took = started.elapsed().as_secs_f64();
        let after = committed(&world).await?;
        let batch = (after.0 - before.0) / (after.1 - before.1).max(1.0);
        let reached = times.len() as f64 / took;
        let (median, p99) = (percentile(&mut times, 0.5), percentile(&mut times, 0.99));
        line(&format!(
            "| {rate} | {reached:.0} | {} | {} | {batch:.1} |",
            ms(median),
            ms(p99)
        ))?;
    }
    Ok(())
}

/// Sends at a steady pace. A send that is late counts from when it was due.
async fn send_on(
    socket: &mut Socket,
    channel: &str,
    name: String,
    pause: Duration,
    first: Duration,
) -> Vec<Duration> {
    let mut due = Instant::now() + first;
    let end = Instant::now() + Duration::from_secs(SECONDS);
    let mut times = Vec::new();
    let mut number = 0;
    while due < end {
        tokio::time::sleep_until(due.into()).await;
        number += 1;
        let client_id = format!("{name}-{number}");
        socket
            .send(json!({"type": "friendship", "channel": channel, "payload": "Hello, how are you?", "client_id": client_id}))
            .await;
        socket.answer(&client_id).await;
        times.push(due.elapsed());
        due += pause;
    }
    times
}

/// Entries and commits of both messages replicas so far.
async fn committed(world: &World) -> anyhow::Result<(f64, f64)> {
    let pages = ["messages", "messages-2"].map(|name| world.metrics(name));
    let pages = try_join_all(pages).await?;
    let sum = |name: &str| {
        let lines = pages.iter().flat_map(|page| page.lines());
        let values = lines.filter_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
        values.sum()
    };
    Ok((sum("commit_batch_size_sum"), sum("commit_batch_size_count")))
}
