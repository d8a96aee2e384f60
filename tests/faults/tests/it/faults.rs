//! Every fault once, with one NATS server and with three. Longer ones: `deploy/faults`.

use natter_faults::{
    checker::Rule,
    nemesis::library,
    run::{Settings, with_faults},
};
use natter_test_support::is_root;

use crate::TURN;

async fn keeps_every_promise(settings: Settings) {
    let _turn = TURN.lock().await;
    if !is_root() {
        eprintln!("only root may mount: no disk loses power or runs full");
    }
    let run = with_faults(settings, |line| eprintln!("{line}")).await;
    let summary = run.unwrap_or_else(|error| panic!("{error:#}"));
    assert!(summary.violations.is_empty(), "{summary}");
}

/// A Postgres that acknowledges what it has not flushed loses it with the power, and that is found.
#[tokio::test]
async fn what_a_disk_that_lies_has_lost_is_found() {
    let Some(library) = library("NATTER_TEST_EATMYDATA").filter(|_| is_root()) else {
        eprintln!("only root may mount: no disk loses power");
        return;
    };
    let _turn = TURN.lock().await;
    let settings = Settings {
        seed: 17,
        only: vec!["PostgresPower".to_owned()],
        below_postgres: Some(library),
        ..Settings::default()
    };
    let run = with_faults(settings, |line| eprintln!("{line}")).await;
    let summary = run.unwrap_or_else(|error| panic!("{error:#}"));
    let mut broken = summary.violations.iter();
    let lost = broken.find(|violation| violation.rule == Rule::AckedIsKept);
    assert!(lost.is_some(), "nothing was lost\n{summary}");
}

#[tokio::test]
#[ignore = "see Runs in tests/faults/README.md"]
async fn faults_with_one_broker_break_no_promise() {
    keeps_every_promise(Settings {
        seed: 17,
        ..Settings::default()
    })
    .await;
}

/// Those that concern the servers of a cluster, and what is published to them.
#[tokio::test]
#[ignore = "see Runs in tests/faults/README.md"]
async fn faults_with_a_cluster_of_brokers_break_no_promise() {
    let only = ["Nats", "FeedFull", "feed-", "Crowd"];
    keeps_every_promise(Settings {
        seed: 17,
        is_cluster: true,
        only: only.map(str::to_owned).to_vec(),
        ..Settings::default()
    })
    .await;
}
