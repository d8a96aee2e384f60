//! A connection as the hub and the registry see it.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use natter_protocol::{
    FriendshipId, MessageId, SessionId, UserId,
    event::{Event, LogEvent, UserNotice},
    frame::ServerFrame,
    message::Kind,
};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::{
    close::{Close, Closer},
    hub::encode,
    queue::Queue,
};

/// How many deliveries may wait for a connection; one more and it is too slow.
const QUEUE: usize = 256;
/// How many notices may wait.
const NOTICES: usize = 64;

/// One connection's address. Unique within this process.
pub struct Peer {
    pub id: u64,
    pub user: UserId,
    /// Changes when a browser renews its connection with another session's token.
    sid: Mutex<SessionId>,
    pub closer: Closer,
    /// The connection takes them out.
    pub deliveries: Queue<Delivery>,
    pub notices: Queue<Notice>,
}

/// What acts on a user's connections, also before they are live.
pub type Notice = Arc<Event<UserNotice>>;

/// Something for a connection to write. Shared by all that get it, so it is encoded once.
#[derive(Clone)]
pub enum Delivery {
    Log(Arc<LogDelivery>),
    Mark(Arc<MarkDelivery>),
    Typing(Arc<TypingDelivery>),
    /// How it is with some friends.
    Presence(Arc<[Utf8Bytes]>),
}

pub struct LogDelivery {
    pub channel: FriendshipId,
    pub seq: u64,
    pub kind: Kind,
    pub message: MessageId,
    pub sender: UserId,
    /// `None` of an entry of an unknown kind.
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

pub struct TypingDelivery {
    pub channel: FriendshipId,
    pub frame: Utf8Bytes,
}

impl Peer {
    pub fn new(user: UserId, sid: SessionId) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            user,
            sid: Mutex::new(sid),
            closer: Closer::default(),
            deliveries: Queue::new(QUEUE),
            notices: Queue::new(NOTICES),
        })
    }

    pub fn sid(&self) -> SessionId {
        *self.sid.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_sid(&self, sid: SessionId) {
        *self.sid.lock().unwrap_or_else(PoisonError::into_inner) = sid;
    }

    /// Queues a delivery. Where there is no room, the connection is told to come back and resume.
    pub fn deliver(&self, delivery: Delivery) {
        if self.deliveries.push(delivery).is_err() {
            self.too_slow();
        }
    }

    /// Queues a delivery if there is room; whether there was.
    pub fn offer(&self, delivery: Delivery) -> bool {
        self.deliveries.push(delivery).is_ok()
    }

    pub fn notify(&self, notice: Notice) {
        if self.notices.push(notice).is_err() {
            self.too_slow();
        }
    }

    fn too_slow(&self) {
        // One that is closing takes nothing more.
        if self.closer.is_closed() {
            return;
        }
        self.closer.close(Close::TooSlow);
    }
}
