//! A part of `deploy/faults fuzz`: enough to find what breaks at once.

use natter_faults::fuzz::{Fuzz, fuzz};

use crate::TURN;

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_sent_is_answered_as_documented() {
    let _turn = TURN.lock().await;
    let settings = Fuzz {
        frames: 30_000,
        bodies: 1_500,
        seed: 1,
    };
    let report = fuzz(settings, |line| eprintln!("{line}")).await;
    let report = report.unwrap_or_else(|error| panic!("{error:#}"));
    assert!(report.violations.is_empty(), "{report}");
}
