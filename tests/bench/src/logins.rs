//! A login storm must not slow other routes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use natter_e2e::{Topology, World};
use natter_test_support::{PASSWORD, Person};
use reqwest::StatusCode;
use serde_json::json;

use crate::table::{line, ms, percentile};

const CONCURRENT_LOGINS: usize = 200;
const SECONDS: u64 = 15;
/// Between two requests of the one who is measured.
const PAUSE: Duration = Duration::from_millis(5);

pub async fn run() -> anyhow::Result<()> {
    let world = World::start(Topology::Standalone).await;
    let alice = Person::sign_up(&world.users(), "alice").await;
    line("| | median | p99 | max |")?;
    line("| --- | --- | --- | --- |")?;
    let calm = profiles(&world, &alice).await?;
    row("`GET profile/` without logins", calm)?;

    let over = Arc::new(AtomicBool::new(false));
    let (done, busy) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let body = json!({"username": alice.username, "password": PASSWORD});
    let storm = (0..CONCURRENT_LOGINS).map(|_| {
        let (over, done, busy) = (over.clone(), done.clone(), busy.clone());
        let (http, body) = (reqwest::Client::new(), body.clone());
        let url = format!("{}/api/users/login/", world.users());
        tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                let answer = http.post(&url).json(&body).send().await?;
                match answer.status() {
                    StatusCode::OK => done.fetch_add(1, Ordering::Relaxed),
                    _ => busy.fetch_add(1, Ordering::Relaxed),
                };
                if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
                    // As `Retry-After` in the answer asks.
                    tokio::time::sleep(Duration::from_secs(2)).await;
                }
            }
            anyhow::Ok(())
        })
    });
    let storm: Vec<_> = storm.collect();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let stormy = profiles(&world, &alice).await?;
    over.store(true, Ordering::Relaxed);
    for one in join_all(storm).await {
        one??;
    }
    row(
        &format!("`GET profile/` during {CONCURRENT_LOGINS} concurrent logins"),
        stormy,
    )?;
    let per_second = done.load(Ordering::Relaxed) / (SECONDS + 2);
    let turned_away = busy.load(Ordering::Relaxed);
    line(&format!(
        "\n{per_second} logins a second; {turned_away} were asked to come back (503)."
    ))
}

async fn profiles(world: &World, alice: &Person) -> anyhow::Result<Vec<Duration>> {
    let url = format!("{}/api/users/profile/", world.users());
    let until = Instant::now() + Duration::from_secs(SECONDS);
    let mut times = Vec::new();
    while Instant::now() < until {
        let started = Instant::now();
        let (status, body) = alice.get(&url).await;
        anyhow::ensure!(status.is_success(), "{status} {body}");
        times.push(started.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    Ok(times)
}

fn row(name: &str, mut times: Vec<Duration>) -> anyhow::Result<()> {
    let mut at = |share| ms(percentile(&mut times, share));
    line(&format!(
        "| {name} | {} | {} | {} |",
        at(0.5),
        at(0.99),
        at(1.0)
    ))
}
