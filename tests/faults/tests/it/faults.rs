//! Every fault once, with one NATS server and with three. A long one: `deploy/faults`.

use natter_faults::{
    checker::Rule,
    nemesis::library,
    run::{Settings, with_faults},
};
use natter_test_support::is_root;

async fn keeps_every_promise(is_cluster: bool) {
    let settings = Settings {
        seed: 17,
        is_cluster,
        ..Settings::default()
    };
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
    keeps_every_promise(false).await;
}

#[tokio::test]
#[ignore = "see Runs in tests/faults/README.md"]
async fn faults_with_a_cluster_of_brokers_break_no_promise() {
    keeps_every_promise(true).await;
}
