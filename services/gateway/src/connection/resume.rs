//! `resume`: what the client missed, then live traffic, without a seam.

use std::collections::HashMap;

use axum::extract::ws::Message;
use natter_protocol::{
    FriendshipId,
    call::{GetAfter, GetFriendship, MAX_AFTER},
    frame::{ErrorCode, ServerFrame},
};

use super::Connection;
use crate::{close::Close, hub::log_delivery};

const ANSWERS: &str = "resume";

impl Connection {
    pub(super) async fn resume(&mut self, named: HashMap<String, u64>) -> Result<(), Close> {
        if !self.full || self.live {
            let detail = match self.full {
                true => "resume was sent before on this connection.",
                false => "resume needs the subprotocol natter.v1.",
            };
            return self
                .refuse_frame(
                    ErrorCode::InvalidFrame,
                    detail,
                    Some(ANSWERS.to_owned()),
                    None,
                )
                .await;
        }
        let mut since = self.channels.clone();
        for (name, seq) in named {
            match name.parse().ok().filter(|id| since.contains_key(id)) {
                Some(id) => {
                    since.insert(id, seq);
                }
                None => self.refuse_channel(&name).await?,
            }
        }
        // From here on the hub queues what comes; what came before it is read from the log.
        let open: Vec<FriendshipId> = self.channels.keys().copied().collect();
        let heads = self.gateway.hub.activate(&self.peer, &open).await;
        let heads = heads.map_err(|_| Close::Overloaded)?;
        let mut too_far = HashMap::new();
        for (channel, head) in &heads {
            let since = since.get(channel).copied().unwrap_or(*head);
            let behind = head.checked_sub(since);
            if behind.is_none_or(|behind| behind > self.gateway.settings.replay_events) {
                too_far.insert(*channel, *head);
            } else {
                self.replay(*channel, since, *head).await?;
            }
            self.channels.insert(*channel, *head);
        }
        if !too_far.is_empty() {
            self.write(&ServerFrame::Resync { channels: too_far })
                .await?;
        }
        self.live = true;
        self.write(&ServerFrame::Resumed { channels: heads }).await
    }

    /// Writes a channel's events after one seq up to another from the log.
    pub(super) async fn replay(
        &mut self,
        channel: FriendshipId,
        after: u64,
        up_to: u64,
    ) -> Result<(), Close> {
        let mut after_seq = after;
        while after_seq < up_to {
            let call = GetAfter {
                channel,
                after_seq,
                limit: MAX_AFTER,
            };
            let events = self.gateway.bus.call(&call).await.map_err(|error| {
                tracing::warn!(%error, "a replay broke off");
                Close::Overloaded
            })?;
            if events.is_empty() {
                return Err(Close::Overloaded);
            }
            for event in events.into_iter().filter(|event| event.seq <= up_to) {
                after_seq = event.seq;
                let delivery = log_delivery(event);
                self.send(Message::Text(delivery.frame.clone())).await?;
                self.confirm(&delivery);
            }
        }
        Ok(())
    }

    /// Answers for a named channel that is none of the user's open ones.
    async fn refuse_channel(&mut self, name: &str) -> Result<(), Close> {
        let code = match name.parse() {
            Ok(friendship) => {
                let found = self.gateway.bus.call(&GetFriendship { friendship }).await;
                let found = found.map_err(|_| Close::Overloaded)?;
                let user = self.peer.user;
                match found.map(|state| state.friendship) {
                    Some(one) if one.from_user == user || one.to_user == user => {
                        ErrorCode::ChannelClosed
                    }
                    _ => ErrorCode::NotAMember,
                }
            }
            Err(_) => ErrorCode::NotAMember,
        };
        let shown: String = name.chars().take(64).collect();
        let detail = format!("The channel {shown} cannot be resumed.");
        self.refuse_frame(code, detail, Some(ANSWERS.to_owned()), None)
            .await
    }
}
