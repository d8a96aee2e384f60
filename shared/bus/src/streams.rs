//! Every stream and bucket of the contract, with its limits.

use std::time::Duration;

use anyhow::Context;
use async_nats::jetstream::{
    kv,
    stream::{Config, DiscardPolicy, StorageType},
};
use natter_protocol::subject;

use crate::Bus;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Within which a repeated `Nats-Msg-Id` is dropped by the broker.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// A feed for other services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Users,
    Friendships,
    Chat,
    /// What could not be processed, from every stream.
    DeadLetters,
}

impl Stream {
    pub fn name(self) -> &'static str {
        match self {
            Self::Users => "USERS",
            Self::Friendships => "FRIENDSHIPS",
            Self::Chat => "CHAT",
            Self::DeadLetters => "DLQ",
        }
    }

    fn config(self) -> Config {
        let (subjects, max_age, max_bytes) = match self {
            Self::Users => (subject::ALL_USER_EVENTS, 30 * DAY, 256 << 20),
            Self::Friendships => (subject::ALL_FRIENDSHIP_EVENTS, 30 * DAY, 256 << 20),
            Self::Chat => (subject::ALL_LOGS, 7 * DAY, 1 << 30),
            Self::DeadLetters => ("dlq.*", 30 * DAY, 64 << 20),
        };
        Config {
            name: self.name().to_owned(),
            subjects: vec![subjects.to_owned()],
            max_age,
            max_bytes,
            // A full feed refuses, and the outbox keeps the event: nothing old is pushed out early.
            discard: DiscardPolicy::New,
            duplicate_window: DUPLICATE_WINDOW,
            storage: StorageType::File,
            allow_direct: true,
            ..Config::default()
        }
    }
}

/// Creates the stream, or brings its limits up to date.
pub async fn ensure_stream(bus: &Bus, stream: Stream) -> anyhow::Result<()> {
    bus.jetstream
        .create_or_update_stream(stream.config())
        .await
        .with_context(|| format!("the stream {} cannot be set up", stream.name()))?;
    Ok(())
}

/// Creates the bucket of revoked sessions. Its entries live as long as an access token.
pub async fn ensure_revoked_sessions(bus: &Bus, access_lifetime: Duration) -> anyhow::Result<()> {
    bus.jetstream
        .create_or_update_key_value(kv::Config {
            bucket: subject::REVOKED_SESSIONS.to_owned(),
            history: 1,
            max_age: access_lifetime,
            max_bytes: 256 << 20,
            storage: StorageType::File,
            ..kv::Config::default()
        })
        .await
        .context("the bucket revoked_sessions cannot be set up")?;
    Ok(())
}
