//! This service's projection of the friendships.

use natter_bus::Bus;
use natter_protocol::{FriendshipId, UserId, call::GetFriendship};

use crate::{channel::Channel, error::Error, store::Store};

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

    /// The channel, if `user` is in it. If it is not known yet, the friendships service is asked.
    pub async fn of_member(&self, id: FriendshipId, user: UserId) -> Result<Channel, Error> {
        let known = match self.store.channel(id).await? {
            Some(channel) => Some(channel),
            None => self.refresh(id).await?,
        };
        known
            .filter(|channel| channel.has(user))
            .ok_or(Error::FriendshipNotFound)
    }

    /// Asks the friendships service, keeps the answer, and returns what is known then.
    pub async fn refresh(&self, id: FriendshipId) -> Result<Option<Channel>, Error> {
        let Some(state) = self.bus.call(&GetFriendship { friendship: id }).await? else {
            return Ok(None);
        };
        self.store.project(&state).await?;
        Ok(self.store.channel(id).await?)
    }
}
