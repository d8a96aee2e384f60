//! `GET /api/messages/status/friendship/<id>/events/`: the log, for clients that catch up.

use axum::{Json, extract::State};
use natter_auth::Caller;
use natter_http::{BaseUrl, Number, Params, PathId, from_one, from_zero};
use natter_protocol::{FriendshipId, frame::ServerFrame};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{Messages, error::Error};

const DEFAULT_LIMIT: u64 = 100;
const MAX_LIMIT: u64 = 500;

/// A part of a channel's log.
#[derive(Serialize, ToSchema)]
pub struct Events {
    /// By `seq`, as the WebSocket frames of their kind.
    results: Vec<ServerFrame>,
    /// The newest `seq` of the channel.
    newest: u64,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Range {
    /// Only what comes after this `seq`.
    #[param(schema_with = from_zero)]
    after_seq: Option<Number>,
    /// How many at most, 100 by default; more than 500 is taken as 500.
    #[param(schema_with = from_one)]
    limit: Option<Number>,
}

/// Catch up with a channel
///
/// Its log of messages, edits and deletions.
#[utoipa::path(
    get,
    path = "/api/messages/status/friendship/{friendship_id}/events/",
    operation_id = "list_events",
    security(("bearer" = [])),
    params(("friendship_id" = FriendshipId, Path, description = "The channel"), Range),
    responses((status = 200, description = "The next events, oldest first", body = Events))
)]
pub async fn events(
    State(messages): State<Messages>,
    caller: Caller,
    base: BaseUrl,
    PathId(friendship): PathId<FriendshipId>,
    params: Params,
) -> Result<Json<Events>, Error> {
    let id = friendship.ok_or(Error::FriendshipNotFound)?;
    let sent: Range = params.read()?;
    let Number(after_seq) = sent.after_seq.unwrap_or(Number(0));
    let Number(limit) = sent.limit.unwrap_or(Number(DEFAULT_LIMIT));
    let limit = limit.min(MAX_LIMIT);
    if limit == 0 {
        return Err(Error::InvalidQuery);
    }
    let channel = messages.channels.of_member(id, caller.user).await?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let events = messages.store.after(&channel, after_seq, limit).await?;
    // The log may have grown since the channel was read.
    let newest = events
        .last()
        .map_or(channel.last_seq, |event| event.seq.max(channel.last_seq));
    Ok(Json(Events {
        results: events
            .into_iter()
            .filter_map(|event| ServerFrame::of(event, &base.0))
            .collect(),
        newest,
    }))
}
