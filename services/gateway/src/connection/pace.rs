//! How fast a client may send frames.

use std::time::Duration;

use tokio::time::Instant;

/// Frames a second, in the long run.
const RATE: f64 = 50.0;
/// Frames at once, after a while of silence.
const BURST: f64 = 200.0;

/// A token bucket: full at first, filled again at [`RATE`].
pub struct Pace {
    tokens: f64,
    since: Instant,
}

impl Pace {
    pub fn new() -> Self {
        Self {
            tokens: BURST,
            since: Instant::now(),
        }
    }

    /// Takes a frame's token. The error is how long it takes until there is one.
    pub fn take(&mut self) -> Result<(), Duration> {
        let now = Instant::now();
        self.tokens = (self.tokens + (now - self.since).as_secs_f64() * RATE).min(BURST);
        self.since = now;
        if self.tokens < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - self.tokens) / RATE));
        }
        self.tokens -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_fine_and_a_flood_is_not() {
        let mut pace = Pace::new();
        for _ in 0..200 {
            assert!(pace.take().is_ok());
        }
        let wait = pace.take().expect_err("the bucket is empty");
        tokio::time::advance(wait).await;
        assert!(pace.take().is_ok());
        assert!(pace.take().is_err());
    }
}
