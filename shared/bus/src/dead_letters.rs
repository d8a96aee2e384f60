//! Dead letters: events that could not be processed, which an operator looks at and replays.

use anyhow::{Context, ensure};
use async_nats::{
    HeaderMap, header,
    jetstream::{self, message::PublishMessage, stream::LastRawMessageErrorKind},
};
use bytes::Bytes;
use natter_protocol::subject;

use crate::{Bus, Stream};

const SUBJECT: &str = "Natter-Subject";
const CONSUMER: &str = "Natter-Consumer";
const REASON: &str = "Natter-Reason";

/// An event that a consumer gave up on.
#[derive(Debug)]
pub struct DeadLetter {
    /// Its number in the stream DLQ.
    pub number: u64,
    /// When it was given up: RFC 3339.
    pub time: String,
    /// The stream that the event is of.
    pub stream: String,
    /// Where the event was published.
    pub subject: String,
    /// Who could not process it.
    pub consumer: String,
    pub reason: String,
    pub payload: Bytes,
}

impl Bus {
    /// Puts an event that a consumer gave up on into the stream DLQ, once however often that is
    /// tried.
    pub(crate) async fn keep_dead_letter(
        &self,
        stream: Stream,
        consumer: &str,
        message: &jetstream::Message,
        reason: &str,
    ) -> anyhow::Result<()> {
        let payload = message.payload.clone();
        let mut headers = HeaderMap::new();
        if let Ok(info) = message.info() {
            let (stream, seq) = (stream.name(), info.stream_sequence);
            headers.insert(
                header::NATS_MESSAGE_ID,
                format!("{stream}-{consumer}-{seq}"),
            );
        }
        headers.insert(SUBJECT, message.subject.as_str());
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
                stream: subject::parse_dead_letter(&message.subject).to_owned(),
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
        // A replay must not publish to another stream than the letter's.
        let (stream, subject) = (&letter.stream, &letter.subject);
        ensure!(
            Stream::named(stream).is_some_and(|stream| stream.takes(subject)),
            "dead letter {number} is of the stream {stream}, which does not take {subject:?}"
        );
        let mut headers = HeaderMap::new();
        // A new `Nats-Msg-Id`: the original one would be dropped as a duplicate.
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
