//! The messages that were written to a connection lately.

use std::collections::{HashMap, VecDeque};

use natter_protocol::{FriendshipId, MessageId, message::Kind};

use crate::delivery::LogDelivery;

/// How many messages of each channel are remembered. The messages service looks a mark on an older
/// one up.
const LATELY: usize = 16;

#[derive(Default)]
pub struct Delivered(HashMap<FriendshipId, VecDeque<MessageId>>);

impl Delivered {
    pub fn note(&mut self, log: &LogDelivery) {
        if log.kind != Kind::Message {
            return;
        }
        let lately = self.0.entry(log.channel).or_default();
        if lately.len() == LATELY {
            lately.pop_front();
        }
        lately.push_back(log.message);
    }

    pub fn has(&self, channel: FriendshipId, message: MessageId) -> bool {
        let lately = self.0.get(&channel);
        lately.is_some_and(|lately| lately.contains(&message))
    }

    /// To be called when the channel is left: marks in it are looked up from then on, since the
    /// user may be no member any more.
    pub fn forget(&mut self, channel: FriendshipId) {
        self.0.remove(&channel);
    }
}
