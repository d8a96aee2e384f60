//! Channels gained and lost while the connection is open.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use futures_util::future::BoxFuture;
use natter_bus::CallError;
use natter_protocol::{
    FriendshipId, Timestamp, UserId,
    call::{GetAfter, GetFriendship, GetUsers, ListedChannel, MAX_AFTER},
    event::{FriendshipState, UserNotice},
    frame::ServerFrame,
    friendship::{Friendship, UserCard},
};

use super::Connection;
use crate::{close::Close, peer::Notice};

/// How far the clocks of two machines may be apart.
const CLOCK_SLACK: chrono::Duration = chrono::Duration::seconds(5);
/// The pause before the list of open channels is asked for (again). It is spread, so that the
/// connections of a gateway do not all ask at once.
const LIST_PAUSE: Duration = Duration::from_millis(500);

/// Notices that are kept while something else is done.
const MAX_HELD: usize = 1_000;

/// A question for the user's open channels on its way.
pub(super) type Listing = BoxFuture<'static, Result<Vec<ListedChannel>, CallError>>;

/// The answer to the pending call; never resolves while none is pending.
pub(super) async fn listed(listing: &mut Option<Listing>) -> Result<Vec<ListedChannel>, CallError> {
    match listing {
        Some(answer) => answer.await,
        None => std::future::pending().await,
    }
}

impl Connection {
    pub(super) async fn on_notice(&mut self, notice: &Notice) -> Result<(), Close> {
        match &notice.body {
            UserNotice::SessionEnded { sid } if *sid == self.peer.sid() => Err(Close::SessionEnded),
            UserNotice::SessionEnded { .. } => Ok(()),
            UserNotice::FriendshipUpdate { friendship } => {
                if !self.is_news(friendship) {
                    // If the old notice contradicts what is known here, the list of channels
                    // decides.
                    if friendship.is_open != self.channels.contains(friendship.id) {
                        self.list_soon();
                    }
                    return Ok(());
                }
                let (id, is_open) = (friendship.id, friendship.is_open);
                let friend = if friendship.from_user.id == self.peer.user {
                    friendship.to_user.id
                } else {
                    friendship.from_user.id
                };
                let friendship = friendship.as_ref().clone();
                let friendship = friendship.map_users(|card| card.at(&self.base_url));
                self.show(friendship).await?;
                if is_open {
                    self.join_channel(id, friend, notice.time).await
                } else {
                    self.leave_channel(id).await;
                    Ok(())
                }
            }
        }
    }

    /// Whether a notice tells what the client does not know yet: of a friendship that is newer than
    /// this connection, or newer than what it knows of it.
    fn is_news(&self, told: &Friendship<UserCard>) -> bool {
        let known = self.shown.get(told.id).unwrap_or_default();
        // 0: from a replica that knows of no revisions.
        told.revision == 0 || told.revision > known
    }

    /// Notes a revision, unless a newer one is known.
    fn know(&mut self, id: FriendshipId, revision: i32) {
        let known = self.shown.get(id).unwrap_or(revision);
        self.shown.insert(id, known.max(revision));
    }

    /// Writes a `friendship_update`, and remembers how new it is.
    async fn show(&mut self, friendship: Friendship<UserCard>) -> Result<(), Close> {
        self.know(friendship.id, friendship.revision);
        self.write(&ServerFrame::FriendshipUpdate { friendship })
            .await
    }

    /// Looks at the notices that have come, in the midst of something else.
    pub(super) async fn take_notices(&mut self) -> Result<(), Close> {
        while let Some(notice) = self.peer.notices.pop() {
            self.hold(notice).await?;
        }
        Ok(())
    }

    /// Keeps a notice for later. One that ends the session or closes a channel acts at once.
    pub(super) async fn hold(&mut self, notice: Notice) -> Result<(), Close> {
        match &notice.body {
            UserNotice::SessionEnded { sid } if *sid == self.peer.sid() => {
                return Err(Close::SessionEnded);
            }
            UserNotice::SessionEnded { .. } => return Ok(()),
            UserNotice::FriendshipUpdate { friendship }
                if !friendship.is_open && self.is_news(friendship) =>
            {
                self.leave_channel(friendship.id).await;
            }
            UserNotice::FriendshipUpdate { .. } => {}
        }
        if self.held.len() >= MAX_HELD {
            return Err(Close::NoticesFull);
        }
        self.held.push_back(notice);
        Ok(())
    }

    /// From now on the connection is told which of the user's friends are online.
    pub(super) async fn announce_presence(&mut self) {
        let friends = std::mem::take(&mut self.friends);
        self.gateway
            .presence
            .add_connection(&self.peer, friends)
            .await;
    }

    /// Notices may have been lost: what is open will be asked for shortly.
    pub(super) fn list_soon(&mut self) {
        let spread = f64::from(uuid::Uuid::new_v4().as_bytes()[0]) / 256.0;
        self.timer.list_in(LIST_PAUSE.mul_f64(0.2 + 2.0 * spread));
    }

    pub(super) fn list(&mut self) {
        self.timer.listed();
        let (gateway, user) = (self.gateway.clone(), self.peer.user);
        self.listing_since = Timestamp::now();
        self.listing = Some(Box::pin(async move {
            // Takes its turn with the connections that are being opened: after the broker was away,
            // every connection asks.
            let _turn = gateway.opening.acquire().await;
            gateway.bus.list_channels(user, true).await
        }));
    }

    pub(super) async fn on_list(
        &mut self,
        answer: Result<Vec<ListedChannel>, CallError>,
    ) -> Result<(), Close> {
        self.listing = None;
        let listed = match answer {
            Ok(listed) => listed,
            Err(error) => {
                tracing::info!(%error, "a user's channels are not known yet");
                self.list_soon();
                return Ok(());
            }
        };
        let open = listed.iter().filter(|one| !one.is_closed);
        let open: HashSet<FriendshipId> = open.map(|one| one.channel).collect();
        let lost = self.channels.ids().filter(|id| !open.contains(id));
        let lost: Vec<FriendshipId> = lost.collect();
        // The list may be older than notices that arrived meanwhile: for each channel that differs,
        // the friendship's present state is asked for.
        for id in lost {
            if self.refresh_friendship(id).await? != Some(true) {
                self.leave_channel(id).await;
            }
        }
        let mut are_joined = true;
        for one in listed {
            let is_missing = !one.is_closed && !self.channels.contains(one.channel);
            match self.shown.get(one.channel) {
                Some(0) if !is_missing => {
                    // Listed by a replica that knew of no revisions.
                    self.know(one.channel, one.revision);
                    continue;
                }
                Some(shown) if !is_missing && one.revision <= shown => continue,
                _ => {}
            }
            match self.refresh_friendship(one.channel).await? {
                Some(true) if is_missing => {
                    let since = self.known_since;
                    self.join_channel(one.channel, one.friend, since).await?;
                    are_joined &= self.channels.contains(one.channel);
                }
                Some(true) => {}
                None => are_joined &= !is_missing,
                Some(false) => self.leave_channel(one.channel).await,
            }
        }
        // A channel that could not be joined may have opened before this list was asked for.
        if are_joined {
            self.known_since = self.listing_since;
        }
        Ok(())
    }

    /// Writes the `friendship_update` that was missed. Returns whether the channel is open, or
    /// `None` if that cannot be known now. What cannot be known or shown now is asked for again.
    async fn refresh_friendship(
        &mut self,
        friendship: FriendshipId,
    ) -> Result<Option<bool>, Close> {
        let bus = &self.gateway.bus;
        let Ok(Some(state)) = bus.call(&GetFriendship { friendship }).await else {
            self.list_soon();
            return Ok(None);
        };
        let FriendshipState {
            friendship,
            revision,
        } = state;
        let is_open = friendship.is_open;
        let shown = self.shown.get(friendship.id);
        if shown.is_some_and(|shown| revision <= shown) {
            return Ok(Some(is_open));
        }
        let users = vec![friendship.from_user, friendship.to_user];
        let Ok(cards) = bus.call(&GetUsers { users }).await else {
            self.list_soon();
            return Ok(Some(is_open));
        };
        let cards: HashMap<UserId, UserCard> =
            cards.into_iter().map(|card| (card.id, card)).collect();
        let mut friendship = friendship.map_users(|id| UserCard::of(id, &cards).at(&self.base_url));
        friendship.revision = revision;
        self.show(friendship).await?;
        Ok(Some(is_open))
    }

    /// Joins a channel that opened at about `opened`. What was sent between then and the joining is
    /// written from the log. If joining fails, it is tried again.
    async fn join_channel(
        &mut self,
        id: FriendshipId,
        friend: UserId,
        opened: Timestamp,
    ) -> Result<(), Close> {
        if self.channels.contains(id) {
            return Ok(());
        }
        let left = self.used.as_ref().map(|used| &used.left);
        let had = left.and_then(|left| left.get(&id).copied());
        // From here on `end` leaves this channel too, however the connection ends.
        self.channels.insert(id, had.unwrap_or_default());
        match self.try_join_channel(id, had, opened).await {
            Err(Close::Overloaded) => {
                tracing::info!(channel = %id, "a channel cannot be joined yet");
                self.leave_channel(id).await;
                // `leave_channel` noted `seq` 0 as written. Nothing was, so the next try looks up
                // again where the channel begins for this connection.
                let left = &mut self.used.get_or_insert_default().left;
                if had.is_none() && left.get(&id) == Some(&0) {
                    left.remove(&id);
                }
                self.list_soon();
                Ok(())
            }
            Ok(()) if self.channels.contains(id) => {
                if self.live {
                    self.gateway
                        .presence
                        .add_friend(&self.peer, id, friend)
                        .await
                } else {
                    self.friends.push((id, friend))
                }
                Ok(())
            }
            // Also where the channel was closed, and so left, while it was joined.
            result => result,
        }
    }

    async fn try_join_channel(
        &mut self,
        id: FriendshipId,
        had: Option<u64>,
        opened: Timestamp,
    ) -> Result<(), Close> {
        let joined = self.gateway.hub.join(&self.peer, &[id], self.live).await;
        let head = joined.map_err(|_| Close::Overloaded)?.get(&id).copied();
        let head = head.unwrap_or_default();
        let start = match had {
            Some(seq) => seq,
            None => self.head_at(id, head, opened).await?,
        };
        self.channels.insert(id, start);
        // A connection that is not live yet gets these entries with its `resume`.
        if self.live {
            self.replay(id, start, head).await
        } else {
            Ok(())
        }
    }

    /// The `seq` that the log had reached when the channel opened: that of the newest entry up to
    /// `head` that is older, looked for backwards and no further than a replay may go.
    async fn head_at(
        &mut self,
        channel: FriendshipId,
        head: u64,
        opened: Timestamp,
    ) -> Result<u64, Close> {
        let opened = opened.utc() - CLOCK_SLACK;
        let floor = head.saturating_sub(self.gateway.settings.replay_events);
        let mut end = head;
        while end > floor {
            let after_seq = end.saturating_sub(MAX_AFTER.into()).max(floor);
            let call = GetAfter {
                channel,
                after_seq,
                limit: MAX_AFTER,
            };
            let page = self.gateway.bus.call(&call).await;
            let page = page.map_err(|_| Close::Overloaded)?;
            let older = page.iter().rev().find(|event| event.time.utc() < opened);
            if let Some(older) = older {
                return Ok(older.seq.min(head));
            }
            end = after_seq;
        }
        Ok(floor)
    }

    async fn leave_channel(&mut self, id: FriendshipId) {
        if let Some(newest) = self.channels.remove(id) {
            let used = self.used.get_or_insert_default();
            used.left.insert(id, newest);
            used.marks.remove(&id);
            used.on_close.retain(|(channel, _)| *channel != id);
            used.delivered.forget(id);
            self.friends.retain(|(known, _)| *known != id);
            self.gateway.presence.remove_friend(&self.peer, id).await;
            self.gateway.hub.leave(&self.peer, [id]).await;
        }
    }
}
