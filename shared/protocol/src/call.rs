//! Requests between services and their replies.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    FriendshipId, MediaId, MessageId, SessionId, Timestamp, UserId,
    event::{FriendshipState, LogEvent},
    friendship::{Friendship, UserCard},
    message::Media,
};

/// A call `rpc.<service>.<method>`: which request goes where and what comes back.
pub trait Call: Serialize + for<'de> Deserialize<'de> {
    const SERVICE: &'static str;
    const METHOD: &'static str;
    /// Whether two replicas may be asked the same without harm.
    const IS_REPEATABLE: bool = true;
    type Reply: Serialize + for<'de> Deserialize<'de>;
}

macro_rules! call {
    ($request:ty, $service:literal, $method:literal, $reply:ty) => {
        impl Call for $request {
            const SERVICE: &'static str = $service;
            const METHOD: &'static str = $method;
            type Reply = $reply;
        }
    };
}

/// `rpc.users.get_many`: the cards of those that exist, in no order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GetUsers {
    /// At most 300.
    pub users: Vec<UserId>,
}

/// How many users one `rpc.users.get_many` may name: a card is below 2 KiB, and the reply must be
/// below 1 MiB, the broker's limit.
pub const MAX_USERS: usize = 300;

call!(GetUsers, "users", "get_many", Vec<UserCard>);

/// `rpc.users.refresh`: a new token pair for the session `sid`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RefreshSession {
    pub sid: SessionId,
    pub refresh: String,
}

impl Call for RefreshSession {
    const SERVICE: &'static str = "users";
    const METHOD: &'static str = "refresh";
    // The second use of a refresh token ends its session.
    const IS_REPEATABLE: bool = false;
    type Reply = Option<TokenPair>;
}

/// How long an access token lives where no setting says otherwise, in seconds.
pub const ACCESS_SECONDS: u64 = 15 * 60;
/// The longest that a setting may let an access token live: every verifier remembers a revoked
/// session for so long.
pub const MAX_ACCESS_SECONDS: u64 = 24 * 3600;

/// The tokens of a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TokenPair {
    pub access: String,
    /// Absent when refresh tokens are not rotated.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub refresh: Option<String>,
}

/// `rpc.users.jwks`: the public keys, as a JSON Web Key Set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GetJwks {}
call!(GetJwks, "users", "jwks", serde_json::Value);

/// `rpc.gateway.connections`: how far the connections of some users are with an entry of a channel's
/// log. Every gateway answers for its own: there is no queue group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GetConnections {
    pub channel: FriendshipId,
    pub seq: u64,
    pub users: Vec<UserId>,
}
call!(GetConnections, "gateway", "connections", GatewayConnections);

/// The answer of one gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GatewayConnections {
    /// Its address as the broker sees it, and the id of its process.
    pub gateway: String,
    pub connections: Vec<ChannelConnection>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChannelConnection {
    pub user: UserId,
    pub opened_at: Timestamp,
    pub state: Delivered,
}

/// How far an entry has come on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Delivered {
    /// Taken from the queue to be written; or, if the connection was opened after the entry was
    /// delivered here, left to the client's `resume`.
    Written,
    /// The entry waits in the connection's queue: the client has not taken what is before it.
    Queued,
    /// The entry has not come to the gateway.
    NotCome,
    /// The client has not sent `resume` yet.
    NotResumed,
    /// The connection is not in the channel.
    NotJoined,
}

/// `rpc.friendships.list_open`: the open channels of a user in the order of their ids, those after
/// `after`, and with whom; where `closed` says so also the closed ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ListOpen {
    pub user: UserId,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub after: Option<FriendshipId>,
    /// At most 5,000. Where it is absent, all channels are returned, as older callers expect.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub limit: Option<usize>,
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub closed: bool,
}
/// How many channels one `rpc.friendships.list_open` with a limit answers: one is below 150 bytes,
/// and the reply must be below 1 MiB, the broker's limit.
pub const MAX_OPEN: usize = 5_000;

call!(ListOpen, "friendships", "list_open", Vec<ListedChannel>);

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ListedChannel {
    pub channel: FriendshipId,
    pub friend: UserId,
    /// Of the friendship. 0 from a replica that is older than the field.
    #[serde(default)]
    pub revision: i32,
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub is_closed: bool,
}

/// `rpc.friendships.get`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GetFriendship {
    pub friendship: FriendshipId,
}
call!(GetFriendship, "friendships", "get", Option<FriendshipState>);

/// `rpc.friendships.list`: the friendships of a user in the order of their ids, those after
/// `after`; at most 500.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ListFriendships {
    pub user: UserId,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub after: Option<FriendshipId>,
}
call!(ListFriendships, "friendships", "list", Vec<Friendship>);

/// How many friendships one `rpc.friendships.list` answers: one is below 512 bytes.
pub const MAX_FRIENDSHIPS: usize = 500;

/// `rpc.messages.heads`: the newest `seq` of each channel; 0 where nothing was sent yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GetHeads {
    /// At most 500.
    pub channels: Vec<FriendshipId>,
}
call!(GetHeads, "messages", "heads", HashMap<FriendshipId, u64>);

/// How many channels one `rpc.messages.heads` may name.
pub const MAX_HEADS: usize = 500;

/// `rpc.messages.after`: the log after `after_seq`, oldest first, at most `limit` entries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GetAfter {
    pub channel: FriendshipId,
    pub after_seq: u64,
    /// At most 100.
    pub limit: u32,
}
call!(GetAfter, "messages", "after", Vec<LogEvent>);

/// How many log entries one `rpc.messages.after` may ask for. It may answer with fewer: a reply
/// stays below the broker's largest message.
pub const MAX_AFTER: u32 = 100;

/// `rpc.messages.marks`: how far a user has received and seen a channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GetMarks {
    pub channel: FriendshipId,
    pub user: UserId,
}
call!(GetMarks, "messages", "marks", HowFar);

/// `rpc.messages.marks_of`: how far a user and the friend have received and seen each channel.
/// Channels without marks are left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ListMarks {
    pub user: UserId,
    /// At most 500.
    pub channels: Vec<FriendshipId>,
}
call!(ListMarks, "messages", "marks_of", HashMap<FriendshipId, ChannelMarks>);

/// `rpc.messages.tell_marks`: publishes again how far the members of some channels are, for whoever
/// may have missed it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TellMarks {
    /// At most 500.
    pub channels: Vec<FriendshipId>,
}
call!(TellMarks, "messages", "tell_marks", ());

/// How far both members of a channel have received and seen it, as told to one of them; 0 means
/// nothing yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChannelMarks {
    pub received_seq: u64,
    pub seen_seq: u64,
    pub friend_received_seq: u64,
    pub friend_seen_seq: u64,
}

/// `rpc.messages.epoch`: an opaque value that changes when the logs may have been set back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GetEpoch {}
call!(GetEpoch, "messages", "epoch", String);

/// The newest `seq` that was received and seen; 0: nothing yet.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HowFar {
    pub received_seq: u64,
    pub seen_seq: u64,
}

/// `rpc.messages.files`: the files that a user has uploaded or sent, in the order of their ids,
/// those after `after`; at most 300.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ListFiles {
    pub owner: UserId,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub after: Option<MediaId>,
}
call!(ListFiles, "messages", "files", Vec<OwnFile>);

/// How many files one `rpc.messages.files` answers: one is below 2 KiB.
pub const MAX_FILES: usize = 300;

/// A file, and the channel that it was sent in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OwnFile {
    #[serde(flatten)]
    pub media: Media,
    pub created_at: Timestamp,
    pub channel: Option<FriendshipId>,
}

/// A request on `send.friendship.<id>`; an array of them is stored in its order, all of one sender,
/// and answered by an array.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SendRequest {
    pub sender: UserId,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub client_id: Option<String>,
    /// The gateway does not believe the channel to be open: the messages service asks the
    /// friendships service before it accepts the send.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub doubted: bool,
    #[serde(flatten)]
    pub what: SendWhat,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SendWhat {
    Message {
        payload: String,
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        media: Vec<SendMedia>,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        reply_to: Option<MessageId>,
    },
    Edit {
        message: MessageId,
        payload: String,
    },
    Delete {
        message: MessageId,
    },
}

/// A file of a message: one that its sender uploaded before, or a new one that is in the media
/// store already.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SendMedia {
    pub id: MediaId,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub new: Option<NewMedia>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NewMedia {
    pub filename: String,
    pub content_type: String,
    /// Bytes.
    pub size: u64,
    /// Of the content, in hexadecimal: tells a repeat from something else.
    pub sha256: String,
}

/// The answer to a [`SendRequest`]: given only once the entry is committed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SendReply {
    Ack(Stored),
    Refused(Refusal),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Stored {
    pub message: MessageId,
    pub seq: u64,
    pub created_at: Timestamp,
    /// It was stored by an earlier send with the same `client_id`.
    pub duplicate: bool,
}

/// One value or several, as JSON: one is written as it is, several as an array. Replicas of the
/// previous version cannot read an array.
#[derive(Clone, Debug, PartialEq)]
pub enum OneOrMore<T> {
    One(T),
    More(Vec<T>),
}

impl<T> OneOrMore<T> {
    /// One value as itself, none or several as an array.
    pub fn of(mut all: Vec<T>) -> Self {
        match all.pop() {
            Some(only) if all.is_empty() => Self::One(only),
            last => {
                all.extend(last);
                Self::More(all)
            }
        }
    }

    pub fn all(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::More(all) => all,
        }
    }

    pub fn as_slice(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::More(all) => all,
        }
    }

    pub fn is_array(&self) -> bool {
        matches!(self, Self::More(_))
    }
}

impl<T: Serialize> OneOrMore<T> {
    pub fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        match self {
            Self::One(one) => serde_json::to_vec(one),
            Self::More(all) => serde_json::to_vec(all),
        }
    }
}

impl<T: for<'de> Deserialize<'de>> OneOrMore<T> {
    pub fn from_json(json: &[u8]) -> serde_json::Result<Self> {
        match json.first() {
            Some(b'[') => serde_json::from_slice(json).map(Self::More),
            _ => serde_json::from_slice(json).map(Self::One),
        }
    }
}

/// Why a frame or a send was not done. The texts are for people, the names for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The sender is not a member, or there is no such channel.
    #[error("You are not a member of this channel.")]
    NotAMember,
    /// A side has not accepted the friendship, or has rejected it.
    #[error("This channel is closed.")]
    ChannelClosed,
    /// What is to be edited, deleted, answered or marked is not in the channel.
    #[error("There is no such message in this channel.")]
    MessageNotFound,
    /// A file that was not uploaded by the sender, or is sent already.
    #[error("You have no unsent file with this id.")]
    MediaNotFound,
    /// The message to edit or delete is the friend's.
    #[error("Only the sender of a message may change it.")]
    NotYours,
    /// An empty payload, and no files.
    #[error("A message without files needs a payload.")]
    EmptyMessage,
    /// The same sender used the `client_id` for another send in this channel.
    #[error("This client_id was used for something else.")]
    ClientIdReused,
    /// A dependency is away. It is not known whether the send was stored: a repeat with the same
    /// `client_id` is answered with what was stored.
    #[error(
        "Not possible right now; nothing was stored as far as the server knows. Send it again with the same client_id."
    )]
    Unavailable,
    /// Never sent: how a replica reads a reason that only a newer version knows. To a client it is
    /// `unavailable`, since the replica that it asks again may know it.
    #[serde(other)]
    #[error(
        "Not possible while the server is being upgraded. Send it again with the same client_id."
    )]
    Unknown,
}

/// A request on `mark.friendship.<id>`: `user` has received (or seen) everything up to `message`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Mark {
    pub user: UserId,
    pub message: MessageId,
    pub seen: bool,
    /// The gateway has delivered this message to this user: there is nothing to look up.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub delivered: bool,
}

/// The answer to a [`Mark`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MarkReply {
    Done,
    Refused(Refusal),
}
