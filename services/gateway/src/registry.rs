//! The connections of this gateway by user.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt;
use natter_bus::{Message, Subscriber, unread};
use natter_protocol::{SessionId, UserId, event::read, subject};
use tokio::{
    sync::broadcast::error::RecvError,
    time::{interval, sleep},
};

use tokio_util::sync::CancellationToken;

use crate::{Gateway, close::Close, peer::Peer};

/// How often it is checked that the watch on revoked sessions is alive.
const FEED_CHECK: Duration = Duration::from_secs(1);
const DRAIN_CHECK: Duration = Duration::from_millis(50);

#[derive(Default)]
pub struct Registry {
    users: Mutex<HashMap<UserId, Vec<Arc<Peer>>>>,
    /// How many connections there are. Kept beside the map, because each connection of a draining
    /// gateway asks for it.
    count: AtomicUsize,
}

impl Registry {
    fn users(&self) -> MutexGuard<'_, HashMap<UserId, Vec<Arc<Peer>>>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a connection; past `limit` of one user the oldest is closed.
    pub fn add(&self, peer: &Arc<Peer>, limit: u32) {
        let mut users = self.users();
        let peers = users.entry(peer.user).or_default();
        peers.push(peer.clone());
        if peers.len() > limit as usize {
            peers.remove(0).closer.close(Close::TooManyConnections);
        }
        drop(users);
        self.count.fetch_add(1, Ordering::Relaxed);
        metrics::gauge!("gateway_connections").increment(1);
    }

    pub fn remove(&self, peer: &Peer) {
        let mut users = self.users();
        if let Some(peers) = users.get_mut(&peer.user) {
            peers.retain(|other| other.id != peer.id);
            if peers.is_empty() {
                users.remove(&peer.user);
            }
        }
        drop(users);
        self.count.fetch_sub(1, Ordering::Relaxed);
        metrics::gauge!("gateway_connections").decrement(1);
    }

    /// A user's connections.
    pub fn of(&self, user: UserId) -> Vec<Arc<Peer>> {
        self.users().get(&user).cloned().unwrap_or_default()
    }

    /// Gives a notice to a user's connections.
    fn notify(&self, user: UserId, notice: &Message) {
        let users = self.users();
        let Some(peers) = users.get(&user) else {
            return;
        };
        match read(&notice.payload) {
            Ok(notice) => {
                let notice = Arc::new(notice);
                for peer in peers {
                    peer.notify(Arc::clone(&notice));
                }
            }
            Err(reason) => unread("notice", &reason),
        }
    }

    /// Waits until the process stops and the last connection has gone.
    pub async fn drained(&self, shutdown: &CancellationToken) {
        shutdown.cancelled().await;
        while self.len() > 0 {
            sleep(DRAIN_CHECK).await;
        }
    }

    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn close_session(&self, user: UserId, sid: SessionId) {
        let users = self.users();
        let peers = users.get(&user).into_iter().flatten();
        for peer in peers.filter(|peer| peer.sid() == sid) {
            peer.closer.close(Close::SessionEnded);
        }
    }

    pub fn close_where(&self, reason: Close, is_due: impl Fn(&Peer) -> bool) {
        let users = self.users();
        for peer in users.values().flatten().filter(|peer| is_due(peer)) {
            peer.closer.close(reason);
        }
    }
}

/// Hands notices to the connections they are for, until the process stops and the last has gone.
pub async fn follow_notices(gateway: Arc<Gateway>, mut notices: Subscriber) {
    let registry = &gateway.registry;
    let following = async {
        while let Some(notice) = notices.next().await {
            if let Some(user) = subject::parse_notice(&notice.subject) {
                registry.notify(user, &notice);
            }
        }
    };
    tokio::select! {
        () = following => {}
        () = registry.drained(&gateway.process.shutdown) => {}
    }
}

/// Closes the connections of sessions that end, and all of them when it is no longer known which
/// sessions have ended. Runs until the process stops and the last connection has gone.
pub async fn close_ended(gateway: Arc<Gateway>) {
    let (registry, verifier) = (&gateway.registry, &gateway.verifier);
    let mut ended = verifier.ended_sessions();
    let mut check = interval(FEED_CHECK);
    let mut was_current = false;
    let drained = registry.drained(&gateway.process.shutdown);
    tokio::pin!(drained);
    loop {
        tokio::select! {
            session = ended.recv() => match session {
                Ok((user, sid)) => registry.close_session(user, sid),
                Err(RecvError::Lagged(_)) => {
                    registry.close_where(Close::SessionEnded, |peer| verifier.is_revoked(peer.sid()));
                }
                Err(RecvError::Closed) => return,
            },
            _ = check.tick() => {
                let is_current = verifier.is_current();
                if was_current && !is_current {
                    tracing::error!("the watch on revoked sessions is silent: connections are closed");
                }
                if !is_current {
                    registry.close_where(Close::Overloaded, |_| true);
                }
                was_current = is_current;
            }
            () = &mut drained => return,
        }
    }
}
