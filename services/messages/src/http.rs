//! The HTTP door: `/api/messages/`.

use axum::{
    Json, Router,
    extract::{Path, State},
    routing::get,
};
use natter_auth::Caller;
use natter_protocol::{
    FriendshipId, MessageId, Timestamp, UserId,
    call::{Mark, MarkReply},
    message::Media,
};
use natter_service::{ErrorKey, Page, Paged, Params, ProcessSettings, wrap};
use serde::Serialize;

use crate::{
    Messages,
    channel::Channel,
    error::Error,
    history::{Filter, Order},
    store::{LogRow, Marks},
};

pub fn router(messages: Messages, settings: &ProcessSettings) -> Router {
    let routes = Router::new()
        .route(
            "/api/messages/status/friendship/{friendship}/messages/",
            get(history),
        )
        .with_state(messages);
    wrap(routes, ErrorKey::Error, settings)
}

/// A message with how far its receiver is.
#[derive(Serialize)]
struct Item {
    id: MessageId,
    message: ItemMessage,
    receiver: UserId,
    is_received: bool,
    is_seen: bool,
    updated_at: Timestamp,
}

#[derive(Serialize)]
struct ItemMessage {
    id: MessageId,
    friendship: FriendshipId,
    sender: UserId,
    content: String,
    media: Vec<Media>,
    created_at: Timestamp,
    client_id: Option<String>,
    reply_to: Option<MessageId>,
    edited_at: Option<Timestamp>,
    deleted: bool,
    seq: u64,
}

async fn history(
    State(messages): State<Messages>,
    caller: Caller,
    Path(friendship): Path<String>,
    params: Params,
    page: Page,
) -> Result<Json<Paged<Item>>, Error> {
    let id: FriendshipId = friendship.parse().map_err(|_| Error::FriendshipNotFound)?;
    let filter = Filter::parse(&params)?;
    let channel = messages.channels.of_member(id, caller.user).await?;
    let bounds = filter.bounds(&messages.store, &channel).await?;
    let count = bounds.count();
    page.check(count)?;
    let mut rows = match bounds.page(&page, filter.order) {
        Some((first, last)) => {
            let first = messages.store.seq_of_position(&channel, first).await?;
            let last = messages.store.seq_of_position(&channel, last).await?;
            messages.store.messages(id, first, last).await?
        }
        None => Vec::new(),
    };
    mark_received(&messages, &channel, caller.user, &rows).await;
    if filter.order == Order::NewestFirst {
        rows.reverse();
    }
    let items = items(&messages, &channel, rows).await?;
    Ok(Json(page.of(count, items)))
}

/// Reading is receiving: the other side's listed messages have reached the caller. That a mark
/// cannot be moved right now keeps nobody from reading.
async fn mark_received(messages: &Messages, channel: &Channel, reader: UserId, rows: &[LogRow]) {
    let newest = rows
        .iter()
        .rev()
        .map(|row| row.message(channel.id))
        .find(|message| message.sender != reader);
    let Some(newest) = newest else { return };
    match messages.store.marks(channel.id, reader).await {
        Ok(known) if known.received_seq.unsigned_abs() >= newest.id.seq() => return,
        Ok(_) => {}
        Err(error) => return tracing::warn!(%error, "marks cannot be read"),
    }
    let mark = Mark {
        user: reader,
        message: newest.id,
        seen: false,
    };
    if let MarkReply::Refused(refusal) = messages.marker.mark(channel.id, mark).await {
        tracing::warn!(%refusal, "reading was not marked");
    }
}

async fn items(
    messages: &Messages,
    channel: &Channel,
    rows: Vec<LogRow>,
) -> Result<Vec<Item>, Error> {
    let [first, second] = channel.members;
    let marks = [
        (first, messages.store.marks(channel.id, first).await?),
        (second, messages.store.marks(channel.id, second).await?),
    ];
    Ok(rows
        .iter()
        .map(|row| {
            let message = row.message(channel.id);
            let receiver = channel.friend_of(message.sender);
            let marks = marks
                .iter()
                .find(|(user, _)| *user == receiver)
                .map_or_else(Marks::default, |(_, marks)| *marks);
            item(row.seq(), message, receiver, marks)
        })
        .collect())
}

fn item(
    seq: u64,
    message: natter_protocol::message::Message,
    receiver: UserId,
    marks: Marks,
) -> Item {
    let is_received = seq <= marks.received_seq.unsigned_abs();
    let changed = message.edited_at.unwrap_or(message.created_at);
    Item {
        id: message.id,
        receiver,
        is_received,
        is_seen: seq <= marks.seen_seq.unsigned_abs(),
        updated_at: match is_received {
            true => changed.max(marks.updated_at.into()),
            false => changed,
        },
        message: ItemMessage {
            id: message.id,
            friendship: message.friendship,
            sender: message.sender,
            content: message.content,
            media: message.media,
            created_at: message.created_at,
            client_id: message.client_id,
            reply_to: message.reply_to,
            edited_at: message.edited_at,
            deleted: message.deleted,
            seq,
        },
    }
}
