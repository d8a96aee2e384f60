//! Events on the broker. Each carries `id`, `type`, `time` and `version`; `type` is the last token
//! of its subject.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    FriendshipId, MessageId, SessionId, Timestamp, UserId,
    friendship::{Friendship, UserCard},
    message::{Kind, Message},
    profile::ProfileFields,
};

/// The version of every payload here. It grows when a listener of the previous version could not
/// read a payload of a type that it knows; a new field or a new type is no reason, and another
/// meaning gets another type.
pub const VERSION: u8 = 1;

/// A payload that tells what it is by its `type`.
pub trait Typed {
    /// The values of `type` that this version knows.
    const TYPES: &[&str];
}

/// Why a payload cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// Of a later version: to be passed over.
    #[error("the type {name:?} of version {version} is not known to this version")]
    Unknown { name: String, version: u64 },
    /// Of this version, and broken.
    #[error(transparent)]
    Malformed(serde_json::Error),
}

/// Reads a payload. One of a later version is read as long as it has what this version needs.
pub fn read<T: DeserializeOwned + Typed>(payload: &[u8]) -> Result<T, Unread> {
    #[derive(Deserialize)]
    struct Envelope {
        #[serde(rename = "type")]
        name: String,
        version: u64,
    }
    let malformed = match serde_json::from_slice(payload) {
        Ok(event) => return Ok(event),
        Err(error) => error,
    };
    match serde_json::from_slice(payload) {
        Ok(Envelope { name, version })
            if version > VERSION.into() || !T::TYPES.contains(&name.as_str()) =>
        {
            Err(Unread::Unknown { name, version })
        }
        _ => Err(Unread::Malformed(malformed)),
    }
}

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

impl<T: Typed> Typed for Event<T> {
    const TYPES: &[&str] = T::TYPES;
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

impl Typed for UserEvent {
    const TYPES: &[&str] = &[
        "registered",
        "profile_changed",
        "session_revoked",
        "deleted",
    ];
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
    #[serde(flatten)]
    pub fields: ProfileFields,
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
    /// The channel no longer accepts messages.
    Closed(FriendshipState),
    /// A side changed its status and the channel stayed as it was.
    Changed(FriendshipState),
}

impl Typed for FriendshipEvent {
    const TYPES: &[&str] = &["requested", "opened", "closed", "changed"];
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

impl Typed for LogEvent {
    const TYPES: &[&str] = &["log"];
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

impl Typed for MarkEvent {
    const TYPES: &[&str] = &["mark"];
}

/// `presence.user.<user>`: a gateway has connections of a user, or has none any more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename = "presence")]
pub struct PresenceEvent {
    pub user: UserId,
    pub online: bool,
    pub last_seen: Timestamp,
    /// The gateway that publishes. A user may be connected to several gateways; each tells of its own
    /// connections only.
    pub gateway: Uuid,
    /// Users whose presence this gateway asks for: every gateway with a connection of such a user
    /// publishes that user's presence.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub asks: Vec<UserId>,
}

impl Typed for PresenceEvent {
    const TYPES: &[&str] = &["presence"];
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

impl Typed for UserNotice {
    const TYPES: &[&str] = &["friendship_update", "session_ended"];
}

/// A value of the bucket `revoked_sessions`, under the session's id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RevokedSession {
    pub user: UserId,
    pub revoked_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const USER: &str = "0199f6b8-0000-7000-8000-000000000001";

    fn deleted() -> Value {
        json!({
            "id": USER, "time": "2026-11-27T12:00:00.000000Z", "version": 1, "type": "deleted",
            "user": USER,
        })
    }

    fn read_with(change: impl FnOnce(&mut Value)) -> Result<Event<UserEvent>, Unread> {
        let mut event = deleted();
        change(&mut event);
        read(event.to_string().as_bytes())
    }

    #[test]
    fn what_a_later_version_adds_is_read_or_passed_over() {
        assert!(read_with(|_| {}).is_ok());
        assert!(read_with(|event| event["reason"] = json!("asked")).is_ok());
        assert!(read_with(|event| event["version"] = json!(2)).is_ok());
        let unknown = [
            read_with(|event| event["type"] = json!("renamed")),
            read_with(|event| {
                event["version"] = json!(300);
                event["user"] = json!({"id": USER});
            }),
        ];
        for unknown in unknown {
            assert!(
                matches!(unknown, Err(Unread::Unknown { .. })),
                "{unknown:?}"
            );
        }
        let broken = [
            read_with(|event| event["user"] = json!({"id": USER})),
            read_with(|event| event["type"] = json!(1)),
            read(b"{"),
        ];
        for broken in broken {
            assert!(matches!(broken, Err(Unread::Malformed(_))), "{broken:?}");
        }
    }

    #[test]
    fn an_entry_of_a_later_kind_keeps_its_place() {
        let kind: Kind = serde_json::from_value(json!("pinned")).expect("it is read");
        assert_eq!(kind, Kind::Unknown);
    }
}
