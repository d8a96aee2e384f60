//! Every stream and bucket of the contract, with its limits: declared here, made by
//! `natter-admin setup`. The services have no right to make them.

use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use async_nats::{
    header,
    jetstream::{
        self,
        context::GetStreamErrorKind,
        message::StreamMessage,
        stream::{Config, DiscardPolicy, Info, LastRawMessageErrorKind, State, StorageType},
    },
};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use clap::{Args, value_parser};
use natter_protocol::{
    Timestamp,
    call::{ACCESS_SECONDS, MAX_ACCESS_SECONDS},
    subject,
};
use natter_startup::Waiting;
use tokio::time::timeout;

use crate::Bus;

const DAY_SECONDS: u64 = 24 * 3600;
/// How long the broker drops a repeated `Nats-Msg-Id`.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
const EVENTS_MAX_BYTES: i64 = 256 << 20;
const CHAT_MAX_BYTES: i64 = 1 << 30;
/// Dead letters are few, or something is very wrong.
const DEAD_LETTERS_MAX_BYTES: i64 = 64 << 20;
/// About 500 thousand sessions that ended within the life of an access token.
const REVOKED_MAX_BYTES: i64 = 256 << 20;
/// How long an answer about a stream may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// The limits of the streams. What is not named stays as it is, or gets its default where a stream
/// is made.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct StreamSettings {
    /// On how many NATS servers each stream is kept [default where it is made: 1]
    #[arg(long, env = "NATTER_STREAM_REPLICAS", value_parser = value_parser!(u8).range(1..=5))]
    stream_replicas: Option<u8>,

    /// For how long the streams USERS and FRIENDSHIPS keep an event, in seconds [default where they are made: 30 days]
    #[arg(long, env = "NATTER_EVENTS_MAX_AGE_SECONDS", value_parser = value_parser!(u64).range(3_600..=30 * DAY_SECONDS))]
    events_max_age_seconds: Option<u64>,

    /// Maximum size of each of the streams USERS and FRIENDSHIPS, in bytes; when it is reached, events wait in the outbox [default where they are made: 256 MiB]
    #[arg(long, env = "NATTER_EVENTS_MAX_BYTES", value_parser = value_parser!(i64).range(1 << 20..))]
    events_max_bytes: Option<i64>,

    /// For how long the stream CHAT keeps an event, in seconds [default where it is made: 7 days]
    #[arg(long, env = "NATTER_CHAT_MAX_AGE_SECONDS", value_parser = value_parser!(u64).range(3_600..=30 * DAY_SECONDS))]
    chat_max_age_seconds: Option<u64>,

    /// Maximum size of the stream CHAT, in bytes; when it is reached, the oldest events are discarded [default where it is made: 1 GiB]
    #[arg(long, env = "NATTER_CHAT_MAX_BYTES", value_parser = value_parser!(i64).range(1 << 20..))]
    chat_max_bytes: Option<i64>,

    /// How long the bucket revoked_sessions keeps an entry, in seconds: the same value as for users, the life of an access token [default where the bucket is made: 900]
    // Another name than the users service's, which natter-admin check reads beside it.
    #[arg(id = "remembered_seconds", long = "remembered-seconds", env = "NATTER_ACCESS_TOKEN_SECONDS", value_parser = value_parser!(u64).range(1..=MAX_ACCESS_SECONDS))]
    access_token_seconds: Option<u64>,
}

/// A JetStream stream of Natter: the feeds for other services, the dead letters, and the stream
/// behind the bucket of revoked sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Users,
    Friendships,
    Chat,
    /// What could not be processed, from every stream.
    DeadLetters,
    /// Behind the bucket of revoked sessions.
    RevokedSessions,
}

impl Stream {
    const ALL: [Self; 5] = [
        Self::Users,
        Self::Friendships,
        Self::Chat,
        Self::DeadLetters,
        Self::RevokedSessions,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Users => "USERS",
            Self::Friendships => "FRIENDSHIPS",
            Self::Chat => "CHAT",
            Self::DeadLetters => "DLQ",
            Self::RevokedSessions => "KV_revoked_sessions",
        }
    }

    /// The stream of a name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stream| stream.name() == name)
    }

    /// Whether the stream keeps what is published there.
    pub(crate) fn takes(self, subject: &str) -> bool {
        subject::matches(self.subjects(), subject)
    }

    fn subjects(self) -> &'static str {
        match self {
            Self::Users => subject::ALL_USER_EVENTS,
            Self::Friendships => subject::ALL_FRIENDSHIP_EVENTS,
            Self::Chat => subject::ALL_LOGS,
            Self::DeadLetters => subject::ALL_DEAD_LETTERS,
            Self::RevokedSessions => subject::ALL_REVOKED_SESSIONS,
        }
    }

    /// The limits that are named, those that the stream has, or the defaults, in this order.
    fn config(self, settings: &StreamSettings, there: Option<&Config>) -> Config {
        let (named_age, named_bytes) = match self {
            Self::Users | Self::Friendships => {
                (settings.events_max_age_seconds, settings.events_max_bytes)
            }
            Self::Chat => (settings.chat_max_age_seconds, settings.chat_max_bytes),
            Self::DeadLetters => (None, None),
            Self::RevokedSessions => (settings.access_token_seconds, None),
        };
        let (default_age, default_bytes) = match self {
            Self::Users | Self::Friendships => (30 * DAY_SECONDS, EVENTS_MAX_BYTES),
            Self::Chat => (7 * DAY_SECONDS, CHAT_MAX_BYTES),
            Self::DeadLetters => (30 * DAY_SECONDS, DEAD_LETTERS_MAX_BYTES),
            Self::RevokedSessions => (ACCESS_SECONDS, REVOKED_MAX_BYTES),
        };
        let known_age = there.map(|there| there.max_age);
        let max_age = match named_age.map(Duration::from_secs) {
            // Tokens of the longer life are out there.
            Some(age) if self == Self::RevokedSessions => age.max(known_age.unwrap_or_default()),
            named => named
                .or(known_age)
                .unwrap_or(Duration::from_secs(default_age)),
        };
        let known_bytes = there.map(|there| there.max_bytes);
        let known_replicas = there.map(|there| there.num_replicas);
        Config {
            name: self.name().to_owned(),
            subjects: vec![self.subjects().to_owned()],
            max_age,
            max_bytes: named_bytes.or(known_bytes).unwrap_or(default_bytes),
            num_replicas: settings
                .stream_replicas
                .map(usize::from)
                .or(known_replicas)
                .unwrap_or(1),
            discard: match self {
                // A listener that was away for long sees the gap by `seq` and reads the missing
                // events over HTTP; it costs nobody else anything.
                Self::Chat => DiscardPolicy::Old,
                // A full feed refuses, and the outbox keeps the event: nothing old is pushed out
                // early.
                _ => DiscardPolicy::New,
            },
            duplicate_window: DUPLICATE_WINDOW.min(max_age),
            storage: StorageType::File,
            allow_direct: true,
            ..self.kind()
        }
    }

    /// What makes a key-value bucket of a stream: the newest value of each key.
    fn kind(self) -> Config {
        match self {
            Self::RevokedSessions => Config {
                max_messages_per_subject: 1,
                allow_rollup: true,
                deny_delete: true,
                ..Config::default()
            },
            _ => Config::default(),
        }
    }
}

impl Bus {
    /// Creates what is not there and brings limits up to date. Refuses a change that would throw
    /// something away.
    pub async fn set_up_streams(&self, settings: &StreamSettings) -> anyhow::Result<()> {
        let mut changes = Vec::new();
        for stream in Stream::ALL {
            let there = self.stream_info(stream).await?;
            let wanted = stream.config(settings, there.as_ref().map(|there| &there.config));
            if let Some(there) = &there {
                refuse_loss(there, &wanted, Timestamp::now().utc())?;
            }
            changes.push((stream, there.is_some(), wanted));
        }
        for (stream, exists, wanted) in changes {
            let done = if exists {
                self.jetstream.update_stream(wanted).await.map(drop)
            } else {
                self.jetstream.create_stream(wanted).await.map(drop)
            };
            done.with_context(|| format!("the stream {} cannot be set up", stream.name()))?;
        }
        Ok(())
    }

    /// What [`Bus::set_up_streams`] would do, a sentence a stream; fails where it would refuse.
    pub async fn check_streams(&self, settings: &StreamSettings) -> anyhow::Result<Vec<String>> {
        let mut said = Vec::new();
        for stream in Stream::ALL {
            let there = self.stream_info(stream).await?;
            let wanted = stream.config(settings, there.as_ref().map(|there| &there.config));
            said.push(match &there {
                Some(there) => {
                    refuse_loss(there, &wanted, Timestamp::now().utc())?;
                    format!("the stream {} is there", wanted.name)
                }
                None => format!(
                    "the stream {} is not there: natter-admin setup makes it, with {} copies",
                    wanted.name, wanted.num_replicas
                ),
            });
        }
        Ok(said)
    }

    async fn stream_info(&self, stream: Stream) -> anyhow::Result<Option<Info>> {
        let name = stream.name();
        match self.jetstream.get_stream(name).await {
            Ok(stream) => Ok(Some(stream.cached_info().clone())),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(cause) if cause.code() == 404 => Ok(None),
                _ => Err(error).with_context(|| format!("nothing is known of the stream {name}")),
            },
        }
    }

    /// Waits up to `patience` for a stream that is being set up; returns for how long the stream
    /// keeps a message.
    pub async fn require_stream(
        &self,
        stream: Stream,
        patience: Duration,
    ) -> anyhow::Result<Duration> {
        let mut waiting = Waiting::at_most(patience);
        loop {
            let lack = match self.stream_info(stream).await {
                Ok(Some(info)) => return Ok(info.config.max_age),
                Ok(None) => anyhow!(
                    "the stream {} is not there: natter-admin setup makes it",
                    stream.name()
                ),
                Err(error) => error,
            };
            waiting.after(lack).await?;
        }
    }
}

/// A stream as it is at one moment.
pub struct Feed {
    pub stream: Stream,
    /// The number of its oldest event. Older ones were discarded for their age, or because the
    /// stream was full.
    pub first_seq: u64,
    /// For how long it keeps an event.
    pub max_age: Duration,
    there: jetstream::stream::Stream,
}

impl Bus {
    /// Asks how a stream is.
    pub async fn feed(&self, stream: Stream) -> anyhow::Result<Feed> {
        let name = stream.name();
        let there = timeout(ASK_TIMEOUT, self.jetstream.get_stream(name)).await?;
        let there = there.with_context(|| format!("the stream {name} does not answer"))?;
        let Info { config, state, .. } = there.cached_info();
        let (max_age, first_seq) = (config.max_age, state.first_sequence);
        Ok(Feed {
            stream,
            first_seq,
            max_age,
            there,
        })
    }
}

impl Feed {
    /// The payload of its newest message.
    pub async fn newest(&self) -> anyhow::Result<Option<Bytes>> {
        let state = &self.there.cached_info().state;
        if state.messages == 0 {
            return Ok(None);
        }
        let newest = self.message(state.last_sequence).await?;
        Ok(newest.map(|message| message.payload))
    }

    /// Whether the stream has lost the event that it acknowledged with this number and this
    /// `Nats-Msg-Id`: the stream is behind, or is another one. An event that it discarded because
    /// of its limits is not lost.
    pub async fn has_lost(&self, seq: u64, id: &str) -> anyhow::Result<bool> {
        if has_discarded(&self.there.cached_info().state, seq) {
            return Ok(false);
        }
        let Some(message) = self.message(seq).await? else {
            // A full stream may have discarded it since it was asked how it is.
            let now = timeout(ASK_TIMEOUT, self.there.get_info()).await?;
            let now = now.context("the stream does not tell")?;
            return Ok(!has_discarded(&now.state, seq));
        };
        let kept = message.headers.get(header::NATS_MESSAGE_ID);
        Ok(kept.is_none_or(|kept| kept.as_str() != id))
    }

    /// The message with this number; `None` where it is not there.
    async fn message(&self, seq: u64) -> anyhow::Result<Option<StreamMessage>> {
        match timeout(ASK_TIMEOUT, self.there.get_raw_message(seq)).await? {
            Ok(message) => Ok(Some(message)),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(error).context("the stream does not tell"),
        }
    }
}

/// Whether a stream has discarded the message with this number because of its limits.
fn has_discarded(state: &State, seq: u64) -> bool {
    seq < state.first_sequence && seq <= state.last_sequence
}

/// Fails if the broker would throw messages away for the new limits.
fn refuse_loss(there: &Info, wanted: &Config, now: DateTime<Utc>) -> anyhow::Result<()> {
    let (name, state) = (&wanted.name, &there.state);
    let bytes = state.bytes;
    ensure!(
        bytes <= wanted.max_bytes.unsigned_abs(),
        "the stream {name} holds {bytes} bytes: with at most {} it would lose some, so no stream was changed",
        wanted.max_bytes
    );
    let oldest = now - state.first_timestamp;
    let oldest = oldest.to_std().unwrap_or_default();
    ensure!(
        state.messages == 0 || wanted.max_age >= there.config.max_age || wanted.max_age >= oldest,
        "the stream {name} holds messages that are {} seconds old: with at most {} it would lose some, so no stream was changed",
        oldest.as_secs(),
        wanted.max_age.as_secs()
    );
    Ok(())
}
