//! Channels gained and lost while the connection is open.

use std::time::Duration;

use natter_bus::Message;
use natter_protocol::{
    FriendshipId, Timestamp,
    call::{GetAfter, ListOpen},
    event::{Event, UserNotice},
    frame::ServerFrame,
};

use tokio::time::Instant;

use super::Connection;
use crate::close::Close;

/// How many of a gained channel's newest events may have been sent before it was joined here.
const TAIL: u32 = 50;
/// How far the clocks of two machines may be apart, and the notice late.
const CLOCK_SLACK: chrono::Duration = chrono::Duration::seconds(5);
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// How long a notice may have been lost for before the list was asked for again.
const MISSED_SLACK: chrono::Duration = chrono::Duration::seconds(60);

impl Connection {
    pub(super) async fn on_notice(&mut self, message: &Message) -> Result<(), Close> {
        let notice: Event<UserNotice> = match serde_json::from_slice(&message.payload) {
            Ok(notice) => notice,
            Err(error) => {
                tracing::warn!(%error, "not a notice");
                return Ok(());
            }
        };
        match notice.body {
            UserNotice::SessionEnded { sid } if sid == self.peer.sid => Err(Close::SessionEnded),
            UserNotice::SessionEnded { .. } => Ok(()),
            UserNotice::FriendshipUpdate { friendship } => {
                let (id, is_open) = (friendship.id, friendship.is_open);
                let friendship = friendship.map_users(|card| card.at(&self.base_url));
                self.write(&ServerFrame::FriendshipUpdate { friendship })
                    .await?;
                match is_open {
                    true => self.gain(id, notice.time.utc() - CLOCK_SLACK).await,
                    false => {
                        self.lose(id).await;
                        Ok(())
                    }
                }
            }
        }
    }

    /// Notices may have been lost: what is open now is asked for.
    pub(super) async fn list_again(&mut self) -> Result<(), Close> {
        let call = ListOpen {
            user: self.peer.user,
        };
        let open = match self.gateway.bus.call(&call).await {
            Ok(open) => open,
            Err(error) => {
                tracing::info!(%error, "a user's channels are not known yet");
                self.list_again_at = Some(Instant::now() + RETRY_PAUSE);
                return Ok(());
            }
        };
        self.list_again_at = None;
        let lost: Vec<FriendshipId> = self
            .channels
            .keys()
            .filter(|id| !open.contains(id))
            .copied()
            .collect();
        for id in lost {
            self.lose(id).await;
        }
        for id in open {
            self.gain(id, Timestamp::now().utc() - MISSED_SLACK).await?;
        }
        Ok(())
    }

    /// Joins a channel that opened. What was sent since `opened` and before the joining is written
    /// from the log.
    async fn gain(
        &mut self,
        id: FriendshipId,
        opened: chrono::DateTime<chrono::Utc>,
    ) -> Result<(), Close> {
        if self.channels.contains_key(&id) {
            return Ok(());
        }
        let joined = self.gateway.hub.join(&self.peer, &[id], self.live).await;
        let head = joined.map_err(|_| Close::Overloaded)?.get(&id).copied();
        let head = head.unwrap_or_default();
        let call = GetAfter {
            channel: id,
            after_seq: head.saturating_sub(TAIL.into()),
            limit: TAIL,
        };
        let tail = self
            .gateway
            .bus
            .call(&call)
            .await
            .map_err(|_| Close::Overloaded)?;
        let before = tail.iter().take_while(|event| event.time.utc() < opened);
        let start = before.last().map_or(call.after_seq, |event| event.seq);
        // One that is not live yet gets it with its resume.
        if self.live {
            self.replay(id, start, head).await?;
            self.channels.insert(id, head);
        } else {
            self.channels.insert(id, start);
        }
        Ok(())
    }

    async fn lose(&mut self, id: FriendshipId) {
        if self.channels.remove(&id).is_some() {
            self.own_marks.remove(&id);
            self.gateway.hub.leave(&self.peer, [id]).await;
        }
    }
}
