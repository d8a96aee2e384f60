//! One WebSocket connection, from `ready` to the close frame.
//!
//! One task: it reads frames, has its sends stored, and writes what it is answered and what the
//! hub delivers. Nothing it waits for can hold it past a deadline, and whoever wants it closed
//! (an ended session, a full queue, a stopping process) reaches it in the midst of a write.

mod by_channel;
mod channels;
mod delivered;
mod finish;
mod frames;
mod open;
mod pace;
mod resume;
mod sends;
mod timer;
mod used;

use std::{collections::VecDeque, future::ready, sync::Arc, time::Duration};

use natter_protocol::{
    FriendshipId, Timestamp, UserId,
    frame::{ErrorCode, FrameError, ServerError, ServerFrame},
    message::Kind,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use crate::{
    Gateway,
    close::Close,
    delivery::{Delivery, LogDelivery, encode},
    handshake::Admission,
    peer::{Notice, Peer},
    socket::{Received, Socket},
};
use by_channel::ByChannel;
use channels::{Listing, listed};
use frames::publish_ephemeral;
use pace::Pace;
use sends::Sends;
use timer::{Due, Timer};
use used::{Used, next_answer};

/// The longest one write may take before the client counts as too slow.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// More malformed frames than this within [`GARBAGE_WINDOW`] are a flood.
const MAX_GARBAGE: u32 = 100;
const GARBAGE_WINDOW: Duration = Duration::from_secs(10);
/// The most deliveries that are written before the connection looks at what else has come.
const WRITE_BATCH: usize = 64;
/// The pace at which a stopping gateway closes its connections.
const CLOSES_PER_SECOND: f64 = 500.0;

struct Connection {
    gateway: Arc<Gateway>,
    socket: Socket,
    peer: Arc<Peer>,
    /// Notices that came while something was being written; a channel that they close is left.
    held: VecDeque<Notice>,
    /// The friend in each channel; handed to presence when the connection goes live.
    friends: Vec<(FriendshipId, UserId)>,
    /// What links in frames start with.
    base_url: Arc<str>,
    full: bool,
    /// Whether deliveries are written: with `natter.v1` from `resumed` on, otherwise from `ready`
    /// on.
    live: bool,
    /// Every open channel, and the newest seq written of it.
    channels: ByChannel<u64>,
    /// The revision of each friendship that the client knows of: nothing older is shown to it.
    shown: ByChannel<i32>,
    /// `None` until something is sent or delivered on this connection.
    used: Option<Box<Used>>,
    timer: Timer,
    /// How fast frames may come; `None` if `NATTER_RATE_LIMITS` is off.
    pace: Option<Pace>,
    /// Malformed frames since `garbage_since`.
    garbage: u32,
    garbage_since: Instant,
    /// Changes when notices may have been lost; subscribed before the channels were listed.
    missed: watch::Receiver<u64>,
    /// Something waits in the socket's buffer.
    unflushed: bool,
    /// Pings since anything came from the client.
    unanswered: u32,
    listing: Option<Listing>,
    listing_since: Timestamp,
    /// Every change of the channels before this moment has been seen.
    known_since: Timestamp,
}

/// Opens the connection and serves it to its end. What only the opening needs is freed when it is
/// over, and what an idle connection keeps is on the heap, and only once.
pub fn run(
    gateway: Arc<Gateway>,
    socket: Socket,
    admission: Admission,
    base_url: Arc<str>,
) -> impl Future<Output = ()> + Send {
    let opening = Box::pin(open(gateway, socket, admission, base_url));
    async move {
        let Some(mut connection) = opening.await else {
            return;
        };
        let reason = connection.serve().await;
        let (gateway, peer) = (connection.gateway.clone(), connection.peer.clone());
        Box::pin(connection.end(reason)).await;
        gateway.registry.remove(&peer);
    }
}

async fn open(
    gateway: Arc<Gateway>,
    socket: Socket,
    admission: Admission,
    base_url: Arc<str>,
) -> Option<Box<Connection>> {
    let peer = Peer::new(admission.user, admission.sid);
    let limit = gateway.settings.user_connections;
    gateway.registry.add(&peer, limit);
    if gateway.verifier.is_revoked(peer.sid()) {
        peer.closer.close(Close::SessionEnded);
    }
    let expires = admission.expires;
    // From its turn on it is not raced against the closer: every step has its deadline, and what was
    // joined must be left.
    let opened = Connection::open(&gateway, socket, peer.clone(), admission, base_url);
    match opened.await {
        Ok(mut connection) => {
            connection.timer.expire(expires);
            return Some(connection);
        }
        Err(Some((socket, reason))) => refuse(socket, reason, Some(peer.user)).await,
        Err(None) => {}
    }
    gateway.registry.remove(&peer);
    None
}

/// Closes a socket that is not to be served.
pub async fn refuse(socket: Socket, reason: Close, user: Option<UserId>) {
    reason.record(user);
    socket.close(reason).await;
}

impl Connection {
    /// Serves the client until one side ends it.
    async fn serve(&mut self) -> Close {
        let peer = self.peer.clone();
        tokio::select! {
            reason = peer.closer.closed() => reason,
            reason = self.work() => reason,
        }
    }

    // What is done for an event is boxed: a connection that waits, and most of the time it does,
    // keeps no room for it.
    async fn work(&mut self) -> Close {
        let mut missed = self.missed.clone();
        let shutdown = self.gateway.process.shutdown.clone();
        let mut reads_first = false;
        loop {
            let sends = self.used.as_ref().map(|used| &used.sends);
            let is_answered = sends.is_none_or(Sends::is_empty);
            let has_room = sends.is_none_or(Sends::has_room);
            let (at, due) = self.timer.next(self.live, is_answered);
            reads_first = !reads_first;
            let done = tokio::select! {
                // In this order: what is rare first, what the client sends and what it is told in
                // turn, and the flush once there is nothing more to write.
                biased;
                () = shutdown.cancelled(), if !self.timer.is_draining() => Box::pin(self.drain()).await,
                () = sleep_until(at) => Box::pin(self.on_time(due)).await,
                Ok(()) = missed.changed() => {
                    self.list_soon();
                    Ok(())
                }
                open = listed(&mut self.listing) => Box::pin(self.on_list(open)).await,
                notice = next_notice(self.live, &mut self.held, &self.peer) => {
                    if self.live {
                        Box::pin(self.on_notice(&notice)).await
                    } else {
                        Box::pin(self.hold(notice)).await
                    }
                }
                Some(answered) = next_answer(&mut self.used, &self.gateway.bus) => Box::pin(self.on_answer(answered)).await,
                delivery = self.peer.deliveries.next(), if self.live && !reads_first => Box::pin(self.write_from(delivery)).await,
                received = self.socket.receive(), if has_room && !self.timer.is_closing() => {
                    Box::pin(self.on_received(received)).await
                }
                delivery = self.peer.deliveries.next(), if self.live && reads_first => Box::pin(self.write_from(delivery)).await,
                () = ready(()), if self.unflushed => Box::pin(self.flush()).await,
            };
            match done {
                Ok(()) => {}
                Err(reason) if reason.is_by_client() => return Box::pin(self.finish(reason)).await,
                Err(reason) => return reason,
            }
        }
    }

    async fn on_time(&mut self, due: Due) -> Result<(), Close> {
        match due {
            Due::Beat => self.beat().await,
            Due::Resume => Err(Close::ResumeExpected),
            Due::List => {
                self.list();
                Ok(())
            }
            Due::Warning => {
                let seconds = self.timer.warned();
                self.write(&ServerFrame::TokenExpiring { seconds }).await
            }
            Due::Expiry => Err(Close::SessionEnded),
            Due::Closing => Err(Close::Restart),
        }
    }

    /// Tells the client that this gateway stops, and when it will be closed.
    async fn drain(&mut self) -> Result<(), Close> {
        let delay = self.drain_delay();
        self.timer.close_in(delay);
        let reconnect_after_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.write(&ServerFrame::Goaway { reconnect_after_ms })
            .await
    }

    /// When to close while draining: spread, so that clients do not all return at once.
    fn drain_delay(&self) -> Duration {
        let connections = self.gateway.registry.len();
        let spread = Duration::from_secs_f64(connections as f64 / CLOSES_PER_SECOND)
            .min(self.gateway.settings.longest_drain());
        spread.mul_f64(f64::from(uuid::Uuid::new_v4().as_bytes()[0]) / 256.0)
    }

    async fn on_received(&mut self, received: Result<Received, Error>) -> Result<(), Close> {
        match received {
            Ok(Received::Message(message)) => self.on_message(message).await,
            Ok(Received::Closing) => Err(Close::Done),
            Err(error) => Err(Close::of_error(&error)),
        }
    }

    async fn on_message(&mut self, message: Message) -> Result<(), Close> {
        match message {
            Message::Text(text) => self.on_text(&text).await,
            Message::Binary(_) => {
                self.refuse_garbage(FrameError {
                    code: ErrorCode::Unsupported,
                    detail: "Binary frames are not supported.".to_owned(),
                    answers: None,
                    client_id: None,
                })
                .await
            }
            // Pings are answered by tungstenite.
            _ => Ok(()),
        }
    }

    async fn beat(&mut self) -> Result<(), Close> {
        // In the midst of a frame a client cannot answer a ping: a large one may take long to come.
        if self.socket.has_come() {
            self.unanswered = 0;
        }
        if self.unanswered >= 2 {
            return Err(Close::Gone);
        }
        self.unanswered += 1;
        self.timer.beat_in(self.gateway.settings.heartbeat());
        self.send(Message::Ping(Default::default())).await
    }

    async fn write(&mut self, frame: &ServerFrame) -> Result<(), Close> {
        self.send(Message::Text(encode(frame))).await
    }

    async fn send(&mut self, message: Message) -> Result<(), Close> {
        written(timeout(WRITE_TIMEOUT, self.socket.send(message)).await)
    }

    /// Answers a malformed frame; a flood of them ends the connection.
    async fn refuse_garbage(&mut self, error: FrameError) -> Result<(), Close> {
        if self.garbage_since.elapsed() > GARBAGE_WINDOW {
            (self.garbage, self.garbage_since) = (0, Instant::now());
        }
        self.garbage += 1;
        if self.garbage > MAX_GARBAGE {
            return Err(Close::Flood);
        }
        let FrameError {
            code,
            detail,
            answers,
            client_id,
        } = error;
        self.refuse_frame(code, detail, answers, client_id).await
    }

    async fn refuse_frame(
        &mut self,
        code: ErrorCode,
        detail: impl Into<String>,
        answers: Option<String>,
        client_id: Option<String>,
    ) -> Result<(), Close> {
        let detail = detail.into();
        self.write(&ServerFrame::Error(ServerError {
            code,
            detail,
            answers,
            client_id,
            retry_after_ms: None,
        }))
        .await
    }

    /// Writes a delivery and those that wait behind it. They are flushed with what follows.
    async fn write_from(&mut self, first: Delivery) -> Result<(), Close> {
        let mut next = Some(first);
        let mut count = 0;
        while let Some(delivery) = next {
            self.take_notices().await?;
            match &delivery {
                Delivery::Presence(frames) => {
                    for frame in frames.iter() {
                        self.feed(frame.clone()).await?;
                    }
                }
                delivery => {
                    if let Some(frame) = self.take(delivery) {
                        self.feed(frame).await?;
                        if let Delivery::Log(log) = delivery {
                            self.confirm(log);
                        }
                    }
                }
            }
            count += 1;
            next = if count < WRITE_BATCH {
                self.peer.deliveries.pop()
            } else {
                None
            };
        }
        metrics::counter!("gateway_deliveries_total").increment(count as u64);
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Close> {
        self.unflushed = false;
        written(timeout(WRITE_TIMEOUT, self.socket.flush()).await)
    }

    /// Writes a frame without flushing it: that is done once nothing more is to be written.
    async fn feed(&mut self, frame: Utf8Bytes) -> Result<(), Close> {
        self.unflushed = true;
        let fed = self.socket.feed(Message::Text(frame));
        written(timeout(WRITE_TIMEOUT, fed).await)
    }

    /// The frame of a delivery that this connection has not had, and should.
    fn take(&mut self, delivery: &Delivery) -> Option<Utf8Bytes> {
        match delivery {
            Delivery::Log(log) => {
                // Of a channel that was left meanwhile nothing more is shown.
                let newest = self.channels.get_mut(log.channel)?;
                if log.seq <= *newest {
                    return None;
                }
                *newest = log.seq;
                self.used.get_or_insert_default().delivered.note(log);
                log.text(&self.base_url)
            }
            // Several frames, which belong to no channel.
            Delivery::Presence(_) => None,
            Delivery::Ephemeral(shown) => {
                self.channels.get(shown.channel)?;
                Some(shown.frame.clone())
            }
            Delivery::Mark(mark) => {
                self.channels.get(mark.channel)?;
                let used = self.used.as_ref();
                let known = used.and_then(|used| used.marks.get(&mark.channel).copied());
                let known = known.unwrap_or_default();
                let (received, seen) = if mark.user == self.peer.user {
                    (known.received_seq, known.seen_seq)
                } else {
                    (known.friend_received_seq, known.friend_seen_seq)
                };
                let is_news = mark.received_seq > received || mark.seen_seq > seen;
                is_news.then(|| mark.frame.clone())
            }
        }
    }

    /// A client without `natter.v1` never confirms: a message that was written counts as received.
    fn confirm(&mut self, log: &LogDelivery) {
        if !self.full && log.kind == Kind::Message && log.sender != self.peer.user {
            let used = self.used.get_or_insert_default();
            let known = used.marks.entry(log.channel).or_default();
            known.received_seq = known.received_seq.max(log.seq);
            let marks = &self.gateway.marks;
            marks.add(log.channel, self.peer.user, log.message, false);
        }
    }

    /// Leaves the channels and closes the socket.
    async fn end(self: Box<Self>, reason: Close) {
        let Self {
            gateway,
            peer,
            channels,
            used,
            socket,
            ..
        } = *self;
        peer.closer.close(reason);
        let Used { on_close, left, .. } = used.map_or_else(Used::default, |used| *used);
        for (channel, ephemeral) in on_close {
            publish_ephemeral(&gateway, peer.user, channel, ephemeral).await;
        }
        gateway.presence.remove_connection(&peer).await;
        // `left` too: a channel may have been on its way out when the connection was closed.
        let channels = channels.ids().chain(left.into_keys());
        gateway.hub.leave(&peer, channels).await;
        refuse(socket, reason, Some(peer.user)).await;
    }
}

fn written(result: Result<Result<(), Error>, tokio::time::error::Elapsed>) -> Result<(), Close> {
    match result {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Close::Done),
        Err(_) => Err(Close::WriteTimeout),
    }
}

/// The next notice. A live connection gets the held notices first.
async fn next_notice(live: bool, held: &mut VecDeque<Notice>, peer: &Peer) -> Notice {
    match held.pop_front_if(|_| live) {
        Some(notice) => notice,
        None => peer.notices.next().await,
    }
}
