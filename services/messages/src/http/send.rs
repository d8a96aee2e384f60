//! `POST /api/messages/status/friendship/<id>/messages/`: sending without a WebSocket.

use axum::{Json, extract::State, http::StatusCode};
use natter_auth::Caller;
use natter_http::{BaseUrl, FieldsAndFiles, PathId};
use natter_protocol::{
    FriendshipId, MessageId,
    call::{Refusal, SendMedia, SendReply, SendRequest, SendWhat},
    frame::{MediaItem, media_items},
    message::{MAX_MEDIA, check_client_id, check_payload},
};
use serde::Deserialize;
use utoipa::{
    ToSchema,
    openapi::{ObjectBuilder, Ref, Schema, Type, schema::AnyOfBuilder},
};

use super::item::{Item, items};
use crate::{Messages, error::Error, files::store};

/// A message to send.
#[derive(Deserialize, ToSchema)]
pub struct NewMessage {
    /// 1 to 8,192 bytes of UTF-8; may be empty when there is media.
    #[schema(max_length = 8192)]
    payload: Option<String>,
    /// Unique per sender and channel: a repeat is answered with what was stored the first time.
    #[schema(min_length = 1, max_length = 64)]
    client_id: Option<String>,
    /// Each either `{"<filename>": "<base64>"}` or `{"id": "<media id>"}`.
    #[serde(default, deserialize_with = "media_items")]
    #[schema(value_type = Option<Vec<HashMap<String, String>>>, max_items = 10)]
    media: Vec<MediaItem>,
    #[schema(value_type = Option<MessageId>)]
    reply_to: Option<String>,
}

/// A message with files. A file is sent in a field of any name except `payload`, `client_id` and
/// `reply_to`. A text field that is empty counts as not sent.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "NewMessage and its files, whose fields have any names"
)]
pub struct NewMessageForm {
    #[schema(max_length = 8192)]
    payload: Option<String>,
    #[schema(max_length = 64)]
    client_id: Option<String>,
    #[schema(schema_with = id_or_empty)]
    reply_to: Option<String>,
    #[schema(schema_with = natter_http::file)]
    file: Option<Vec<u8>>,
}

fn id_or_empty() -> Schema {
    let empty = ObjectBuilder::new()
        .schema_type(Type::String)
        .max_length(Some(0));
    let id = Ref::from_schema_name(MessageId::name());
    let either = AnyOfBuilder::new().item(id).item(empty);
    either.build().into()
}

/// Send a message
///
/// The same as the WebSocket's `friendship` frame.
#[utoipa::path(
    post,
    path = "/api/messages/status/friendship/{friendship_id}/messages/",
    operation_id = "send_message",
    security(("bearer" = [])),
    params(("friendship_id" = FriendshipId, Path, description = "The channel")),
    request_body(content((NewMessage = "application/json"), (NewMessageForm = "multipart/form-data"))),
    responses(
        (status = 201, description = "It is stored", body = Item),
        (status = 200, description = "A message with this `client_id` was stored before: that message", body = Item),
    )
)]
pub async fn send(
    State(messages): State<Messages>,
    caller: Caller,
    base: BaseUrl,
    PathId(friendship): PathId<FriendshipId>,
    FieldsAndFiles { fields, files }: FieldsAndFiles,
) -> Result<(StatusCode, Json<Item>), Error> {
    let id = friendship.ok_or(Error::FriendshipNotFound)?;
    // Before anything is stored for somebody who may not send here.
    messages.channels.of_member(id, caller.user).await?;
    let invalid = |error: &dyn std::fmt::Display| Error::InvalidMessage(error.to_string());
    let sent: NewMessage = fields.read()?;
    let named = sent.media;
    for item in &named {
        item.check().map_err(|error| invalid(&error))?;
    }
    let count = files.len() + named.len();
    if count > MAX_MEDIA {
        return Err(Error::InvalidMessage(format!(
            "A message has at most {MAX_MEDIA} files."
        )));
    }
    check_client_id(sent.client_id.as_deref()).map_err(|error| invalid(&error))?;
    let payload = sent.payload.unwrap_or_default();
    check_payload(&payload, count > 0).map_err(|error| invalid(&error))?;
    let reply_to = sent.reply_to.map(|id| id.parse()).transpose();
    let reply_to = reply_to
        .map_err(|_| Error::InvalidMessage("reply_to must be a message's id.".to_owned()))?;
    let mut media = natter_media::add_all(&messages.media, named).await?;
    for (_, file) in files {
        let (id, new) = store(&messages.media, file).await?;
        media.push(SendMedia { id, new: Some(new) });
    }
    let send = SendRequest {
        sender: caller.user,
        client_id: sent.client_id,
        // No gateway has checked that the channel is open: the friendships service is asked.
        doubted: true,
        what: SendWhat::Message {
            payload,
            media: media.clone(),
            reply_to,
        },
    };
    let reply = messages.committer.store(id, send).await;
    natter_media::settle(&messages.media, &media, &reply).await;
    let stored = match reply {
        SendReply::Ack(stored) => stored,
        // Strangers are told no more than that there is nothing for them.
        SendReply::Refused(Refusal::NotAMember) => return Err(Error::FriendshipNotFound),
        SendReply::Refused(refusal) => return Err(Error::Refused(refusal)),
    };
    let channel = messages.channels.of_member(id, caller.user).await?;
    let rows = messages.store.messages(id, stored.seq, stored.seq).await?;
    let item = items(&messages, &channel, rows, &base).await?.pop();
    let status = if stored.duplicate {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    Ok((status, Json(item.ok_or(Error::Busy)?)))
}
