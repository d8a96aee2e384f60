//! How much memory stays allocated after passwords were hashed: argon2 takes 19 MiB for each.

use std::time::Duration;

use anyhow::Context;
use futures_util::{StreamExt, stream};
use natter_e2e::{Topology, World};
use natter_test_support::Person;

use crate::{
    idle::{mib, resident_bytes},
    table::line,
};

const SIGN_UPS: usize = 500;
const AT_A_TIME: usize = 50;
const SETTLE: Duration = Duration::from_secs(30);

pub async fn run() -> anyhow::Result<()> {
    let world = World::start(Topology::Standalone).await;
    let id = world.process_id("standalone").context("it runs")?;
    let before = resident_bytes(id)?;
    let url = world.users();
    let signing_up = stream::iter(0..SIGN_UPS).map(|_| Person::sign_up(&url, "someone"));
    signing_up
        .buffer_unordered(AT_A_TIME)
        .for_each(async |_| ())
        .await;
    let after = resident_bytes(id)?;
    tokio::time::sleep(SETTLE).await;
    let settled = resident_bytes(id)?;
    line("| RSS of standalone | MiB |")?;
    line("| --- | --- |")?;
    for (when, bytes) in [
        ("at the start".to_owned(), before),
        (format!("after {SIGN_UPS} sign-ups"), after),
        (format!("{} s later", SETTLE.as_secs()), settled),
    ] {
        line(&format!("| {when} | {:.0} |", mib(bytes)))?;
    }
    Ok(())
}
