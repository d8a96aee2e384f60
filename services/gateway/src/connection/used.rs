//! What a connection keeps once something is sent or delivered on it. Most connections wait, and
//! have none of it.

use std::collections::HashMap;

use natter_bus::Bus;
use natter_protocol::{FriendshipId, call::ChannelMarks, ephemeral::Ephemeral};

use super::{
    delivered::Delivered,
    sends::{Answered, Sends},
};

#[derive(Default)]
pub struct Used {
    pub sends: Sends,
    /// Ephemeral events to publish when the connection closes: the client has stopped typing.
    pub on_close: Vec<(FriendshipId, Ephemeral)>,
    /// Messages that were written lately: the messages service need not look up a mark on one.
    pub delivered: Delivered,
    /// How far both sides of a channel are as the client knows: by its own marks, and by `resumed`.
    pub marks: HashMap<FriendshipId, ChannelMarks>,
    /// Channels that were left, with the newest seq written of them: nothing is written twice.
    pub left: HashMap<FriendshipId, u64>,
}

/// The next answer to what was sent; `None` only while nothing is asked.
pub async fn next_answer(used: &mut Option<Box<Used>>, bus: &Bus) -> Option<Answered> {
    used.as_mut()?.sends.next(bus).await
}
