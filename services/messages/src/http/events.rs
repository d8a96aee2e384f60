//! `GET /api/messages/status/friendship/<id>/events/`: the log, for clients that catch up.

use axum::{
    Json,
    extract::{Path, State},
};
use natter_auth::Caller;
use natter_protocol::{FriendshipId, frame::ServerFrame};
use natter_service::{BaseUrl, Params};
use serde::Serialize;

use crate::{Messages, error::Error};

const DEFAULT_LIMIT: u64 = 100;
const MAX_LIMIT: u64 = 500;

#[derive(Serialize)]
pub struct Events {
    results: Vec<ServerFrame>,
    newest: u64,
}

pub async fn events(
    State(messages): State<Messages>,
    caller: Caller,
    base: BaseUrl,
    Path(friendship): Path<String>,
    params: Params,
) -> Result<Json<Events>, Error> {
    let id: FriendshipId = friendship.parse().map_err(|_| Error::FriendshipNotFound)?;
    let after_seq = number(params.get("after_seq"), 0)?;
    let limit = number(params.get("limit"), DEFAULT_LIMIT)?.min(MAX_LIMIT);
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
            .map(|event| ServerFrame::of(event, &base.0))
            .collect(),
        newest,
    }))
}

fn number(text: Option<&str>, default: u64) -> Result<u64, Error> {
    let Some(text) = text else { return Ok(default) };
    match !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // One too long for the machine is past any end.
        true => Ok(text.parse().unwrap_or(u64::MAX)),
        false => Err(Error::InvalidQuery),
    }
}
