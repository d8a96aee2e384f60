//! The sessions that ended while their access tokens had not yet expired.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use natter_protocol::{SessionId, UserId, call::MAX_ACCESS_SECONDS};
use tokio::sync::broadcast;

/// How long the feed may be silent before nothing is believed any more.
pub const FEED_PATIENCE: Duration = Duration::from_secs(30);
/// How long a revoked session is remembered: as long as any access token may live.
const REMEMBER: Duration = Duration::from_secs(MAX_ACCESS_SECONDS);
/// How many revoked sessions may wait for a subscriber that is behind.
const BACKLOG: usize = 1_024;

pub(crate) struct RevokedSessions {
    state: Mutex<State>,
    ended: broadcast::Sender<(UserId, SessionId)>,
}

#[derive(Default)]
struct State {
    sessions: HashMap<SessionId, Instant>,
    heard: Option<Instant>,
    pruned: Option<Instant>,
}

impl Default for RevokedSessions {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            ended: broadcast::Sender::new(BACKLOG),
        }
    }
}

impl RevokedSessions {
    pub fn insert(&self, user: UserId, sid: SessionId) {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.sessions.insert(sid, now);
        if state
            .pruned
            .is_none_or(|pruned| now - pruned > REMEMBER / 24)
        {
            state.pruned = Some(now);
            state.sessions.retain(|_, since| now - *since < REMEMBER);
        }
        drop(state);
        // An error only says that nobody listens.
        let _ = self.ended.send((user, sid));
    }

    pub fn contains(&self, sid: SessionId) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.sessions.contains_key(&sid)
    }

    pub fn subscribe(&self) -> broadcast::Receiver<(UserId, SessionId)> {
        self.ended.subscribe()
    }

    /// The feed is complete up to now.
    pub fn up_to_date(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.heard = Some(Instant::now());
    }

    pub fn is_current(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state
            .heard
            .is_some_and(|heard| heard.elapsed() < FEED_PATIENCE)
    }
}
