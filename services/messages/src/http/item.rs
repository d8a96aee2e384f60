//! A message as HTTP clients get it: with its receiver, and whether that one has received and seen
//! it.

use natter_http::BaseUrl;
use natter_protocol::{
    FriendshipId, MessageId, Timestamp, UserId,
    message::{Media, Message},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    Messages,
    channel::Channel,
    error::Error,
    store::{LogRow, MarkSeqs},
};

/// A message, and whether its receiver has received and seen it.
#[derive(Serialize, ToSchema)]
pub struct Item {
    id: MessageId,
    message: ItemMessage,
    receiver: UserId,
    is_received: bool,
    is_seen: bool,
    updated_at: Timestamp,
}

/// A message in its present state.
#[derive(Serialize, ToSchema)]
pub struct ItemMessage {
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

/// The marks of both members of a channel.
pub type MembersMarks = [(UserId, MarkSeqs); 2];

pub async fn marks_of(messages: &Messages, channel: &Channel) -> Result<MembersMarks, Error> {
    let [first, second] = channel.members;
    Ok([
        (first, messages.store.marks(channel.id, first).await?),
        (second, messages.store.marks(channel.id, second).await?),
    ])
}

/// The marks of one of the members.
pub fn marks_for(marks: &MembersMarks, user: UserId) -> MarkSeqs {
    let found = marks.iter().find(|(member, _)| *member == user);
    found.map_or_else(MarkSeqs::default, |(_, marks)| *marks)
}

/// Messages of one channel as items.
pub async fn items(
    messages: &Messages,
    channel: &Channel,
    rows: Vec<LogRow>,
    base: &BaseUrl,
) -> Result<Vec<Item>, Error> {
    let marks = marks_of(messages, channel).await?;
    Ok(items_with(&marks, channel, &rows, base))
}

/// The same, where the marks are known.
pub fn items_with(
    marks: &MembersMarks,
    channel: &Channel,
    rows: &[LogRow],
    base: &BaseUrl,
) -> Vec<Item> {
    rows.iter()
        .map(|row| {
            let message = row.message(channel.id).at(&base.0);
            let receiver = channel.friend_of(message.sender);
            item(row.seq(), message, receiver, marks_for(marks, receiver))
        })
        .collect()
}

fn item(seq: u64, message: Message, receiver: UserId, marks: MarkSeqs) -> Item {
    let is_received = seq <= marks.received_seq.unsigned_abs();
    let changed = message.edited_at.unwrap_or(message.created_at);
    Item {
        id: message.id,
        receiver,
        is_received,
        is_seen: seq <= marks.seen_seq.unsigned_abs(),
        updated_at: if is_received {
            changed.max(marks.updated_at.into())
        } else {
            changed
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
