//! What the gateway sends.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    FriendshipId, MessageId, Timestamp, UserId,
    call::{ChannelMarks, Refusal},
    event::LogEvent,
    friendship::{Friendship, UserCard},
    message::{Kind, Message},
};

/// A frame from the gateway to a client. Ephemeral events are frames of their own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerFrame {
    /// The connection is open: the newest `seq` of each open channel.
    Ready {
        user: UserId,
        heartbeat_seconds: u64,
        /// Changes when the logs may have been set to an earlier state (by a restore, a failover or
        /// a switchover of the database): under another epoch the same `seq` may be another entry.
        /// Store it with your messages and send it in `resume`. When it changes, keep the old value
        /// until you have fetched your messages again. Absent while no replica of the messages
        /// service can supply it.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        epoch: Option<String>,
        channels: HashMap<FriendshipId, u64>,
    },
    /// Everything that was missed has been sent; live frames follow.
    Resumed {
        channels: HashMap<FriendshipId, u64>,
        /// How far both members have received and seen each open channel. Channels whose marks cannot
        /// be read at the moment have no entry.
        marks: HashMap<FriendshipId, ChannelMarks>,
    },
    /// The named channels cannot be replayed here: the client is too far behind, or it named an
    /// `epoch` other than that of `ready`, or a `seq` after the end of the log. Fetch their events
    /// over HTTP: in the last two cases from the beginning, because messages that you hold may no
    /// longer exist.
    Resync {
        channels: HashMap<FriendshipId, u64>,
    },
    /// Renewed tokens, to be used from now on.
    Token {
        access: String,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        refresh: Option<String>,
    },
    /// A message was sent in a channel.
    FriendshipMessage {
        channel: FriendshipId,
        seq: u64,
        message: Message,
    },
    /// A message was edited: as it reads now.
    FriendshipMessageEdited {
        channel: FriendshipId,
        seq: u64,
        message: Message,
    },
    /// A message was deleted: without its content.
    FriendshipMessageDeleted {
        channel: FriendshipId,
        seq: u64,
        message: Message,
    },
    /// What was sent is stored.
    Ack {
        client_id: Option<String>,
        channel: FriendshipId,
        message: MessageId,
        seq: u64,
        created_at: Timestamp,
        duplicate: bool,
    },
    /// How far a member of a channel has received and seen.
    ChatFriendshipNotification(Marks),
    /// A friendship as it is now.
    FriendshipUpdate { friendship: Friendship<UserCard> },
    /// A friend came online or went offline.
    Presence {
        user: UserId,
        online: bool,
        last_seen: Option<Timestamp>,
    },
    /// The access token expires in `seconds` seconds: send `auth` with a new one.
    TokenExpiring { seconds: u64 },
    /// This gateway stops: connect again after `reconnect_after_ms` milliseconds.
    Goaway { reconnect_after_ms: u64 },
    /// The answer to `ping`.
    Pong,
    /// A frame was refused.
    Error(ServerError),
}

impl ServerFrame {
    /// A log entry's frame as clients get it: files below `base_url`. An entry of an unknown kind
    /// has none.
    pub fn of(mut event: LogEvent, base_url: &str) -> Option<Self> {
        event.message = event.message.at(base_url);
        Self::of_kind(event)
    }

    /// The frame of a log entry's kind.
    fn of_kind(event: LogEvent) -> Option<Self> {
        let LogEvent {
            channel,
            seq,
            kind,
            message,
            ..
        } = event;
        Some(match kind {
            Kind::Message => Self::FriendshipMessage {
                channel,
                seq,
                message,
            },
            Kind::Edited => Self::FriendshipMessageEdited {
                channel,
                seq,
                message,
            },
            Kind::Deleted => Self::FriendshipMessageDeleted {
                channel,
                seq,
                message,
            },
            Kind::Unknown => return None,
        })
    }
}

/// `chat_friendship_notification`: how far `user` has received and seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Marks {
    pub channel: FriendshipId,
    pub user: UserId,
    pub message: MessageId,
    pub is_received: bool,
    pub is_seen: bool,
    pub received_seq: u64,
    pub seen_seq: u64,
}

/// `error`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ServerError {
    pub code: ErrorCode,
    pub detail: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub answers: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub client_id: Option<String>,
    /// Of `rate_limited`: milliseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_after_ms: Option<u64>,
}

/// Why a frame was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The frame is not JSON.
    InvalidJson,
    /// A field is missing, of another type, or beyond a limit.
    InvalidFrame,
    /// The frame's `type` is not known.
    UnknownType,
    /// Binary frames are not supported.
    Unsupported,
    /// The user is in no such channel; also where it does not exist.
    NotAMember,
    /// The channel accepts no messages: a side has not accepted the friendship, or has rejected it.
    ChannelClosed,
    /// The channel has no such message.
    MessageNotFound,
    /// Only its sender edits or deletes a message.
    NotYours,
    /// The `client_id` was used for something else.
    ClientIdReused,
    /// The payload is too long.
    TooLarge,
    /// Too many frames: wait for `retry_after_ms`.
    RateLimited,
    /// Nothing was stored as far as the server knows: send again with the same `client_id`.
    Unavailable,
}

impl From<Refusal> for ErrorCode {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotAMember => Self::NotAMember,
            Refusal::ChannelClosed => Self::ChannelClosed,
            Refusal::MessageNotFound => Self::MessageNotFound,
            Refusal::MediaNotFound | Refusal::EmptyMessage => Self::InvalidFrame,
            Refusal::NotYours => Self::NotYours,
            Refusal::ClientIdReused => Self::ClientIdReused,
            Refusal::Unavailable | Refusal::Unknown => Self::Unavailable,
        }
    }
}
