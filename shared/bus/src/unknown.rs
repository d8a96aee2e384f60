//! What only a later version of Natter knows: passed over, counted, and logged once.

use std::{
    collections::HashSet,
    sync::{LazyLock, Mutex, PoisonError},
};

use natter_protocol::event::Unread;

/// How many different types and kinds are logged; any others are only counted.
const MAX_LOGGED: usize = 100;

/// Notes that an event was passed over: during an upgrade that is expected, afterwards it is not.
pub fn pass_over(unknown: &Unread) {
    static LOGGED: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);
    metrics::counter!("unknown_events_total").increment(1);
    let reason = unknown.to_string();
    let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
    if logged.len() < MAX_LOGGED && !logged.contains(&reason) {
        tracing::warn!("an event is passed over, as all like it: {reason}");
        logged.insert(reason);
    }
}

/// Notes a payload of a core subscription that was not read.
pub fn unread(what: &str, reason: &Unread) {
    match reason {
        Unread::Unknown { .. } => pass_over(reason),
        Unread::Malformed(error) => tracing::warn!(%error, what, "a payload cannot be read"),
    }
}
