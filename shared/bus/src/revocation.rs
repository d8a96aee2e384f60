//! The feed of revoked sessions: a key-value bucket that every service watches.

use std::time::Duration;

use async_nats::jetstream::kv::{Operation, Store};
use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use natter_protocol::{SessionId, event::RevokedSession, subject};
use tokio::time::{interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::Bus;

/// How often the feed is compared with the bucket.
const CHECK_EVERY: Duration = Duration::from_secs(5);
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// What the feed says.
#[derive(Debug)]
pub enum Revocation {
    Revoked(SessionId, RevokedSession),
    /// Everything that the bucket holds by now has been told.
    UpToDate,
}

/// Where the revocation of a session is published.
pub fn put_subject(sid: SessionId) -> String {
    subject::key_value(subject::REVOKED_SESSIONS, sid)
}

/// Tells `heard` of every revoked session, those before it started included, until `stop`.
///
/// The watch alone would be silent both when nothing happens and when it broke, so the bucket's
/// newest revision is asked for every few seconds and compared with what arrived.
pub async fn watch_revoked(bus: Bus, stop: CancellationToken, heard: impl Fn(Revocation)) {
    let watching = async {
        loop {
            if let Err(error) = watch(&bus, &heard).await {
                tracing::info!("the feed of revoked sessions is interrupted: {error:#}");
            }
            sleep(RETRY_PAUSE).await;
        }
    };
    stop.run_until_cancelled(watching).await;
}

async fn watch(bus: &Bus, heard: &impl Fn(Revocation)) -> anyhow::Result<()> {
    let bucket = timeout(
        CHECK_TIMEOUT,
        bus.jetstream.get_key_value(subject::REVOKED_SESSIONS),
    )
    .await??;
    let created = bucket.stream.cached_info().created;
    let mut entries = timeout(CHECK_TIMEOUT, bucket.watch_with_history(">")).await??;
    let mut check = interval(CHECK_EVERY);
    let mut newest = 0;
    // `newest` at the last check, if that check found something missing.
    let mut behind_at = None;
    loop {
        tokio::select! {
            biased;
            entry = entries.next() => {
                let Some(entry) = entry else { anyhow::bail!("the watch ended") };
                let entry = entry?;
                newest = entry.revision;
                if entry.operation != Operation::Put {
                    continue;
                }
                match (entry.key.parse(), serde_json::from_slice(&entry.value)) {
                    (Ok(sid), Ok(revoked)) => heard(Revocation::Revoked(sid, revoked)),
                    _ => tracing::warn!(key = entry.key, "not a revoked session"),
                }
            }
            _ = check.tick() => {
                if is_current(&bucket, created, newest).await? {
                    behind_at = None;
                    heard(Revocation::UpToDate);
                } else if behind_at == Some(newest) {
                    anyhow::bail!("the watch has stopped");
                } else {
                    behind_at = Some(newest);
                    check.reset_after(RETRY_PAUSE);
                }
            }
        }
    }
}

/// Whether the watch has had everything the bucket holds. A bucket made anew is an error.
async fn is_current(bucket: &Store, created: DateTime<Utc>, newest: u64) -> anyhow::Result<bool> {
    // Not the bucket's `status`, which is the one it was opened with.
    let info = timeout(CHECK_TIMEOUT, bucket.stream.get_info()).await??;
    if created != info.created || info.state.last_sequence < newest {
        anyhow::bail!("the bucket was made anew");
    }
    Ok(info.state.messages == 0 || info.state.last_sequence == newest)
}
