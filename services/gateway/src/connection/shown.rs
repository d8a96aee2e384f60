//! The revision of each friendship that the client knows of: nothing older is shown to it.

use natter_protocol::FriendshipId;

/// Sorted by id: smaller than a map, and most connections never change it.
#[derive(Default)]
pub struct Shown(Vec<(FriendshipId, i32)>);

impl FromIterator<(FriendshipId, i32)> for Shown {
    fn from_iter<I: IntoIterator<Item = (FriendshipId, i32)>>(all: I) -> Self {
        let mut all: Vec<_> = all.into_iter().collect();
        all.sort_unstable();
        all.shrink_to_fit();
        Self(all)
    }
}

impl Shown {
    pub fn revision(&self, id: FriendshipId) -> Option<i32> {
        let at = self.0.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(self.0[at].1)
    }

    /// Notes a revision, unless a newer one is known.
    pub fn note(&mut self, id: FriendshipId, revision: i32) {
        match self.0.binary_search_by_key(&id, |(id, _)| *id) {
            Ok(at) => self.0[at].1 = self.0[at].1.max(revision),
            Err(at) => self.0.insert(at, (id, revision)),
        }
    }
}
