//! What another service has of the streams in the end, as the NATS user `subscriber`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::Context;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use futures_util::StreamExt;
use natter_e2e::{World, feeds::compare};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    client::PATIENCE,
    record::{Channel, Feeds, Told},
};

const PAUSE: Duration = Duration::from_millis(500);

/// Waits until the streams have all that they must have: what a stream has lost is found within a
/// minute, and published again. What is lacking after that is `left`.
pub async fn feeds(
    world: &World,
    channels: &BTreeMap<String, Channel>,
    left: &mut Vec<String>,
) -> anyhow::Result<Feeds> {
    let mut feeds = Feeds::default();
    let give_up = Instant::now() + PATIENCE;
    for (stream, events) in [
        ("USERS", &mut feeds.users),
        ("FRIENDSHIPS", &mut feeds.friendships),
    ] {
        loop {
            let compared = compare(world, stream).await;
            *events = compared.events;
            let is_whole = compared.broken.is_empty() && compared.missing.is_empty();
            if is_whole || Instant::now() > give_up {
                left.extend(compared.broken);
                let missing = compared.missing.into_iter();
                left.extend(missing.map(|id| format!("{stream} lacks the event {id}")));
                break;
            }
            sleep(PAUSE).await;
        }
    }
    loop {
        feeds.chat = chat(world).await?;
        if has_all(&feeds.chat, channels) || Instant::now() > give_up {
            return Ok(feeds);
        }
        sleep(PAUSE).await;
    }
}

/// Whether there is an event of every entry; the checker says of which there is none.
fn has_all(events: &[Told], channels: &BTreeMap<String, Channel>) -> bool {
    let had = events.iter().filter_map(|(_, event)| {
        let channel = event["channel"].as_str()?;
        Some((channel, event["seq"].as_u64()?))
    });
    let had: BTreeSet<(&str, u64)> = had.collect();
    channels.iter().all(|(id, channel)| {
        let mut log = channel.logs.values().next().into_iter().flatten();
        log.all(|entry| had.contains(&(id.as_str(), entry.seq)))
    })
}

/// The events of the stream `CHAT`, as far as they are judged.
async fn chat(world: &World) -> anyhow::Result<Vec<Told>> {
    let subscriber = natter_e2e::jetstream(&world.nats, "subscriber").await;
    let stream = subscriber.get_stream("CHAT").await.context("CHAT")?;
    let config = OrderedConfig {
        filter_subject: "chat.friendship.*.log".to_owned(),
        ..Default::default()
    };
    let mut told = Vec::new();
    if stream.cached_info().state.messages == 0 {
        return Ok(told);
    }
    let events = stream.create_consumer(config).await.context("a consumer")?;
    let mut events = events.messages().await.context("its messages")?;
    loop {
        let next = timeout(PATIENCE, events.next()).await;
        let event = next.context("the stream CHAT says that there is more, and sends nothing")?;
        let event = event
            .context("the stream CHAT ends")?
            .context("an event of CHAT")?;
        let info = event.info().map_err(|error| anyhow::anyhow!(error))?;
        let headers = event.headers.as_ref();
        let id = headers.and_then(|headers| headers.get("Nats-Msg-Id"));
        let id = id.context("an event has no id")?.to_string();
        let body: Value = serde_json::from_slice(&event.payload)?;
        let judged = json!({
            "channel": body["channel"], "seq": body["seq"], "kind": body["kind"],
            "message": {"id": body["message"]["id"]},
        });
        told.push((id, judged));
        if info.pending == 0 {
            return Ok(told);
        }
    }
}
