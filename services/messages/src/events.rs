//! NATS handlers: sends, marks, calls, and the friendships service's events.

use std::collections::HashMap;

use futures_util::StreamExt;
use natter_bus::{
    Bus, Calls, Consumer, Failure, HeaderMap, Message, Stream, Subscriber, consume, process_span,
    until_drained,
};
use natter_process::Process;
use natter_protocol::{
    FriendshipId,
    call::{
        GetAfter, GetEpoch, GetHeads, GetMarks, HowFar, ListFiles, ListMarks, MAX_AFTER, MAX_FILES,
        MAX_HEADS, MarkReply, OneOrMore, Refusal, SendReply, TellMarks,
    },
    event::{Event, FriendshipEvent, LogEvent},
    subject,
};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{Messages, error::Error, marks::Marker};

/// The replicas share the sends and the marks.
const QUEUE_GROUP: &str = "messages";
/// How many requests with marks a replica has in hand at a time; more wait in the subscription.
const CONCURRENT_MARKS: usize = 4_096;
/// The largest reply to `rpc.messages.after`, in bytes: the broker's limit is 1 MiB.
const MAX_REPLY_BYTES: usize = 700 * 1024;

pub async fn start(messages: &Messages, process: &Process) -> anyhow::Result<()> {
    let bus = &messages.bus;
    let stop = &process.shutdown;

    // A request that one replica does not answer is repeated to all (`again.…`). A send or mark is
    // stored once, however many replicas store it.
    let sends = bus.queue_subscribe(subject::ALL_SENDS, QUEUE_GROUP).await?;
    let marks = bus.queue_subscribe(subject::ALL_MARKS, QUEUE_GROUP).await?;
    let again = [subject::ALL_SENDS_AGAIN, subject::ALL_MARKS_AGAIN].map(str::to_owned);
    let mut again = bus.subscribe(again.to_vec()).await?.into_iter();
    for sends in again.next().into_iter().chain([sends]) {
        let taking = take_sends(messages.clone(), sends, stop.clone());
        process.tasks.spawn(taking);
    }
    for marks in again.next().into_iter().chain([marks]) {
        let answering = answer_marks(messages.clone(), marks, stop.clone());
        process.tasks.spawn(answering);
    }

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
                projected.map_err(|error| {
                    if natter_pg::is_unavailable(&error) {
                        Failure::Passing(error.to_string())
                    } else {
                        Failure::Final(error.to_string())
                    }
                })
            }
        },
    ));
    Ok(())
}

/// Takes sends out of the subscription as they come: if they waited there, it would not be known
/// how old they are.
async fn take_sends(messages: Messages, sends: Subscriber, stop: CancellationToken) {
    let (bus, committer) = (&messages.bus, &messages.committer);
    until_drained(bus, sends, stop)
        .for_each(|request| async move {
            let channel = subject::parse_channel(&request.subject);
            let sends = OneOrMore::from_json(&request.payload);
            match (channel, sends) {
                (Some(channel), Ok(sends)) => committer.request(channel, sends, request).await,
                // As in [`answer_mark`].
                _ if subject::is_again(&request.subject) => {}
                _ => {
                    let refused = SendReply::Refused(Refusal::Unavailable);
                    answer(bus, &request, &refused).await;
                }
            }
        })
        .await;
}

/// Answers marks until there are no more.
async fn answer_marks(messages: Messages, marks: Subscriber, stop: CancellationToken) {
    let (bus, marker) = (&messages.bus, &messages.marker);
    until_drained(bus, marks, stop)
        .for_each_concurrent(CONCURRENT_MARKS, |request| {
            let span = process_span(subject::ALL_MARKS, &request);
            answer_mark(bus, marker, request).instrument(span)
        })
        .await;
    // The last answers must not be lost with the connection.
    bus.flush().await;
}

async fn answer_mark(bus: &Bus, marker: &Marker, request: Message) {
    let channel = subject::parse_channel(&request.subject);
    let mark = serde_json::from_slice(&request.payload);
    let reply = match (channel, mark) {
        (Some(channel), Ok(mark)) => marker.mark(channel, mark).await,
        _ => MarkReply::Refused(Refusal::Unavailable),
    };
    // A replica asked through `again.…` does not answer `unavailable`: the replica that was asked
    // first may still succeed.
    let is_refused = reply == MarkReply::Refused(Refusal::Unavailable);
    if !(is_refused && subject::is_again(&request.subject)) {
        answer(bus, &request, &reply).await;
    }
}

async fn answer(bus: &Bus, request: &Message, reply: &impl Serialize) {
    match serde_json::to_vec(reply) {
        Ok(json) => bus.answer(request, HeaderMap::new(), json.into()).await,
        Err(error) => tracing::error!(%error, "an answer cannot be encoded"),
    }
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
        .answer(move |call: ListMarks| {
            let store = store.clone();
            async move {
                let asked = named(&call.channels);
                let ids: Vec<_> = asked.iter().map(|channel| channel.0).collect();
                store.marks_in(call.user, &ids).await
            }
        })
        .await?;
    let marker = messages.marker.clone();
    calls
        .answer(move |call: TellMarks| {
            let marker = marker.clone();
            async move {
                let asked = named(&call.channels);
                marker.tell(asked).await
            }
        })
        .await?;
    let store = messages.store.clone();
    calls
        .answer(move |_: GetEpoch| {
            let store = store.clone();
            async move { store.epoch().await.map(|epoch| epoch.to_string()) }
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

/// The channels of a call, as many as one call may name.
fn named(channels: &[FriendshipId]) -> &[FriendshipId] {
    &channels[..channels.len().min(MAX_HEADS)]
}

async fn heads(messages: Messages, call: GetHeads) -> Result<HashMap<FriendshipId, u64>, Error> {
    let asked = named(&call.channels);
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
