//! `GET /api/messages/status/friendship/<id>/messages/`

use axum::{Json, extract::State, http::Method};
use natter_auth::Caller;
use natter_http::{BaseUrl, Page, PageParams, Paged, Params, PathId};
use natter_protocol::{
    FriendshipId, UserId,
    call::{Mark, MarkReply},
};

use super::item::{Item, items};
use crate::{
    Messages,
    channel::Channel,
    error::Error,
    history::{Filter, Filters, Order},
    store::LogRow,
};

/// Read a channel's history
///
/// A page costs the same however deep it lies. Reading a page marks the
/// friend's messages as received, up to the newest one on the page. At most one start may be given.
#[utoipa::path(
    get,
    path = "/api/messages/status/friendship/{friendship_id}/messages/",
    operation_id = "list_messages",
    security(("bearer" = [])),
    params(("friendship_id" = FriendshipId, Path, description = "The channel"), Filters, PageParams),
    responses((status = 200, description = "A page of messages in their present state", body = Paged<Item>))
)]
pub async fn history(
    State(messages): State<Messages>,
    caller: Caller,
    base: BaseUrl,
    PathId(friendship): PathId<FriendshipId>,
    method: Method,
    params: Params,
    page: Page,
) -> Result<Json<Paged<Item>>, Error> {
    let id = friendship.ok_or(Error::FriendshipNotFound)?;
    let channel = messages.channels.of_member(id, caller.user).await?;
    let filter = Filter::of(params.read()?)?;
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
    // HEAD returns no messages, so it marks none as received.
    if method == Method::GET {
        mark_received(&messages, &channel, caller.user, &rows).await;
    }
    if filter.order == Order::NewestFirst {
        rows.reverse();
    }
    let items = items(&messages, &channel, rows, &base).await?;
    Ok(Json(page.of(count, items)))
}

/// Reading is receiving: the other side's listed messages have reached the caller. If the mark
/// cannot be moved now, the history is answered all the same.
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
        // It has just been read from the log.
        delivered: true,
    };
    if let MarkReply::Refused(refusal) = messages.marker.mark(channel.id, mark).await {
        tracing::warn!(%refusal, "reading was not marked");
    }
}
