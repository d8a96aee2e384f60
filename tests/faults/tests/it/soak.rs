//! A short soak: nothing is lost, and what was in use is given back. A long one: `deploy/faults`.

use std::time::Duration;

use natter_faults::soak::{Soak, soak};

use crate::TURN;

#[tokio::test]
async fn what_was_in_use_is_given_back_and_nothing_is_lost() {
    let _turn = TURN.lock().await;
    let settings = Soak {
        length: Duration::from_secs(10),
        rate: 20,
        pairs: 2,
        seed: 17,
    };
    let run = soak(settings, |line| eprintln!("{line}")).await;
    let report = run.unwrap_or_else(|error| panic!("{error:#}"));
    assert!(report.faults.is_empty(), "{report}");
}
