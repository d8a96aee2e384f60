//! What could not be processed: looked at and replayed by an operator.

use anyhow::{Context, bail};
use async_nats::{
    HeaderMap, header,
    jetstream::{message::PublishMessage, stream::LastRawMessageErrorKind},
};
use bytes::Bytes;
use natter_protocol::subject;

use crate::{Bus, Stream};

const SUBJECT: &str = "Natter-Subject";
const CONSUMER: &str = "Natter-Consumer";
const REASON: &str = "Natter-Reason";

/// An event that a consumer gave up.
#[derive(Debug)]
pub struct DeadLetter {
    /// The stream DLQ's own number of it.
    pub number: u64,
    /// When it was given up: RFC 3339.
    pub time: String,
    /// Where the event was published.
    pub subject: String,
    /// Who could not process it.
    pub consumer: String,
    pub reason: String,
    pub payload: Bytes,
}

impl Bus {
    /// Keeps an event that a consumer gives up.
    pub(crate) async fn bury(
        &self,
        stream: Stream,
        consumer: &str,
        subject: &str,
        payload: Bytes,
        reason: &str,
    ) -> anyhow::Result<()> {
        let mut headers = HeaderMap::new();
        headers.insert(SUBJECT, subject);
        headers.insert(CONSUMER, consumer);
        headers.insert(REASON, reason.replace(['\r', '\n'], " "));
        let letter = PublishMessage::build().payload(payload).headers(headers);
        let sent = self
            .jetstream
            .send_publish(subject::dead_letter(stream.name()), letter);
        sent.await?.await?;
        Ok(())
    }

    /// Every dead letter, the oldest first.
    pub async fn dead_letters(&self) -> anyhow::Result<Vec<DeadLetter>> {
        let stream = self.jetstream.get_stream(Stream::DeadLetters.name()).await;
        let stream = stream.context("the stream DLQ cannot be read")?;
        let state = &stream.cached_info().state;
        let mut letters = Vec::new();
        // The first number of an empty stream is above its last, or 0.
        for number in state.first_sequence.max(1)..=state.last_sequence {
            let message = match stream.get_raw_message(number).await {
                Ok(message) => message,
                // Replayed already.
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => continue,
                Err(error) => return Err(error).context("the stream DLQ cannot be read"),
            };
            let header = |name| {
                let value = message.headers.get(name);
                value.map(|value| value.to_string()).unwrap_or_default()
            };
            letters.push(DeadLetter {
                number,
                time: message.time.to_rfc3339(),
                subject: header(SUBJECT),
                consumer: header(CONSUMER),
                reason: header(REASON),
                payload: message.payload.clone(),
            });
        }
        Ok(letters)
    }

    /// Publishes a dead letter's event again, to every consumer of its stream, and takes the
    /// letter away once the stream has the event.
    pub async fn replay(&self, letter: &DeadLetter) -> anyhow::Result<()> {
        let number = letter.number;
        if letter.subject.is_empty() {
            bail!("dead letter {number} does not say where it was published");
        }
        let mut headers = HeaderMap::new();
        // Another than the event's first: that would be dropped as a repeat.
        let id = format!("dead-letter-{number}-{}", letter.time);
        headers.insert(header::NATS_MESSAGE_ID, id);
        let event = PublishMessage::build()
            .payload(letter.payload.clone())
            .headers(headers);
        let sent = self.jetstream.send_publish(letter.subject.clone(), event);
        sent.await?
            .await
            .with_context(|| format!("dead letter {number} could not be replayed"))?;
        let stream = self
            .jetstream
            .get_stream(Stream::DeadLetters.name())
            .await?;
        let taken = stream.delete_message(number).await;
        taken.with_context(|| {
            format!("dead letter {number} was replayed, and could not be taken away")
        })?;
        Ok(())
    }
}
