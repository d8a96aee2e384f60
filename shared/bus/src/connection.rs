//! One connection of one service.

use std::{fmt, future::IntoFuture, str::FromStr, time::Duration};

use anyhow::{Context, bail};
use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event, Message, Request, Subscriber,
    client::RequestErrorKind,
    connection::State,
    jetstream::{
        self,
        context::{PublishAckFuture, PublishErrorKind},
        message::PublishMessage,
    },
};
use bytes::Bytes;
use clap::Args;
use futures_util::{Stream, StreamExt, stream};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{Waiting, trace};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest pause between two attempts to get a lost connection back.
const MAX_RECONNECT_PAUSE: Duration = Duration::from_millis(1_000);
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// How long a publish may wait for the client's own queue, and JetStream for its ack.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(3);
/// Events that streams have not confirmed yet. Past it they are sent without asking for it.
const MAX_UNCONFIRMED: usize = 20_000;
/// Pause before a request that nobody was there to answer is tried again, within its deadline.
const NO_RESPONDER_PAUSE: Duration = Duration::from_millis(50);
/// What the contract needs: per-key expiry, and limits that answer at once.
const MIN_SERVER: (i64, i64, i64) = (2, 12, 0);

#[derive(Args, Clone)]
#[group(skip)]
pub struct BusSettings {
    /// Comma-separated URLs of the NATS servers
    #[arg(
        long,
        env = "NATTER_NATS_URL",
        value_name = "NATTER_NATS_URL",
        default_value = "nats://127.0.0.1:4222"
    )]
    nats_url: String,

    /// Messages of one NATS subscription that may wait here; past it some are dropped, and asked for again
    #[arg(long, env = "NATTER_NATS_SUBSCRIPTION_MESSAGES", value_name = "NATTER_NATS_SUBSCRIPTION_MESSAGES", default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(1..))]
    nats_subscription_messages: u32,

    /// How long an event that could not be processed waits before the second of its 10 tries, in milliseconds; twice as long before each further one, at most 30 seconds
    #[arg(long, env = "NATTER_EVENT_RETRY_MS", value_name = "NATTER_EVENT_RETRY_MS", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    event_retry_ms: u64,
}

/// The password of a NATS user. Never shown.
#[derive(Clone)]
pub struct Password(String);

impl FromStr for Password {
    type Err = &'static str;

    fn from_str(password: &str) -> Result<Self, Self::Err> {
        match password.is_empty() {
            true => Err("it is empty"),
            false => Ok(Self(password.to_owned())),
        }
    }
}

impl Password {
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// A service's connection to NATS.
#[derive(Clone)]
pub struct Bus {
    pub(crate) client: Client,
    pub(crate) jetstream: jetstream::Context,
    pub(crate) first_retry: Duration,
    missed: watch::Receiver<u64>,
}

#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("nobody answered in time")]
    Timeout,
    #[error("the request could not be sent")]
    Send(#[source] async_nats::RequestError),
    #[error("the reply cannot be read")]
    Reply(#[source] serde_json::Error),
    #[error("the request cannot be encoded")]
    Encode(#[source] serde_json::Error),
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
    Stream(#[source] jetstream::context::PublishError),
}

/// An event that was sent to a stream and not yet confirmed.
pub struct PendingAck {
    ack: PublishAckFuture,
    by: Instant,
}

/// Where a stream keeps an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub stream: String,
    /// The stream's own number of it.
    pub seq: u64,
}

impl PendingAck {
    /// Until the stream has stored the event, or had its time.
    pub async fn confirmed(self) -> Result<Stored, PublishError> {
        match timeout_at(self.by, self.ack.into_future()).await {
            Ok(Ok(ack)) => Ok(Stored {
                stream: ack.stream,
                seq: ack.sequence,
            }),
            Ok(Err(error)) => Err(PublishError::Stream(error)),
            Err(_) => Err(PublishError::Timeout),
        }
    }
}

impl Bus {
    /// Connects as a user of `deploy/nats/nats.conf`, waiting so long for a broker that is still
    /// starting.
    pub async fn connect(
        settings: &BusSettings,
        user: &str,
        password: &Password,
        patience: Duration,
    ) -> anyhow::Result<Self> {
        let (missed_tx, missed) = watch::channel(0);
        let addresses: Vec<async_nats::ServerAddr> = settings
            .nats_url
            .split(',')
            .map(|url| url.trim().parse())
            .collect::<Result<_, _>>()
            .context("NATTER_NATS_URL must look like nats://host:4222")?;
        let mut waiting = Waiting::at_most(patience);
        let client = loop {
            let options = options(settings, user, password, missed_tx.clone());
            match options.connect(addresses.as_slice()).await {
                Ok(client) => break client,
                Err(error) if error.kind() == ConnectErrorKind::AuthorizationViolation => {
                    return Err(error).with_context(|| {
                        let setting = format!("NATTER_{}_NATS_PASSWORD", user.to_uppercase());
                        format!("the NATS server refuses the user {user} with {setting}")
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
        let jetstream = jetstream::ContextBuilder::new()
            .timeout(PUBLISH_TIMEOUT)
            .max_ack_inflight(MAX_UNCONFIRMED)
            .backpressure_on_inflight(false)
            .build(client.clone());
        Ok(Self {
            client,
            jetstream,
            first_retry: Duration::from_millis(settings.event_retry_ms),
            missed,
        })
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

    /// Tells whoever listens now.
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

    /// Until what was published has been written, or cannot be.
    pub async fn flush(&self) {
        let flushed = timeout(PUBLISH_TIMEOUT, self.client.flush()).await;
        if !matches!(flushed, Ok(Ok(()))) {
            tracing::warn!("not everything could be told to the broker");
        }
    }

    /// Answers a request that carries a reply subject; one without needs no answer.
    pub async fn reply(
        &self,
        request: &Message,
        payload: &impl Serialize,
    ) -> Result<(), PublishError> {
        match &request.reply {
            Some(reply) => self.publish(reply.to_string(), payload).await,
            None => Ok(()),
        }
    }

    /// Sends an event to its stream and to whoever listens now; the stream's word that it has it
    /// comes later. Never waits for a stream that is slow: then the event is sent all the same,
    /// and the error says that nothing is known of the stream.
    pub async fn store(
        &self,
        subject: String,
        event_id: &str,
        payload: Bytes,
    ) -> Result<PendingAck, PublishError> {
        let mut headers = trace::headers();
        headers.insert(async_nats::header::NATS_MESSAGE_ID, event_id);
        let message = PublishMessage::build()
            .payload(payload.clone())
            .headers(headers.clone());
        let by = Instant::now() + PUBLISH_TIMEOUT;
        let sent = self.jetstream.send_publish(subject.clone(), message);
        match timeout_at(by, sent).await {
            Ok(Ok(ack)) => Ok(PendingAck { ack, by }),
            Ok(Err(error)) if error.kind() == PublishErrorKind::MaxAckPending => {
                let sent = self.client.publish_with_headers(subject, headers, payload);
                // The outbox sends it again in any case.
                let _ = timeout_at(by, sent).await;
                Err(PublishError::Stream(error))
            }
            Ok(Err(error)) => Err(PublishError::Stream(error)),
            Err(_) => Err(PublishError::Timeout),
        }
    }

    /// Tells whoever listens now, and waits until that is written.
    pub async fn tell(&self, subject: String, payload: Bytes) -> Result<(), PublishError> {
        // The client would keep it for later; the outbox does that better.
        if !self.is_connected() {
            return Err(PublishError::Timeout);
        }
        let sent = async {
            let sent = self.client.publish(subject, payload).await;
            sent.map_err(PublishError::Send)?;
            // Written, not only queued: the client forgets its queue when the connection goes.
            self.client.flush().await.map_err(|_| PublishError::Timeout)
        };
        timeout(PUBLISH_TIMEOUT, sent)
            .await
            .map_err(|_| PublishError::Timeout)?
    }

    /// Asks and waits for the answer until `deadline`. While nobody is there to answer (a service
    /// restarts, the broker is back before it is) it asks again.
    pub async fn request<R: DeserializeOwned>(
        &self,
        subject: &str,
        payload: &impl Serialize,
        deadline: Instant,
    ) -> Result<R, RequestError> {
        let payload: Bytes = serde_json::to_vec(payload)
            .map_err(RequestError::Encode)?
            .into();
        let reply = self.request_raw(subject, payload, deadline).await?;
        serde_json::from_slice(&reply.payload).map_err(RequestError::Reply)
    }

    pub(crate) async fn request_raw(
        &self,
        subject: &str,
        payload: Bytes,
        deadline: Instant,
    ) -> Result<Message, RequestError> {
        loop {
            let request = Request::new()
                .payload(payload.clone())
                .headers(trace::headers())
                .timeout(None);
            let sent = self.client.send_request(subject.to_owned(), request);
            match timeout_at(deadline, sent).await {
                Ok(Ok(reply)) => return Ok(reply),
                Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
                    if Instant::now() + NO_RESPONDER_PAUSE >= deadline {
                        return Err(RequestError::Timeout);
                    }
                    sleep(NO_RESPONDER_PAUSE).await;
                }
                Ok(Err(error)) => return Err(RequestError::Send(error)),
                Err(_) => return Err(RequestError::Timeout),
            }
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

    /// Subscribes as one of a group, of which one gets each message.
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

/// The messages of a subscription until `stop`, and then those that the server had handed out:
/// whoever asked gets an answer.
pub fn until_drained(
    subscriber: Subscriber,
    stop: CancellationToken,
) -> impl Stream<Item = Message> {
    stream::unfold(
        (subscriber, stop, false),
        |(mut subscriber, stop, draining)| async move {
            let mut draining = draining;
            loop {
                tokio::select! {
                    message = subscriber.next() => {
                        return message.map(|message| (message, (subscriber, stop, draining)));
                    }
                    () = stop.cancelled(), if !draining => {
                        draining = true;
                        // Where it cannot be told, the connection is gone and nothing comes.
                        subscriber.drain().await.ok()?;
                    }
                }
            }
        },
    )
}

/// The addresses without a user or password that may stand in them.
fn shown(addresses: &[async_nats::ServerAddr]) -> String {
    let shown = addresses
        .iter()
        .map(|address| format!("{}:{}", address.host(), address.port()));
    shown.collect::<Vec<_>>().join(",")
}

fn options(
    settings: &BusSettings,
    user: &str,
    Password(password): &Password,
    missed: watch::Sender<u64>,
) -> ConnectOptions {
    ConnectOptions::new()
        .name(format!("natter-{user}"))
        .user_and_password(user.to_owned(), password.clone())
        // Below `_INBOX.` other services listen: what is answered here is not for them.
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
            let missed = missed.clone();
            async move {
                match event {
                    Event::Connected => missed.send_modify(|times| *times += 1),
                    Event::SlowConsumer(_) => {
                        metrics::counter!("nats_slow_consumer_total").increment(1);
                        missed.send_modify(|times| *times += 1);
                    }
                    // Something that the user may not do, for one.
                    Event::ServerError(error) => return tracing::error!(%error, "nats"),
                    _ => {}
                }
                tracing::info!(%event, "nats");
            }
        })
}
