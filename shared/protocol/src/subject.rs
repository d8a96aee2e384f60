//! Every NATS subject, made and read in this one place.

use crate::{FriendshipId, UserId};

/// Sends to store, of every channel.
pub const ALL_SENDS: &str = "send.friendship.*";
/// Marks to store, of every channel.
pub const ALL_MARKS: &str = "mark.friendship.*";
/// Sends and marks that are asked for a second time: [`again`].
pub const ALL_SENDS_AGAIN: &str = "again.send.friendship.*";
pub const ALL_MARKS_AGAIN: &str = "again.mark.friendship.*";
/// The logs of all channels: what the stream `CHAT` keeps.
pub const ALL_LOGS: &str = "chat.friendship.*.log";
/// Notices to users' live connections, of every user.
pub const ALL_NOTICES: &str = "notify.user.*";
/// Questions of an operator, which every gateway answers.
pub const CONNECTIONS: &str = "rpc.gateway.connections";
/// Who is online, of every user.
pub const ALL_PRESENCE: &str = "presence.user.*";
/// What the stream `USERS` keeps.
pub const ALL_USER_EVENTS: &str = "events.users.*.*";
/// Accounts that were deleted.
pub const DELETED_USERS: &str = "events.users.*.deleted";
/// What the stream `FRIENDSHIPS` keeps.
pub const ALL_FRIENDSHIP_EVENTS: &str = "events.friendships.*.*";

/// What could not be processed, of every stream: what the stream `DLQ` keeps.
pub const ALL_DEAD_LETTERS: &str = "dlq.*";

/// The key-value bucket of sessions whose access tokens must no longer be believed.
pub const REVOKED_SESSIONS: &str = "revoked_sessions";
/// Its entries, as the stream behind it keeps them.
pub const ALL_REVOKED_SESSIONS: &str = "$KV.revoked_sessions.>";

pub fn send(channel: FriendshipId) -> String {
    format!("send.friendship.{channel}")
}

pub fn mark(channel: FriendshipId) -> String {
    format!("mark.friendship.{channel}")
}

/// The subject on which a request is repeated that got no answer on `subject`. On `subject` one
/// replica of the queue group gets a request; on this one every replica gets it.
pub fn again(subject: &str) -> String {
    format!("again.{subject}")
}

/// Whether a subject is one of [`again`].
pub fn is_again(subject: &str) -> bool {
    subject.starts_with("again.")
}

/// Everything live of one channel.
pub fn chat(channel: FriendshipId) -> String {
    format!("chat.friendship.{channel}.*")
}

pub fn chat_log(channel: FriendshipId) -> String {
    format!("chat.friendship.{channel}.log")
}

pub fn chat_mark(channel: FriendshipId) -> String {
    format!("chat.friendship.{channel}.mark")
}

/// `event` is the event's `type`.
pub fn chat_ephemeral(channel: FriendshipId, event: &str) -> String {
    format!("chat.friendship.{channel}.{event}")
}

/// `event` is the event's `type`.
pub fn user_event(user: UserId, event: &str) -> String {
    format!("events.users.{user}.{event}")
}

/// `event` is the event's `type`.
pub fn friendship_event(channel: FriendshipId, event: &str) -> String {
    format!("events.friendships.{channel}.{event}")
}

/// Where an event of `stream` that a consumer gave up on is published.
pub fn dead_letter(stream: &str) -> String {
    format!("dlq.{stream}")
}

pub fn notify_user(user: UserId) -> String {
    format!("notify.user.{user}")
}

pub fn presence(user: UserId) -> String {
    format!("presence.user.{user}")
}

/// Reads a subject of [`notify_user`].
pub fn parse_notice(subject: &str) -> Option<UserId> {
    subject.strip_prefix("notify.user.")?.parse().ok()
}

/// Where a put of `key` into `bucket` is published.
pub fn key_value(bucket: &str, key: impl std::fmt::Display) -> String {
    format!("$KV.{bucket}.{key}")
}

/// The stream of a subject of [`dead_letter`].
pub fn parse_dead_letter(subject: &str) -> &str {
    subject.strip_prefix("dlq.").unwrap_or_default()
}

/// Whether a subject is one of those that `pattern` stands for: `*` for one token, `>` for the
/// rest.
pub fn matches(pattern: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for wanted in pattern.split('.') {
        let token = tokens.next();
        match wanted {
            ">" => return token.is_some(),
            "*" if token.is_some_and(|token| !token.is_empty()) => {}
            wanted if token == Some(wanted) => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

/// What a `chat.friendship.<id>.*` message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chat {
    Log,
    Mark,
    /// Any other: what its payload's `type` says, which may be of a later version.
    Ephemeral,
}

/// Reads a subject of [`chat`]. `None` for anything else.
pub fn parse_chat(subject: &str) -> Option<(FriendshipId, Chat)> {
    let (channel, what) = subject.strip_prefix("chat.friendship.")?.split_once('.')?;
    let what = match what {
        "log" => Chat::Log,
        "mark" => Chat::Mark,
        _ => Chat::Ephemeral,
    };
    Some((channel.parse().ok()?, what))
}

/// Reads a subject of [`send`] or [`mark`], also the one that [`again`] makes of it.
pub fn parse_channel(subject: &str) -> Option<FriendshipId> {
    subject.rsplit('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNEL: &str = "0192f0c1-2d3e-7000-8000-000000000001";

    #[test]
    fn what_is_made_is_read_back() {
        let channel: FriendshipId = CHANNEL.parse().expect("an id");
        for (subject, what) in [
            (chat_log(channel), Chat::Log),
            (chat_mark(channel), Chat::Mark),
            (chat_ephemeral(channel, "typing"), Chat::Ephemeral),
        ] {
            assert_eq!(parse_chat(&subject), Some((channel, what)));
        }
        assert_eq!(parse_channel(&send(channel)), Some(channel));
        assert_eq!(parse_channel(&mark(channel)), Some(channel));
        assert_eq!(parse_channel(&again(&send(channel))), Some(channel));
    }

    #[test]
    fn patterns() {
        for (pattern, subject, expected) in [
            (ALL_USER_EVENTS, "events.users.1.deleted", true),
            (ALL_USER_EVENTS, "events.users.1", false),
            (ALL_USER_EVENTS, "events.users.1.deleted.more", false),
            (ALL_USER_EVENTS, "events.friendships.1.opened", false),
            (ALL_USER_EVENTS, "events.users..deleted", false),
            (ALL_REVOKED_SESSIONS, "$KV.revoked_sessions.1", true),
            (ALL_REVOKED_SESSIONS, "$KV.revoked_sessions", false),
            (ALL_LOGS, "", false),
        ] {
            assert_eq!(matches(pattern, subject), expected, "{pattern} {subject}");
        }
        assert_eq!(parse_dead_letter(&dead_letter("USERS")), "USERS");
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        for subject in [
            "",
            "chat.friendship",
            "chat.friendship.x.log",
            "send.friendship.x",
        ] {
            assert_eq!(parse_chat(subject), None, "{subject}");
            assert_eq!(parse_channel(subject), None, "{subject}");
        }
    }
}
