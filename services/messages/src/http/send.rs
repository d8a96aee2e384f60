//! `POST /api/messages/status/friendship/<id>/messages/`: sending without a WebSocket.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use natter_auth::Caller;
use natter_protocol::{
    FriendshipId, MessageId,
    call::{Refusal, Send, SendReply, SendWhat},
    message::{check_client_id, check_payload},
};
use natter_service::{Fields, Value};

use super::item::{Item, items};
use crate::{Messages, error::Error};

pub async fn send(
    State(messages): State<Messages>,
    caller: Caller,
    Path(friendship): Path<String>,
    fields: Fields,
) -> Result<(StatusCode, Json<Item>), Error> {
    let id: FriendshipId = friendship.parse().map_err(|_| Error::FriendshipNotFound)?;
    let send = Send {
        sender: caller.user,
        client_id: text(&fields, "client_id")?.map(str::to_owned),
        // It is known to no gateway: the friendship service has the last word.
        doubted: true,
        what: SendWhat::Message {
            payload: text(&fields, "payload")?.unwrap_or_default().to_owned(),
            reply_to: reply_to(&fields)?,
        },
    };
    check_client_id(send.client_id.as_deref())
        .map_err(|error| Error::Invalid(error.to_string()))?;
    if let SendWhat::Message { payload, .. } = &send.what {
        check_payload(payload, false).map_err(|error| Error::Invalid(error.to_string()))?;
    }
    let stored = match messages.committer.store(id, send).await {
        SendReply::Ack(stored) => stored,
        // Strangers are told no more than that there is nothing for them.
        SendReply::Refused(Refusal::NotAMember) => return Err(Error::FriendshipNotFound),
        SendReply::Refused(refusal) => return Err(Error::Refused(refusal)),
    };
    let channel = messages.channels.of_member(id, caller.user).await?;
    let rows = messages.store.messages(id, stored.seq, stored.seq).await?;
    let item = items(&messages, &channel, rows)
        .await?
        .pop()
        .ok_or(Error::Busy)?;
    let status = match stored.duplicate {
        true => StatusCode::OK,
        false => StatusCode::CREATED,
    };
    Ok((status, Json(item)))
}

fn text<'a>(fields: &'a Fields, name: &str) -> Result<Option<&'a str>, Error> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Text(text)) => Ok(Some(text)),
        Some(_) => Err(Error::Invalid(format!("{name} must be a text."))),
    }
}

fn reply_to(fields: &Fields) -> Result<Option<MessageId>, Error> {
    let id = text(fields, "reply_to")?.map(str::parse);
    id.transpose()
        .map_err(|_| Error::Invalid("reply_to must be a message's id.".to_owned()))
}
