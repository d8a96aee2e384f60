//! A start that waits for what it depends on.

use std::time::Duration;

use tokio::time::{Instant, sleep};

const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// Waits for a dependency for a limited time, and logs why, whenever the reason changes.
pub struct Waiting {
    give_up: Instant,
    said: String,
}

impl Waiting {
    pub fn at_most(patience: Duration) -> Self {
        Self {
            give_up: Instant::now() + patience,
            said: String::new(),
        }
    }

    /// Pauses before the next try; once the time is over, returns the error of the last one.
    pub async fn after(&mut self, error: anyhow::Error) -> anyhow::Result<()> {
        if Instant::now() >= self.give_up {
            return Err(error);
        }
        let reason = format!("{error:#}");
        if reason != self.said {
            tracing::warn!("waiting: {reason}");
            self.said = reason;
        }
        sleep(RETRY_PAUSE).await;
        Ok(())
    }
}
