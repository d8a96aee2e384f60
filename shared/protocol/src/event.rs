//! Events on the broker. Each carries `id`, `type`, `time` and `version`; `type` is the last token
//! of its subject.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    FriendshipId, MessageId, SessionId, Timestamp, UserId,
    friendship::{Friendship, UserCard},
    message::{Kind, Message},
};

/// The version of every payload here.
pub const VERSION: u8 = 1;

/// An event and what every event carries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event<T> {
    /// Also its `Nats-Msg-Id`: a repeat is the same event.
    pub id: Uuid,
    pub time: Timestamp,
    pub version: u8,
    #[serde(flatten)]
    pub body: T,
}

impl<T> Event<T> {
    pub fn new(body: T) -> Self {
        Self {
            id: Uuid::now_v7(),
            time: Timestamp::now(),
            version: VERSION,
            body,
        }
    }
}

/// `events.users.<user>.<type>`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum UserEvent {
    Registered {
        user: UserProfile,
    },
    ProfileChanged {
        user: UserProfile,
    },
    SessionRevoked {
        user: UserId,
        sid: SessionId,
    },
    /// Friendships close; messages stay for the friend.
    Deleted {
        user: UserId,
    },
}

impl UserEvent {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Registered { .. } => "registered",
            Self::ProfileChanged { .. } => "profile_changed",
            Self::SessionRevoked { .. } => "session_revoked",
            Self::Deleted { .. } => "deleted",
        }
    }
}

/// A user as other services see them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UserProfile {
    pub id: UserId,
    pub username: String,
    pub first_name: String,
    pub last_name: String,
    /// The path below the public URL.
    pub personal_image: Option<String>,
}

/// `events.friendships.<id>.<type>`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FriendshipEvent {
    /// Somebody asked.
    Requested(FriendshipState),
    /// Its channel takes messages from now on.
    Opened(FriendshipState),
    /// Its channel takes none any more.
    Closed(FriendshipState),
    /// A side changed its status and the channel stayed as it was.
    Changed(FriendshipState),
}

impl FriendshipEvent {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Requested(_) => "requested",
            Self::Opened(_) => "opened",
            Self::Closed(_) => "closed",
            Self::Changed(_) => "changed",
        }
    }

    pub fn state(&self) -> &FriendshipState {
        match self {
            Self::Requested(state)
            | Self::Opened(state)
            | Self::Closed(state)
            | Self::Changed(state) => state,
        }
    }
}

/// A friendship at one of its revisions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FriendshipState {
    pub friendship: Friendship,
    /// 1, 2, 3, … with each change: a listener keeps the highest.
    pub revision: i32,
}

/// `chat.friendship.<id>.log`: one entry of a channel's log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LogEvent {
    /// Of the entry; for a `message` also the message's.
    pub id: MessageId,
    #[serde(rename = "type")]
    pub tag: LogTag,
    pub time: Timestamp,
    pub version: u8,
    pub channel: FriendshipId,
    /// 1, 2, 3, … without a gap.
    pub seq: u64,
    pub kind: Kind,
    /// As it is from this entry on.
    pub message: Message,
    pub members: [UserId; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogTag {
    Log,
}

/// `chat.friendship.<id>.mark`: how far a user has received and seen. Marks only move forward.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename = "mark")]
pub struct MarkEvent {
    pub channel: FriendshipId,
    pub user: UserId,
    /// 0: nothing yet.
    pub received_seq: u64,
    pub seen_seq: u64,
    /// The newest message the moved mark holds for.
    pub message: MessageId,
}

/// `chat.friendship.<id>.typing`: somebody writes, or stopped. Never stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename = "typing")]
pub struct TypingEvent {
    pub channel: FriendshipId,
    pub user: UserId,
    pub active: bool,
}

/// `presence.user.<user>`: a gateway has connections of a user, or has none any more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename = "presence")]
pub struct PresenceEvent {
    pub user: UserId,
    pub online: bool,
    pub last_seen: Timestamp,
    /// A user may be connected to several: each speaks for itself.
    pub gateway: Uuid,
    /// Users that the gateway wants to know of: whoever holds one of them says so.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub asks: Vec<UserId>,
}

/// `notify.user.<user>`: what acts on that user's live connections.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum UserNotice {
    FriendshipUpdate {
        friendship: Box<Friendship<UserCard>>,
    },
    SessionEnded {
        sid: SessionId,
    },
}

/// A value of the bucket `revoked_sessions`, under the session's id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RevokedSession {
    pub user: UserId,
    pub revoked_at: Timestamp,
}
