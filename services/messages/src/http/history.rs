//! `GET /api/messages/status/friendship/<id>/messages/`

use axum::{Json, extract::State, http::Method};
use natter_auth::Caller;
use natter_protocol::{
    FriendshipId, MessageId, UserId,
    call::{Mark, MarkReply},
};
use natter_service::{BaseUrl, Page, PageParams, Paged, Params, PathId, from_zero};
use utoipa::IntoParams;

use super::item::{Item, items};
use crate::{
    Messages,
    channel::Channel,
    error::Error,
    history::{Filter, Order},
    store::LogRow,
};

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "documents what Params reads")]
pub struct Filters {
    /// From the start on, oldest first (which is also the order without a flag).
    after: Option<bool>,
    /// Up to the start, newest first. Not together with `after`.
    before: Option<bool>,
    /// The start, inclusive: RFC 3339, or a date, which is its midnight in UTC. Needs a flag.
    #[param(format = "date-time")]
    start_date: Option<String>,
    /// The start, inclusive: a message of this channel. Needs a flag.
    message_id: Option<MessageId>,
    /// The same.
    start_message_id: Option<MessageId>,
    /// In place of a flag and a start, oldest first: only what comes after this `seq`.
    #[param(schema_with = from_zero)]
    after_seq: Option<u64>,
    /// In place of a flag and a start, newest first: only what comes before this `seq`.
    #[param(schema_with = from_zero)]
    before_seq: Option<u64>,
}

/// Read a channel's history
///
/// A page costs the same however deep it lies. Reading marks the other side's listed messages as
/// received. At most one start may be named.
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
    let filter = Filter::parse(&params)?;
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
    // Of the answer to HEAD nobody reads anything.
    if method == Method::GET {
        mark_received(&messages, &channel, caller.user, &rows).await;
    }
    if filter.order == Order::NewestFirst {
        rows.reverse();
    }
    let items = items(&messages, &channel, rows, &base).await?;
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
        // It has just been read from the log.
        delivered: true,
    };
    if let MarkReply::Refused(refusal) = messages.marker.mark(channel.id, mark).await {
        tracing::warn!(%refusal, "reading was not marked");
    }
}
