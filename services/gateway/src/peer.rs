//! A connection as the hub and the registry see it.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use natter_protocol::{
    SessionId, Timestamp, UserId,
    event::{Event, UserNotice},
};

use crate::{
    close::{Close, Closer},
    delivery::Delivery,
    queue::Queue,
};

/// How many deliveries may wait for a connection; one more and it is too slow.
const QUEUE: usize = 256;
/// How many notices may wait.
const NOTICES: usize = 64;

/// What the hub and the registry have of one connection; its `id` is unique within this process.
pub struct Peer {
    pub id: u64,
    pub user: UserId,
    pub opened_at: Timestamp,
    /// Changes when a browser renews its connection with another session's token.
    sid: Mutex<SessionId>,
    pub closer: Closer,
    /// The connection takes them out.
    pub deliveries: Queue<Delivery>,
    pub notices: Queue<Notice>,
}

/// Something that acts on a user's connections, also before they are live.
pub type Notice = Arc<Event<UserNotice>>;

impl Peer {
    pub fn new(user: UserId, sid: SessionId) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            user,
            opened_at: Timestamp::now(),
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

    /// Queues a delivery. Where there is no room, the connection is closed, to be resumed.
    pub fn deliver(&self, delivery: Delivery) {
        if self.deliveries.push(delivery).is_err() {
            self.too_slow(Close::DeliveriesFull);
        }
    }

    /// Queues a delivery if there is room; returns whether there was.
    pub fn offer(&self, delivery: Delivery) -> bool {
        self.deliveries.push(delivery).is_ok()
    }

    pub fn notify(&self, notice: Notice) {
        if self.notices.push(notice).is_err() {
            self.too_slow(Close::NoticesFull);
        }
    }

    fn too_slow(&self, reason: Close) {
        // One that is closing takes nothing more.
        if self.closer.is_closed() {
            return;
        }
        self.closer.close(reason);
    }
}
