//! A value for each channel of a connection, in a sorted list. Most connections have one channel
//! for as long as they last, and a map with one entry takes five times the room.

use natter_protocol::FriendshipId;

pub struct ByChannel<V>(Vec<(FriendshipId, V)>);

impl<V> FromIterator<(FriendshipId, V)> for ByChannel<V> {
    fn from_iter<I: IntoIterator<Item = (FriendshipId, V)>>(all: I) -> Self {
        let mut all: Vec<_> = all.into_iter().collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all.shrink_to_fit();
        Self(all)
    }
}

impl<V: Copy> ByChannel<V> {
    fn find(&self, id: FriendshipId) -> Result<usize, usize> {
        self.0.binary_search_by_key(&id, |(id, _)| *id)
    }

    pub fn get(&self, id: FriendshipId) -> Option<V> {
        let at = self.find(id).ok()?;
        Some(self.0[at].1)
    }

    pub fn get_mut(&mut self, id: FriendshipId) -> Option<&mut V> {
        let at = self.find(id).ok()?;
        Some(&mut self.0[at].1)
    }

    pub fn contains(&self, id: FriendshipId) -> bool {
        self.find(id).is_ok()
    }

    /// Sets a channel's value; returns the one before, if there was one.
    pub fn insert(&mut self, id: FriendshipId, value: V) -> Option<V> {
        match self.find(id) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, value)),
            Err(at) => {
                self.0.insert(at, (id, value));
                None
            }
        }
    }

    pub fn remove(&mut self, id: FriendshipId) -> Option<V> {
        let at = self.find(id).ok()?;
        Some(self.0.remove(at).1)
    }

    pub fn ids(&self) -> impl Iterator<Item = FriendshipId> {
        self.0.iter().map(|(id, _)| *id)
    }

    /// As another collection: as frames have it, or for many look-ups.
    pub fn collect<M: FromIterator<(FriendshipId, V)>>(&self) -> M {
        self.0.iter().copied().collect()
    }
}
