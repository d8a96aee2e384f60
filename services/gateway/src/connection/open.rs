//! From the upgrade to `ready`.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use natter_process::RateLimits;
use natter_protocol::{FriendshipId, Timestamp, frame::ServerFrame};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;

use super::{Connection, Pace, Timer, WRITE_TIMEOUT, written};
use crate::{
    Gateway, close::Close, delivery::encode, epoch, handshake::Admission, peer::Peer,
    socket::Socket,
};

/// The longest that a connection waits for its turn to be opened. Past it the client is told to
/// try again later.
const OPENING_PATIENCE: Duration = Duration::from_secs(60);

impl Connection {
    /// Subscribes to everything that is the user's and says `ready`. On failure the socket comes
    /// back with the reason to close it with, unless that was done.
    pub(super) async fn open(
        gateway: &Arc<Gateway>,
        mut socket: Socket,
        peer: Arc<Peer>,
        admission: Admission,
        base_url: Arc<str>,
    ) -> Result<Box<Self>, Option<(Socket, Close)>> {
        let first = admission.renewed.map(|pair| ServerFrame::Token {
            access: pair.access,
            refresh: pair.refresh,
        });
        if let Some(token) = first {
            let sent = socket.send(Message::Text(encode(&token)));
            match written(timeout(WRITE_TIMEOUT, sent).await) {
                // The client may be gone: what it sent before is still read and carried out.
                Ok(()) | Err(Close::Done) => {}
                Err(reason) => return Err(Some((socket, reason))),
            }
        }
        // Many that come at once (an ingress was reloaded) wait for their turn here, and not in the
        // queue of a service whose answer would come too late for all of them.
        let turn = tokio::select! {
            biased;
            reason = peer.closer.closed() => return Err(Some((socket, reason))),
            turn = timeout(OPENING_PATIENCE, gateway.opening.acquire()) => turn,
        };
        let Ok(Ok(turn)) = turn else {
            tracing::warn!("too many connections are being opened");
            return Err(Some((socket, Close::Overloaded)));
        };
        let missed = gateway.bus.missed();
        let opened = Timestamp::now();
        // Notices come already: a channel that opens after the list was made is noticed.
        let listed = match gateway.bus.list_channels(peer.user, true).await {
            Ok(listed) => listed,
            Err(error) => {
                tracing::warn!(%error, "a user's channels are not known");
                return Err(Some((socket, Close::Overloaded)));
            }
        };
        let shown = listed.iter().map(|one| (one.channel, one.revision));
        let shown = shown.collect();
        let open = listed.iter().filter(|one| !one.is_closed);
        let friends = open.clone().map(|one| (one.channel, one.friend));
        let mut friends: Vec<_> = friends.collect();
        friends.shrink_to_fit();
        let open: Vec<FriendshipId> = open.map(|one| one.channel).collect();
        let full = admission.full;
        let channels = match gateway.hub.join(&peer, &open, !full).await {
            Ok(channels) => channels,
            Err(error) => {
                tracing::warn!(%error, "a connection is not opened");
                gateway.hub.leave(&peer, open).await;
                return Err(Some((socket, Close::Overloaded)));
            }
        };
        if gateway.epoch.current().is_none() {
            epoch::ask(gateway).await;
        }
        drop(turn);
        let mut connection = Box::new(Self {
            gateway: gateway.clone(),
            socket,
            peer,
            held: VecDeque::new(),
            friends,
            base_url,
            full,
            live: !full,
            channels: channels.into_iter().collect(),
            shown,
            used: None,
            timer: Timer::start(gateway.settings.heartbeat()),
            pace: (gateway.process.settings.rate_limits == RateLimits::On).then(Pace::new),
            garbage: 0,
            garbage_since: Instant::now(),
            missed,
            unflushed: false,
            unanswered: 0,
            listing: None,
            listing_since: opened,
            known_since: opened,
        });
        // The session may have ended meanwhile: then nothing of its user's channels is told.
        if connection.peer.closer.is_closed() {
            let reason = connection.peer.closer.closed().await;
            connection.end(reason).await;
            return Err(None);
        }
        let ready = ServerFrame::Ready {
            user: connection.peer.user,
            heartbeat_seconds: gateway.settings.heartbeat_seconds,
            epoch: gateway.epoch.current(),
            channels: connection.channels.collect(),
        };
        match connection.write(&ready).await {
            Ok(()) | Err(Close::Done) => {
                if connection.live {
                    connection.announce_presence().await;
                }
                Ok(connection)
            }
            Err(reason) => {
                connection.end(reason).await;
                Err(None)
            }
        }
    }
}
