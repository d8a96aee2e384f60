//! A message as everyone who may read it gets it.

use serde::{Deserialize, Serialize};

use crate::{FriendshipId, MediaId, MessageId, Timestamp, UserId};

/// The longest text of a message, in bytes of UTF-8.
pub const MAX_PAYLOAD_BYTES: usize = 8_192;
/// The most files in one message.
pub const MAX_MEDIA: usize = 10;
/// The longest `client_id`, in characters.
pub const MAX_CLIENT_ID_CHARS: usize = 64;

/// A message in its present state; in an `edited` or `deleted` entry, its state from then on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    pub id: MessageId,
    pub friendship: FriendshipId,
    pub sender: UserId,
    /// Empty once deleted.
    pub content: String,
    /// Empty once deleted.
    pub media: Vec<Media>,
    pub created_at: Timestamp,
    pub client_id: Option<String>,
    pub reply_to: Option<MessageId>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub edited_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub deleted: bool,
}

/// A file that belongs to a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Media {
    pub id: MediaId,
    pub filename: String,
    pub content_type: String,
    /// Bytes.
    pub size: u64,
    /// Where clients fetch it: absent on the broker, the absolute URL to clients.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub file: Option<String>,
}

/// What an entry of the channel's log did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Message,
    Edited,
    Deleted,
}
