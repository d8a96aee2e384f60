//! `POST /api/messages/status/friendship/<id>/messages/`: sending without a WebSocket.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use natter_auth::Caller;
use natter_protocol::{
    FriendshipId, MessageId,
    call::{Refusal, Send, SendMedia, SendReply, SendWhat},
    frame::MediaItem,
    message::{MAX_MEDIA, check_client_id, check_payload},
};
use natter_service::{BaseUrl, Fields, Value};

use super::item::{Item, items};
use crate::{Messages, error::Error, files};

pub async fn send(
    State(messages): State<Messages>,
    caller: Caller,
    base: BaseUrl,
    Path(friendship): Path<String>,
    mut fields: Fields,
) -> Result<(StatusCode, Json<Item>), Error> {
    let id: FriendshipId = friendship.parse().map_err(|_| Error::FriendshipNotFound)?;
    // Before anything is stored for somebody who may not send here.
    messages.channels.of_member(id, caller.user).await?;
    let invalid = |error: &dyn std::fmt::Display| Error::Invalid(error.to_string());
    let uploads = fields.take_files();
    let named = named_media(&fields)?;
    let count = uploads.len() + named.len();
    if count > MAX_MEDIA {
        return Err(Error::Invalid(format!(
            "A message has at most {MAX_MEDIA} files."
        )));
    }
    let client_id = text(&fields, "client_id")?.map(str::to_owned);
    check_client_id(client_id.as_deref()).map_err(|error| invalid(&error))?;
    let payload = text(&fields, "payload")?.unwrap_or_default().to_owned();
    check_payload(&payload, count > 0).map_err(|error| invalid(&error))?;
    let reply_to = reply_to(&fields)?;
    let mut media = natter_media::add_all(&messages.media, named).await?;
    for upload in uploads {
        let (id, new) = files::store(&messages.media, upload.filename, upload.bytes).await?;
        media.push(SendMedia { id, new: Some(new) });
    }
    let send = Send {
        sender: caller.user,
        client_id,
        // It is known to no gateway: the friendship service has the last word.
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
    let status = match stored.duplicate {
        true => StatusCode::OK,
        false => StatusCode::CREATED,
    };
    Ok((status, Json(item.ok_or(Error::Busy)?)))
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

/// `media` as in the frame.
fn named_media(fields: &Fields) -> Result<Vec<MediaItem>, Error> {
    match fields.get("media") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Json(items)) => {
            let items: Vec<MediaItem> = serde_json::from_value(items.clone())
                .map_err(|error| Error::Invalid(format!("media is not as documented: {error}.")))?;
            for item in &items {
                item.check()
                    .map_err(|error| Error::Invalid(error.to_string()))?;
            }
            Ok(items)
        }
        Some(_) => Err(Error::Invalid("media must be a list.".to_owned())),
    }
}
