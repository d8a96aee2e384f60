//! One connection of one service.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, bail};
use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event, Message, Subscriber,
    connection::State,
    jetstream::{self, publish::PublishAck, response::Response},
};
use bytes::Bytes;
use clap::Args;
use futures_util::{FutureExt, Stream, StreamExt, future::BoxFuture, stream};
use natter_startup::{Password, Waiting};
use serde::Serialize;
use tokio::{
    sync::watch,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    request::{Replies, Reply, is_unheard},
    trace,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest pause between two attempts to get a lost connection back.
const MAX_RECONNECT_PAUSE: Duration = Duration::from_millis(1_000);
/// How often the server is pinged. One that answers none of three pings is gone.
const PING_INTERVAL: Duration = Duration::from_secs(2);
/// How long a publish may wait for the client's own queue, and JetStream for its ack.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(3);
/// More messages than NATS can count: a server takes "unsubscribe after so many" for "at once",
/// while the client keeps the subscription for what is under way.
const UNCOUNTABLE: u64 = 10_000_000_000;
/// The oldest server that the contract (`EVENTS.md`) names.
const MIN_SERVER: (i64, i64, i64) = (2, 12, 0);

#[derive(Args, Clone)]
#[group(skip)]
pub struct BusSettings {
    /// Comma-separated URLs of the NATS servers
    #[arg(long, env = "NATTER_NATS_URL", default_value = "nats://127.0.0.1:4222")]
    nats_url: String,

    /// What the names of this process's NATS users end with: with -b it logs in as users-b in place of users. For a change of passwords without downtime
    #[arg(
        long,
        env = "NATTER_NATS_USER_SUFFIX",
        default_value = "",
        hide_default_value = true
    )]
    nats_user_suffix: String,

    /// Maximum number of messages that wait in one NATS subscription of this process; beyond it messages are dropped, and what is missing is fetched again
    #[arg(long, env = "NATTER_NATS_SUBSCRIPTION_MESSAGES", default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(1..))]
    nats_subscription_messages: u32,

    /// How long an event that could not be processed waits before the second of its 10 tries, in milliseconds; twice as long before each further one, at most 30 seconds
    #[arg(long, env = "NATTER_EVENT_RETRY_MS", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    event_retry_ms: u64,
}

/// A service's connection to NATS.
#[derive(Clone)]
pub struct Bus {
    pub(crate) client: Client,
    pub(crate) jetstream: jetstream::Context,
    pub(crate) replies: Arc<Replies>,
    pub(crate) first_retry: Duration,
    missed: watch::Receiver<u64>,
    reconnected: watch::Receiver<u64>,
}

#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error("the broker did not answer in time")]
    Timeout,
    #[error("the message cannot be encoded")]
    Encode(#[source] serde_json::Error),
    #[error("the message could not be sent")]
    Send(#[source] async_nats::PublishError),
    #[error("the stream did not take the message: {0}")]
    Stream(String),
}

/// An event that was published and that its stream has not acknowledged yet.
pub struct PendingAck {
    reply: Reply,
    by: Instant,
}

/// Where a stream keeps an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamPosition {
    pub stream: String,
    /// The event's number in the stream.
    pub seq: u64,
}

impl PendingAck {
    /// Waits until the stream has acknowledged the event, or [`PUBLISH_TIMEOUT`] is over.
    pub async fn confirmed(mut self) -> Result<StreamPosition, PublishError> {
        let reply = self.reply.by(self.by).await.ok_or(PublishError::Timeout)?;
        if is_unheard(&reply) {
            return Err(PublishError::Stream("no stream keeps it".to_owned()));
        }
        match serde_json::from_slice::<Response<PublishAck>>(&reply.payload) {
            Ok(Response::Ok(ack)) => Ok(StreamPosition {
                stream: ack.stream,
                seq: ack.sequence,
            }),
            Ok(Response::Err { error }) => Err(PublishError::Stream(error.to_string())),
            Err(error) => Err(PublishError::Stream(error.to_string())),
        }
    }
}

impl Bus {
    /// Connects as a user of `deploy/nats/nats.conf`; waits up to `patience` for a broker that is
    /// still starting.
    pub async fn connect(
        settings: &BusSettings,
        user: &str,
        password: &Password,
        patience: Duration,
    ) -> anyhow::Result<Self> {
        let (missed_tx, missed) = watch::channel(0);
        let (reconnected_tx, reconnected) = watch::channel(0);
        let addresses: Vec<async_nats::ServerAddr> = settings
            .nats_url
            .split(',')
            .map(|url| url.trim().parse())
            .collect::<Result<_, _>>()
            .context("NATTER_NATS_URL must look like nats://host:4222")?;
        let mut waiting = Waiting::at_most(patience);
        let client = loop {
            let (missed, reconnected) = (missed_tx.clone(), reconnected_tx.clone());
            let options = options(settings, user, password, missed, reconnected);
            match options.connect(addresses.as_slice()).await {
                Ok(client) => break client,
                Err(error) if error.kind() == ConnectErrorKind::AuthorizationViolation => {
                    return Err(error).with_context(|| {
                        let setting = format!("NATTER_{}_NATS_PASSWORD", user.to_uppercase());
                        let suffix = &settings.nats_user_suffix;
                        format!("the NATS server refuses the user {user}{suffix} with {setting}")
                    });
                }
                Err(error) => {
                    let error = anyhow::Error::new(error).context(format!(
                        "the NATS server of NATTER_NATS_URL={} cannot be used",
                        shown(&addresses)
                    ));
                    waiting.after(error).await?;
                }
            }
        };
        let (major, minor, patch) = MIN_SERVER;
        if !client.is_server_compatible(major, minor, patch) {
            bail!(
                "the NATS server is {}, and {major}.{minor} or newer is needed",
                client.server_info().version
            );
        }
        register_metrics();
        let mut jetstream = jetstream::new(client.clone());
        jetstream.set_timeout(PUBLISH_TIMEOUT);
        Ok(Self {
            replies: Replies::start(&client).await?,
            client,
            jetstream,
            first_retry: Duration::from_millis(settings.event_retry_ms),
            missed,
            reconnected,
        })
    }

    /// This process, by its address as the broker sees it.
    pub fn own_address(&self) -> String {
        let address = self.client.server_info().client_ip;
        format!("{address} (process {})", std::process::id())
    }

    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Changes whenever messages of core subscriptions may have been lost: after a reconnection,
    /// and when the client dropped some of a slow subscription.
    pub fn missed(&self) -> watch::Receiver<u64> {
        let mut missed = self.missed.clone();
        missed.mark_unchanged();
        missed
    }

    /// Changes after a reconnection: a broker that was away may have lost what it had acknowledged.
    pub fn reconnected(&self) -> watch::Receiver<u64> {
        let mut reconnected = self.reconnected.clone();
        reconnected.mark_unchanged();
        reconnected
    }

    /// Publishes to those who are subscribed now; no stream keeps it.
    pub async fn publish(
        &self,
        subject: String,
        payload: &impl Serialize,
    ) -> Result<(), PublishError> {
        let payload = serde_json::to_vec(payload).map_err(PublishError::Encode)?;
        let sent = self
            .client
            .publish_with_headers(subject, trace::headers(), payload.into());
        timeout(PUBLISH_TIMEOUT, sent)
            .await
            .map_err(|_| PublishError::Timeout)?
            .map_err(PublishError::Send)
    }

    /// Waits until what was published is written to the connection, or [`PUBLISH_TIMEOUT`] is over.
    pub async fn flush(&self) {
        let flushed = timeout(PUBLISH_TIMEOUT, self.client.flush()).await;
        if !matches!(flushed, Ok(Ok(()))) {
            tracing::warn!("not everything could be told to the broker");
        }
    }

    /// Answers a request. If the answer cannot be sent, the caller repeats its request.
    pub async fn answer(&self, request: &Message, headers: async_nats::HeaderMap, payload: Bytes) {
        let Some(reply) = request.reply.clone() else {
            return;
        };
        let sent = self.client.publish_with_headers(reply, headers, payload);
        match timeout(PUBLISH_TIMEOUT, sent).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "a reply could not be sent"),
            Err(_) => tracing::warn!("a reply could not be sent in time"),
        }
    }

    /// Publishes an event to its stream and to those who are subscribed now; the stream's
    /// acknowledgement comes later.
    pub async fn store(
        &self,
        subject: String,
        event_id: &str,
        payload: Bytes,
    ) -> Result<PendingAck, PublishError> {
        let by = Instant::now() + PUBLISH_TIMEOUT;
        let reply = self.replies.expect();
        let headers = stored_headers(event_id);
        let inbox = reply.inbox();
        let sent = self
            .client
            .publish_with_reply_and_headers(subject, inbox, headers, payload);
        match timeout_at(by, sent).await {
            Ok(sent) => sent.map_err(PublishError::Send)?,
            Err(_) => return Err(PublishError::Timeout),
        }
        Ok(PendingAck { reply, by })
    }

    /// Publishes to those who are subscribed now, and waits until the broker has the message.
    pub async fn tell(&self, subject: String, payload: Bytes) -> Result<(), PublishError> {
        // While disconnected the NATS client would buffer it; the outbox does that better.
        if !self.is_connected() {
            return Err(PublishError::Timeout);
        }
        let by = Instant::now() + PUBLISH_TIMEOUT;
        let headers = trace::headers();
        let sent = self.client.publish_with_headers(subject, headers, payload);
        match timeout_at(by, sent).await {
            Ok(sent) => sent.map_err(PublishError::Send)?,
            Err(_) => return Err(PublishError::Timeout),
        }
        if self.echo(by).await {
            Ok(())
        } else {
            Err(PublishError::Timeout)
        }
    }

    /// Subscribes to each subject; the server has been told of all of them when this returns.
    pub async fn subscribe(&self, subjects: Vec<String>) -> anyhow::Result<Vec<Subscriber>> {
        let subscribed = async {
            let mut subscribers = Vec::with_capacity(subjects.len());
            for subject in subjects {
                subscribers.push(self.client.subscribe(subject).await?);
            }
            self.client.flush().await?;
            anyhow::Ok(subscribers)
        };
        timeout(PUBLISH_TIMEOUT, subscribed)
            .await
            .context("the broker did not answer in time")?
    }

    /// Subscribes as a member of a queue group, of which one member gets each message.
    pub async fn queue_subscribe(&self, subject: &str, group: &str) -> anyhow::Result<Subscriber> {
        let subscribed = async {
            let subscriber = self
                .client
                .queue_subscribe(subject.to_owned(), group.to_owned())
                .await?;
            self.client.flush().await?;
            anyhow::Ok(subscriber)
        };
        timeout(PUBLISH_TIMEOUT, subscribed)
            .await
            .context("the broker did not answer in time")?
    }
}

/// Says what each metric is, and shows every counter from the start on.
fn register_metrics() {
    for (name, means) in [
        (
            "nats_slow_consumer_total",
            "Times that the NATS client dropped messages of a slow subscription",
        ),
        (
            "unknown_events_total",
            "Events of a later version that were passed over",
        ),
    ] {
        metrics::describe_counter!(name, means);
        metrics::counter!(name).increment(0);
    }
}

/// The messages of a subscription until `stop`, and then (a drain) those that the server had sent
/// here by then, so that they are answered.
pub fn until_drained(
    bus: &Bus,
    subscriber: Subscriber,
    stop: CancellationToken,
) -> impl Stream<Item = Message> {
    let drained = {
        let bus = bus.clone();
        async move {
            // When the echo has arrived, everything that the server sent before it has too.
            bus.echo(Instant::now() + PUBLISH_TIMEOUT).await;
        }
    };
    let draining = Draining {
        subscriber,
        stop,
        drained: drained.boxed(),
        is_stopping: false,
        is_drained: false,
    };
    stream::unfold(draining, |mut draining| async move {
        let message = draining.next().await?;
        Some((message, draining))
    })
}

struct Draining {
    subscriber: Subscriber,
    stop: CancellationToken,
    /// Resolves when the server has processed the unsubscribe.
    drained: BoxFuture<'static, ()>,
    is_stopping: bool,
    is_drained: bool,
}

impl Draining {
    async fn next(&mut self) -> Option<Message> {
        loop {
            if self.is_drained {
                return self.subscriber.next().now_or_never().flatten();
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled(), if !self.is_stopping => {
                    self.is_stopping = true;
                    // If the unsubscribe cannot be sent, the connection is gone.
                    self.subscriber.unsubscribe_after(UNCOUNTABLE).await.ok()?;
                }
                message = self.subscriber.next() => return message,
                () = &mut self.drained, if self.is_stopping => self.is_drained = true,
            }
        }
    }
}

fn stored_headers(event_id: &str) -> async_nats::HeaderMap {
    let mut headers = trace::headers();
    headers.insert(async_nats::header::NATS_MESSAGE_ID, event_id);
    headers
}

/// The servers' addresses, without the user and password that they may contain.
fn shown(addresses: &[async_nats::ServerAddr]) -> String {
    let shown = addresses
        .iter()
        .map(|address| format!("{}:{}", address.host(), address.port()));
    shown.collect::<Vec<_>>().join(",")
}

fn options(
    settings: &BusSettings,
    user: &str,
    password: &Password,
    missed: watch::Sender<u64>,
    reconnected: watch::Sender<u64>,
) -> ConnectOptions {
    ConnectOptions::new()
        .name(format!("natter-{user}"))
        .user_and_password(
            format!("{user}{}", settings.nats_user_suffix),
            password.expose().to_owned(),
        )
        // Not the default `_INBOX.`, on which other services may listen: answers are for this user
        // alone.
        .custom_inbox_prefix(format!("_INBOX_{user}"))
        .connection_timeout(CONNECT_TIMEOUT)
        .ping_interval(PING_INTERVAL)
        .subscription_capacity(settings.nats_subscription_messages as usize)
        .request_timeout(None)
        .reconnect_delay_callback(|attempt| {
            (Duration::from_millis(50) * u32::try_from(attempt).unwrap_or(u32::MAX).min(20))
                .min(MAX_RECONNECT_PAUSE)
        })
        .event_callback(move |event| {
            let (missed, reconnected) = (missed.clone(), reconnected.clone());
            async move {
                match event {
                    Event::Connected => {
                        reconnected.send_modify(|times| *times += 1);
                        missed.send_modify(|times| *times += 1);
                    }
                    Event::SlowConsumer(_) => {
                        metrics::counter!("nats_slow_consumer_total").increment(1);
                        missed.send_modify(|times| *times += 1);
                    }
                    // For example a permissions violation.
                    Event::ServerError(error) => return tracing::error!(%error, "nats"),
                    _ => {}
                }
                tracing::info!(%event, "nats");
            }
        })
}
