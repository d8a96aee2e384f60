//! Durable consumers: at least once, and never stuck.

use std::{future::Future, time::Duration};

use anyhow::Context;
use async_nats::jetstream::{self, AckKind, consumer::pull};
use futures_util::StreamExt;
use natter_protocol::event::{Typed, Unread, read};
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{Bus, Stream, pass_over, process_span};

/// A message that fails with [`Failure::Final`] goes to the dead letters once the broker has
/// delivered it this many times.
const MAX_TRIES: i64 = 10;
const ACK_WAIT: Duration = Duration::from_secs(30);
/// The longest that one event is worked on: below [`ACK_WAIT`], after which the broker would hand
/// it to another replica.
const HANDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// How many events are fetched at a time. Few: they are worked on one after the other, and one that
/// waits longer than [`ACK_WAIT`] for its turn is delivered again, which counts as a try.
const FETCHED: usize = 10;
/// How often the broker says, while it has no events, that it still has the request for them. After
/// twice as long without a word the consumer is looked up again.
const HEARTBEAT: Duration = Duration::from_secs(15);
const MAX_RETRY: Duration = Duration::from_secs(30);
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

/// A durable consumer: its stream, its durable name, and the subjects of the events that it gets.
#[derive(Clone, Copy)]
pub struct Consumer {
    pub stream: Stream,
    pub durable: &'static str,
    pub filter: &'static str,
}

/// Why an event was not processed.
#[derive(Debug)]
pub enum Failure {
    /// A dependency is down: the event is tried until the dependency is back.
    Passing(String),
    /// The event itself cannot be processed: it is given up after [`MAX_TRIES`].
    Final(String),
}

/// Hands each message to `handle` until `stop`. A message that fails is handed over again; one that
/// fails with [`Failure::Final`] goes to the dead letters after [`MAX_TRIES`]. What only a later
/// version knows is passed over. Replicas with the same durable name share the messages.
pub async fn consume<T, F, Fut>(bus: Bus, consumer: Consumer, stop: CancellationToken, handle: F)
where
    T: DeserializeOwned + Typed,
    F: Fn(T) -> Fut,
    Fut: Future<Output = Result<(), Failure>>,
{
    let name = consumer.durable;
    metrics::describe_counter!("dead_letters_total", "Events given up after ten tries");
    // The counter is shown from the start on, with the value 0.
    metrics::counter!("dead_letters_total", "stream" => consumer.stream.name()).increment(0);
    let work = async {
        loop {
            match run(&bus, consumer, &handle).await {
                Ok(()) => tracing::info!(name, "the consumer's messages ended; again"),
                Err(error) => tracing::info!(name, "the consumer waits: {error:#}"),
            }
            sleep(RECONNECT_PAUSE).await;
        }
    };
    stop.run_until_cancelled(work).await;
}

async fn run<T, F, Fut>(bus: &Bus, consumer: Consumer, handle: &F) -> anyhow::Result<()>
where
    T: DeserializeOwned + Typed,
    F: Fn(T) -> Fut,
    Fut: Future<Output = Result<(), Failure>>,
{
    let stream = bus
        .jetstream
        .get_stream_no_info(consumer.stream.name())
        .await?;
    let config = pull::Config {
        durable_name: Some(consumer.durable.to_owned()),
        filter_subject: consumer.filter.to_owned(),
        ack_wait: ACK_WAIT,
        ..pull::Config::default()
    };
    let durable = stream
        .get_or_create_consumer(consumer.durable, config)
        .await
        .with_context(|| format!("the stream {} is not there", consumer.stream.name()))?;
    // Without being told, only `messages()` of the consumer itself asks for heartbeats.
    let fetching = durable
        .stream()
        .max_messages_per_batch(FETCHED)
        .heartbeat(HEARTBEAT);
    let mut messages = fetching.messages().await?;
    while let Some(message) = messages.next().await {
        let message = message?;
        let span = process_span(consumer.filter, &message.message);
        one(bus, consumer, handle, message).instrument(span).await;
    }
    Ok(())
}

async fn one<T, F, Fut>(bus: &Bus, consumer: Consumer, handle: &F, message: jetstream::Message)
where
    T: DeserializeOwned + Typed,
    F: Fn(T) -> Fut,
    Fut: Future<Output = Result<(), Failure>>,
{
    let result = match read(&message.payload) {
        Ok(event) => timeout(HANDLE_TIMEOUT, handle(event))
            .await
            .unwrap_or_else(|_| Err(Failure::Passing("it took too long".to_owned()))),
        Err(unknown @ Unread::Unknown { .. }) => {
            pass_over(&unknown);
            Ok(())
        }
        Err(Unread::Malformed(error)) => Err(Failure::Final(format!(
            "the payload cannot be read: {error}"
        ))),
    };
    let tries = message.info().map_or(1, |info| info.delivered);
    let factor = 1 << u32::try_from(tries - 1).unwrap_or(0).min(8);
    let again = AckKind::Nak(Some((bus.first_retry * factor).min(MAX_RETRY)));
    let ack = match result {
        Ok(()) => AckKind::Ack,
        Err(Failure::Final(reason)) if tries >= MAX_TRIES => {
            let stream = consumer.stream.name();
            tracing::error!(reason, stream, subject = %message.subject, "a dead letter");
            let kept = bus.keep_dead_letter(consumer.stream, consumer.durable, &message, &reason);
            match kept.await {
                Ok(()) => {
                    metrics::counter!("dead_letters_total", "stream" => stream).increment(1);
                    AckKind::Term
                }
                Err(error) => {
                    tracing::warn!("a dead letter could not be kept: {error:#}");
                    again
                }
            }
        }
        Err(Failure::Passing(reason) | Failure::Final(reason)) => {
            tracing::warn!(reason, tries, subject = %message.subject, "an event was not processed");
            again
        }
    };
    if let Err(error) = message.ack_with(ack).await {
        tracing::warn!(%error, "an event could not be acknowledged; it will come again");
    }
}
