//! The door to the broker: sends, marks, calls, and the friendship service's events.

use std::{collections::HashMap, future::Future};

use futures_util::StreamExt;
use natter_bus::{
    Bus, Calls, Consumer, Failure, Message, Stream, Subscriber, consume, span_of, until_drained,
};
use natter_protocol::{
    FriendshipId,
    call::{
        GetAfter, GetHeads, GetMarks, HowFar, ListFiles, MAX_AFTER, MAX_FILES, MAX_HEADS, Mark,
        MarkReply, Refusal, Send, SendReply,
    },
    event::{Event, FriendshipEvent, LogEvent},
    subject,
};
use natter_service::Process;
use serde::{Serialize, de::DeserializeOwned};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{Messages, error::Error};

/// The replicas share the sends and the marks.
const QUEUE_GROUP: &str = "messages";
/// How many requests of one kind a replica has in hand at a time; more wait in the subscription.
const CONCURRENT_REQUESTS: usize = 4_096;
/// The largest reply to `rpc.messages.after`, in bytes: the broker's limit is 1 MiB.
const MAX_REPLY_BYTES: usize = 700 * 1024;

pub async fn start(messages: &Messages, process: &Process) -> anyhow::Result<()> {
    let bus = &messages.bus;
    let stop = &process.shutdown;

    let committer = messages.committer.clone();
    let sends = bus.queue_subscribe(subject::ALL_SENDS, QUEUE_GROUP).await?;
    process.tasks.spawn(answer(
        bus.clone(),
        sends,
        stop.clone(),
        SendReply::Refused(Refusal::Unavailable),
        move |channel, send: Send| {
            let committer = committer.clone();
            async move { committer.store(channel, send).await }
        },
    ));

    let marker = messages.marker.clone();
    let marks = bus.queue_subscribe(subject::ALL_MARKS, QUEUE_GROUP).await?;
    process.tasks.spawn(answer(
        bus.clone(),
        marks,
        stop.clone(),
        MarkReply::Refused(Refusal::Unavailable),
        move |channel, mark: Mark| {
            let marker = marker.clone();
            async move { marker.mark(channel, mark).await }
        },
    ));

    answer_calls(messages, process).await?;

    let store = messages.store.clone();
    process.tasks.spawn(consume(
        bus.clone(),
        Consumer {
            stream: Stream::Friendships,
            durable: "messages",
            filter: subject::ALL_FRIENDSHIP_EVENTS,
        },
        stop.clone(),
        move |event: Event<FriendshipEvent>| {
            let store = store.clone();
            async move {
                let projected = store.project(event.body.state()).await;
                projected.map_err(|error| match natter_pg::is_unavailable(&error) {
                    true => Failure::Passing(error.to_string()),
                    false => Failure::Final(error.to_string()),
                })
            }
        },
    ));
    Ok(())
}

/// Answers requests about channels until `stop`, and then those that are in hand.
async fn answer<Q, R, F, Fut>(
    bus: Bus,
    requests: Subscriber,
    stop: CancellationToken,
    unreadable: R,
    handle: F,
) where
    Q: DeserializeOwned,
    R: Serialize,
    F: Fn(FriendshipId, Q) -> Fut,
    Fut: Future<Output = R>,
{
    until_drained(requests, stop)
        .for_each_concurrent(CONCURRENT_REQUESTS, |request: Message| {
            let span =
                tracing::debug_span!("request", otel.kind = "server", subject = %request.subject);
            let span = span_of(&request, span);
            let (bus, handle, unreadable) = (&bus, &handle, &unreadable);
            async move {
                let channel = subject::parse_channel(&request.subject);
                let sent = match (channel, serde_json::from_slice(&request.payload)) {
                    (Some(channel), Ok(question)) => {
                        bus.reply(&request, &handle(channel, question).await).await
                    }
                    _ => {
                        tracing::warn!(subject = %request.subject, "a request cannot be read");
                        bus.reply(&request, unreadable).await
                    }
                };
                if let Err(error) = sent {
                    tracing::warn!(%error, "a reply could not be sent");
                }
            }
            .instrument(span)
        })
        .await;
    // The last answers must not be lost with the connection.
    bus.flush().await;
}

async fn answer_calls(messages: &Messages, process: &Process) -> anyhow::Result<()> {
    let calls = Calls::start(
        &messages.bus,
        "messages",
        process.shutdown.clone(),
        process.tasks.clone(),
    )
    .await?;
    let state = messages.clone();
    calls
        .answer(move |call: GetHeads| heads(state.clone(), call))
        .await?;
    let state = messages.clone();
    calls
        .answer(move |call: GetAfter| after(state.clone(), call))
        .await?;
    let store = messages.store.clone();
    calls
        .answer(move |call: GetMarks| {
            let store = store.clone();
            async move {
                let marks = store.marks(call.channel, call.user).await;
                marks.map(|marks| HowFar {
                    received_seq: marks.received_seq.unsigned_abs(),
                    seen_seq: marks.seen_seq.unsigned_abs(),
                })
            }
        })
        .await?;
    let store = messages.store.clone();
    calls
        .answer(move |call: ListFiles| {
            let store = store.clone();
            async move {
                let limit = i64::try_from(MAX_FILES).unwrap_or(i64::MAX);
                store.files_of(call.owner, call.after, limit).await
            }
        })
        .await
}

async fn heads(messages: Messages, call: GetHeads) -> Result<HashMap<FriendshipId, u64>, Error> {
    let asked = &call.channels[..call.channels.len().min(MAX_HEADS)];
    let ids: Vec<_> = asked.iter().map(|channel| channel.0).collect();
    let known = messages.store.heads(&ids).await?;
    Ok(asked
        .iter()
        .map(|channel| (*channel, known.get(channel).copied().unwrap_or_default()))
        .collect())
}

/// As many entries as fit into one reply: at least one, where there is one.
async fn after(messages: Messages, call: GetAfter) -> Result<Vec<LogEvent>, Error> {
    let Some(channel) = messages.store.channel(call.channel).await? else {
        return Ok(Vec::new());
    };
    let limit = call.limit.min(MAX_AFTER).into();
    let mut events = messages
        .store
        .after(&channel, call.after_seq, limit)
        .await?;
    let mut bytes = 0;
    let fitting = events
        .iter()
        .take_while(|event| {
            let fits = bytes < MAX_REPLY_BYTES;
            bytes += serde_json::to_vec(event).map_or(0, |encoded| encoded.len());
            fits
        })
        .count();
    events.truncate(fitting);
    Ok(events)
}
