//! `resume`: what the client missed, then live traffic, without a seam.

use std::collections::{HashMap, HashSet};

use natter_protocol::{
    FriendshipId,
    call::{ChannelMarks, GetAfter, GetFriendship, GetHeads, ListMarks, MAX_AFTER, MAX_HEADS},
    frame::{ErrorCode, ResumeFrame, ServerFrame},
    message::MAX_NAMED_CHANNELS,
};

use super::Connection;
use crate::{close::Close, hub::log_delivery};

const ANSWERS: &str = "resume";
/// For how many named channels that are not open to the user the reason is looked up.
const MAX_LOOKED_UP: usize = 20;

impl Connection {
    pub(super) async fn resume(
        &mut self,
        frame: ResumeFrame,
        client_id: Option<String>,
    ) -> Result<(), Close> {
        let ResumeFrame {
            channels: named,
            epoch,
        } = frame;
        if !self.full || self.live {
            let detail = if self.full {
                "resume was sent before on this connection."
            } else {
                "resume needs the subprotocol natter.v1."
            };
            return self
                .refuse_frame(
                    ErrorCode::InvalidFrame,
                    detail,
                    Some(ANSWERS.to_owned()),
                    client_id,
                )
                .await;
        }
        if named.len() > MAX_NAMED_CHANNELS {
            let detail = format!("resume names more than {MAX_NAMED_CHANNELS} channels.");
            return self
                .refuse_frame(
                    ErrorCode::InvalidFrame,
                    detail,
                    Some(ANSWERS.to_owned()),
                    client_id,
                )
                .await;
        }
        let mut unknown = 0;
        let mut since: HashMap<FriendshipId, u64> = self.channels.collect();
        // Under another epoch the same seq may have been another entry.
        let current = self.gateway.epoch.current();
        let is_other_epoch = epoch.is_some() && current.is_some() && epoch != current;
        let mut too_far = HashSet::new();
        for (name, seq) in named {
            match name.parse().ok().filter(|id| since.contains_key(id)) {
                Some(id) if is_other_epoch => {
                    too_far.insert(id);
                }
                Some(id) => {
                    since.insert(id, seq);
                }
                None => {
                    unknown += 1;
                    let look_up = unknown <= MAX_LOOKED_UP;
                    self.refuse_channel(&name, client_id.clone(), look_up)
                        .await?;
                }
            }
        }
        // First everything up to `ready`, while nothing is queued for this connection yet.
        too_far.extend(self.too_far(&since).await?);
        for (channel, since) in since {
            if !self.channels.contains(channel) {
                continue;
            }
            let ready = self.channels.insert(channel, since).unwrap_or(since);
            if !too_far.contains(&channel) {
                self.replay(channel, since, ready).await?;
            }
        }
        // From here on the hub queues what comes; what came since `ready` is read from the log.
        let open: Vec<FriendshipId> = self.channels.ids().collect();
        let heads = self.gateway.hub.activate(&self.peer, &open).await;
        for (channel, head) in heads.map_err(|_| Close::Overloaded)? {
            if !self.channels.contains(channel) {
                continue;
            }
            if too_far.contains(&channel) {
                self.channels.insert(channel, head);
            } else {
                let written = self.channels.get(channel).unwrap_or(head);
                self.replay(channel, written, head).await?;
            }
        }
        too_far.retain(|channel| self.channels.contains(*channel));
        if !too_far.is_empty() {
            let heads = too_far
                .iter()
                .filter_map(|id| Some((*id, self.channels.get(*id)?)));
            let channels = heads.collect();
            self.write(&ServerFrame::Resync { channels }).await?;
        }
        let marks = self.read_marks().await;
        self.live = true;
        let channels = self.channels.collect();
        self.write(&ServerFrame::Resumed { channels, marks })
            .await?;
        self.announce_presence().await;
        Ok(())
    }

    /// The channels that cannot be replayed here: too far behind, or their logs end before what
    /// the client has.
    async fn too_far(
        &mut self,
        since: &HashMap<FriendshipId, u64>,
    ) -> Result<HashSet<FriendshipId>, Close> {
        let (mut too_far, mut ahead) = (HashSet::new(), Vec::new());
        for (channel, since) in since {
            let ready = self.channels.get(*channel).unwrap_or_default();
            match ready.checked_sub(*since) {
                Some(behind) if behind > self.gateway.settings.replay_events => {
                    too_far.insert(*channel);
                }
                Some(_) => {}
                // The client has more than `ready` said: another gateway may have been ahead of
                // this one, so the log itself decides.
                None => ahead.push(*channel),
            }
        }
        for channels in ahead.chunks(MAX_HEADS) {
            let channels = channels.to_vec();
            let heads = self.gateway.bus.call(&GetHeads { channels }).await;
            let heads = heads.map_err(|_| Close::Overloaded)?;
            too_far.extend(heads.into_iter().filter_map(|(id, head)| {
                (since.get(&id).is_some_and(|since| *since > head)).then_some(id)
            }));
        }
        Ok(too_far)
    }

    /// The marks of both members of each open channel; unreadable ones are left out. Later moves
    /// are queued for this connection already; queued marks that these include are not sent again.
    async fn read_marks(&mut self) -> HashMap<FriendshipId, ChannelMarks> {
        let mut marks = HashMap::new();
        // Without an epoch no messages replica answers, so this call would fail too.
        if self.gateway.epoch.current().is_none() {
            return marks;
        }
        let open: Vec<FriendshipId> = self.channels.ids().collect();
        for channels in open.chunks(MAX_HEADS) {
            let call = ListMarks {
                user: self.peer.user,
                channels: channels.to_vec(),
            };
            match self.gateway.bus.call(&call).await {
                Ok(known) => {
                    if !known.is_empty() {
                        let used = self.used.get_or_insert_default();
                        used.marks.extend(known.iter());
                    }
                    marks.extend(channels.iter().map(|id| (*id, ChannelMarks::default())));
                    marks.extend(known);
                }
                Err(error) => {
                    tracing::warn!(%error, "resumed without marks");
                    break;
                }
            }
        }
        marks
    }

    /// Writes a channel's events after one seq up to another from the log, and notes how far it
    /// got.
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
                self.take_notices().await?;
                // Closed meanwhile: nothing more of it is shown.
                if !self.channels.contains(channel) {
                    return Ok(());
                }
                after_seq = event.seq;
                let delivery = log_delivery(event);
                if let Some(frame) = delivery.text(&self.base_url) {
                    self.feed(frame).await?;
                }
                self.channels.insert(channel, after_seq);
                let used = self.used.get_or_insert_default();
                used.delivered.note(&delivery);
                self.confirm(&delivery);
            }
            self.flush().await?;
        }
        Ok(())
    }

    /// Refuses a named channel that is not one of the user's open ones.
    async fn refuse_channel(
        &mut self,
        name: &str,
        client_id: Option<String>,
        look_up: bool,
    ) -> Result<(), Close> {
        let code = match name.parse() {
            Ok(friendship) if look_up => {
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
            _ => ErrorCode::NotAMember,
        };
        let shown: String = name.chars().take(64).collect();
        let detail = format!("The channel {shown} cannot be resumed.");
        self.refuse_frame(code, detail, Some(ANSWERS.to_owned()), client_id)
            .await
    }
}
