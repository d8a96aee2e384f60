//! Who is in a channel and whether it is open: this service's projection of the friendships.

use natter_bus::Bus;
use natter_protocol::{FriendshipId, Timestamp, UserId, call::GetFriendship};

use crate::{error::Error, store::Store};

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

/// The projection, and where to ask when it may be behind.
#[derive(Clone)]
pub struct Channels {
    store: Store,
    bus: Bus,
}

impl Channels {
    pub fn new(store: Store, bus: Bus) -> Self {
        Self { store, bus }
    }

    /// The channel, if `user` is in it. One that is not known yet is asked for.
    pub async fn of_member(&self, id: FriendshipId, user: UserId) -> Result<Channel, Error> {
        let known = match self.store.channel(id).await? {
            Some(channel) => Some(channel),
            None => self.refresh(id).await?,
        };
        known
            .filter(|channel| channel.has(user))
            .ok_or(Error::FriendshipNotFound)
    }

    /// Asks the friendship service, keeps the answer, and returns what is known then.
    pub async fn refresh(&self, id: FriendshipId) -> Result<Option<Channel>, Error> {
        let Some(state) = self.bus.call(&GetFriendship { friendship: id }).await? else {
            return Ok(None);
        };
        self.store.project(&state).await?;
        Ok(self.store.channel(id).await?)
    }
}
