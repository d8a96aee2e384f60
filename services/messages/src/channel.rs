//! Who is in a channel, whether it is open, and how far its log is.

use natter_protocol::{FriendshipId, Timestamp, UserId};

/// What is known of a channel, and the head of its log.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Channel {
    pub id: FriendshipId,
    pub members: [UserId; 2],
    pub is_open: bool,
    /// The newest seq; 0 when the log is empty.
    pub last_seq: u64,
    /// How many entries are messages.
    pub messages: u64,
    /// How many of them are the first member's.
    pub from_messages: u64,
    pub last_at: Timestamp,
}

impl Channel {
    pub fn has(&self, user: UserId) -> bool {
        self.members.contains(&user)
    }

    /// The other member. For a user who is not a member: the first member.
    pub fn friend_of(&self, user: UserId) -> UserId {
        match self.members {
            [first, second] if first == user => second,
            [first, _] => first,
        }
    }
}
