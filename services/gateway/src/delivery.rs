//! What is delivered to connections. Shared by all that get it, so it is encoded once.

use std::sync::Arc;

use natter_protocol::{
    FriendshipId, MessageId, UserId, event::LogEvent, frame::ServerFrame, message::Kind,
};
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// Something for a connection to write.
#[derive(Clone)]
pub enum Delivery {
    Log(Arc<LogDelivery>),
    Mark(Arc<MarkDelivery>),
    /// Shown once to whoever is connected, and never stored.
    Ephemeral(Arc<EphemeralDelivery>),
    /// Presence of some friends.
    Presence(Arc<[Utf8Bytes]>),
}

pub struct LogDelivery {
    pub channel: FriendshipId,
    pub seq: u64,
    pub kind: Kind,
    pub message: MessageId,
    pub sender: UserId,
    /// `None` for an entry of an unknown kind.
    pub frame: Option<Frame>,
}

/// A log entry's frame.
pub enum Frame {
    /// The same for everyone.
    Shared(Utf8Bytes),
    /// With files, whose URLs depend on how a connection reached this server.
    WithFiles(Box<LogEvent>),
}

impl LogDelivery {
    /// The entry's frame, if there is something to show.
    pub fn text(&self, base_url: &str) -> Option<Utf8Bytes> {
        match self.frame.as_ref()? {
            Frame::Shared(text) => Some(text.clone()),
            Frame::WithFiles(event) => {
                let frame = ServerFrame::of((**event).clone(), base_url)?;
                Some(encode(&frame))
            }
        }
    }
}

pub struct MarkDelivery {
    pub channel: FriendshipId,
    pub user: UserId,
    pub received_seq: u64,
    pub seen_seq: u64,
    pub frame: Utf8Bytes,
}

pub struct EphemeralDelivery {
    pub channel: FriendshipId,
    pub frame: Utf8Bytes,
}

/// A frame as text.
pub fn encode(frame: &ServerFrame) -> Utf8Bytes {
    // Strings, numbers and maps with string keys: encoding cannot fail.
    serde_json::to_string(frame).unwrap_or_default().into()
}
