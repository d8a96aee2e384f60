//! When a connection has to do something without being asked.
//!
//! One timer for all of it: a connection that waits has no more than one.

use std::time::Duration;

use natter_protocol::Timestamp;
use tokio::time::Instant;

/// How long a client that speaks the full protocol has to answer `ready`.
const RESUME_TIMEOUT: Duration = Duration::from_secs(10);
/// How long before its token runs out a browser is told.
const EXPIRY_WARNING: Duration = Duration::from_secs(60);

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    Expiry,
    Resume,
    Closing,
    Warning,
    List,
    Beat,
}

pub struct Timer {
    beat: Instant,
    resume: Instant,
    /// When a browser's token runs out, and when it is told.
    expiry: Option<Instant>,
    warning: Option<Instant>,
    /// Notices may have been missed: when to ask which channels are open.
    list: Option<Instant>,
    /// The process stops: when this connection is closed.
    closing: Option<Instant>,
}

impl Timer {
    pub fn start(heartbeat: Duration) -> Self {
        let now = Instant::now();
        Self {
            beat: now + heartbeat,
            resume: now + RESUME_TIMEOUT,
            expiry: None,
            warning: None,
            list: None,
            closing: None,
        }
    }

    /// The next thing to do, and when. `live`: the client has resumed. `answered`: no send or mark
    /// awaits its answer; until then a draining gateway keeps the connection.
    pub fn next(&self, live: bool, answered: bool) -> (Instant, Due) {
        let others = [
            (self.expiry, Due::Expiry),
            ((!live).then_some(self.resume), Due::Resume),
            (self.closing.filter(|_| answered), Due::Closing),
            (self.warning, Due::Warning),
            (self.list, Due::List),
        ];
        let others = others.into_iter().filter_map(|(at, due)| Some((at?, due)));
        others.fold((self.beat, Due::Beat), std::cmp::min)
    }

    pub fn beat_in(&mut self, heartbeat: Duration) {
        self.beat = Instant::now() + heartbeat;
    }

    /// Until when a browser's token holds, in seconds since 1970; nothing where there is none.
    pub fn expire(&mut self, expires: Option<u64>) {
        let left = expires.map(|expires| {
            Duration::from_secs(expires.saturating_sub(Timestamp::now().unix_seconds()))
        });
        self.expiry = left.map(|left| Instant::now() + left);
        self.warning = left.map(|left| Instant::now() + left.saturating_sub(EXPIRY_WARNING));
    }

    pub fn expires(&self) -> bool {
        self.expiry.is_some()
    }

    /// Notes that the client is warned; returns how long the token still holds, in seconds.
    pub fn warned(&mut self) -> u64 {
        self.warning = None;
        let left = self
            .expiry
            .map(|expiry| expiry.saturating_duration_since(Instant::now()));
        // Rounded up: what was said to be a minute is one.
        left.unwrap_or_default().as_secs_f64().ceil() as u64
    }

    pub fn list_in(&mut self, pause: Duration) {
        self.list = Some(Instant::now() + pause);
    }

    pub fn listed(&mut self) {
        self.list = None;
    }

    pub fn close_in(&mut self, delay: Duration) {
        self.closing = Some(Instant::now() + delay);
    }

    /// Whether the client was told that this gateway stops.
    pub fn is_draining(&self) -> bool {
        self.closing.is_some()
    }

    /// Whether the moment to be closed has come.
    pub fn is_closing(&self) -> bool {
        self.closing
            .is_some_and(|closing| closing <= Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_earliest_is_next_and_only_what_applies() {
        let now = Instant::now();
        let mut timer = Timer::start(Duration::from_secs(30));
        assert_eq!(timer.next(false, true).1, Due::Resume);
        assert_eq!(
            timer.next(true, true),
            (now + Duration::from_secs(30), Due::Beat)
        );
        timer.list_in(Duration::from_secs(1));
        assert_eq!(timer.next(true, true).1, Due::List);
        timer.close_in(Duration::ZERO);
        assert!(timer.is_draining() && timer.is_closing());
        assert_eq!(timer.next(true, true).1, Due::Closing);
        // With an answer still to come it is not closed.
        assert_eq!(timer.next(true, false).1, Due::List);
        timer.listed();
        assert_eq!(timer.next(true, false).1, Due::Beat);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_ends_is_told_of_once_and_then_ends_the_connection() {
        let mut timer = Timer::start(Duration::from_secs(3_600));
        assert!(!timer.expires());
        timer.expire(Some(Timestamp::now().unix_seconds() + 100));
        let (at, due) = timer.next(true, true);
        assert_eq!(due, Due::Warning);
        tokio::time::sleep_until(at).await;
        assert!((59..=60).contains(&timer.warned()));
        assert_eq!(timer.next(true, true).1, Due::Expiry);
    }
}
