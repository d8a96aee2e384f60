//! Who of a connection's friends is online.
//!
//! A gateway says on `presence.user.<user>` when a user's first connection comes and when the last
//! one goes; every gateway listens to all of it and tells the friends that it holds. A user is
//! online while one gateway says so, and for [`GRACE`] after the last took it back: coming back at
//! another gateway is not going away. Nothing is kept: who needs to know asks, and whoever holds
//! the user answers. A gateway that died answers no more, so its users are forgotten.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

use futures_util::StreamExt;
use natter_bus::{Bus, Subscriber, unread};
use natter_process::Process;
use natter_protocol::{
    FriendshipId, Timestamp, UserId,
    event::{Event, PresenceEvent, read},
    frame::ServerFrame,
    subject,
};
use tokio::{
    sync::mpsc,
    time::{Instant, interval},
};
use tokio_tungstenite::tungstenite::Utf8Bytes;
use uuid::Uuid;

use crate::{
    delivery::{Delivery, encode},
    peer::Peer,
};

/// For how long a user who is nowhere any more still counts as online.
const GRACE: Duration = Duration::from_secs(3);
const TICK: Duration = Duration::from_secs(1);
/// A gateway that has said nothing of a user for this long is asked about the user.
const ASK_AFTER: Duration = Duration::from_secs(60);
/// A gateway that has said nothing of a user for this long no longer counts as holding the user.
const FORGET_AFTER: Duration = Duration::from_secs(90);
/// How long an answer takes at most.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Users that one event asks for: about 20 KiB.
const MAX_ASKED: usize = 500;
/// Users who are announced in a tick once the broker is back: other gateways handle each.
const MAX_ANNOUNCED: usize = 2_000;
/// Commands that wait; who sends one more waits.
const COMMANDS: usize = 1_024;

/// How connections say whom they watch.
#[derive(Clone)]
pub struct Presence(mpsc::Sender<Command>);

enum Command {
    /// A connection has opened, with the friends of its channels.
    AddConnection(Arc<Peer>, Vec<(FriendshipId, UserId)>),
    AddFriend(u64, FriendshipId, UserId),
    RemoveFriend(u64, FriendshipId),
    RemoveConnection(u64),
}

struct Present {
    bus: Bus,
    /// This process, among the gateways.
    gateway: Uuid,
    /// How many connections each local user has.
    local: HashMap<UserId, usize>,
    peers: HashMap<u64, Connected>,
    watched: HashMap<UserId, Watched>,
    /// Users whom the next event asks about.
    to_ask: BTreeSet<UserId>,
    /// The local user whose event that will be.
    asker: Option<UserId>,
    /// Local users of whom the others may not have heard whether they are online: the broker was away.
    unsaid: BTreeSet<UserId>,
    /// Connections whose queues had no room: they get the present state of all their friends later.
    behind: BTreeSet<u64>,
}

struct Connected {
    peer: Arc<Peer>,
    friends: Vec<(FriendshipId, UserId)>,
}

/// A friend of somebody here.
#[derive(Default)]
struct Watched {
    watchers: Vec<u64>,
    /// The gateways that hold connections of them, and when each last said so.
    held_by: Vec<(Uuid, Instant)>,
    /// Since when no gateway holds connections of them.
    gone_at: Option<Instant>,
    last_seen: Option<Timestamp>,
    /// What the watchers were told.
    shown_online: bool,
}

impl Presence {
    pub async fn start(bus: &Bus, process: &Process) -> anyhow::Result<Self> {
        let mut all = bus
            .subscribe(vec![subject::ALL_PRESENCE.to_owned()])
            .await?;
        let events = all
            .pop()
            .ok_or_else(|| anyhow::anyhow!("no subscription"))?;
        let (commands, received) = mpsc::channel(COMMANDS);
        let present = Present {
            bus: bus.clone(),
            gateway: Uuid::new_v4(),
            local: HashMap::new(),
            peers: HashMap::new(),
            watched: HashMap::new(),
            to_ask: BTreeSet::new(),
            asker: None,
            unsaid: BTreeSet::new(),
            behind: BTreeSet::new(),
        };
        let stop = process.shutdown.clone();
        process.tasks.spawn(async move {
            present.run(received, events, stop).await;
        });
        Ok(Self(commands))
    }

    pub async fn add_connection(&self, peer: &Arc<Peer>, friends: Vec<(FriendshipId, UserId)>) {
        self.send(Command::AddConnection(peer.clone(), friends))
            .await;
    }

    pub async fn add_friend(&self, peer: &Peer, channel: FriendshipId, friend: UserId) {
        self.send(Command::AddFriend(peer.id, channel, friend))
            .await;
    }

    pub async fn remove_friend(&self, peer: &Peer, channel: FriendshipId) {
        self.send(Command::RemoveFriend(peer.id, channel)).await;
    }

    pub async fn remove_connection(&self, peer: &Peer) {
        self.send(Command::RemoveConnection(peer.id)).await;
    }

    async fn send(&self, command: Command) {
        // A task that has ended has told everybody.
        let _ = self.0.send(command).await;
    }
}

impl Present {
    /// Runs until the process stops and the last connection has gone.
    async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut events: Subscriber,
        stop: tokio_util::sync::CancellationToken,
    ) {
        let mut tick = interval(TICK);
        let mut missed = self.bus.missed();
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.handle(command).await,
                    None => return,
                },
                Some(message) = events.next() => {
                    match read::<Event<PresenceEvent>>(&message.payload) {
                        Ok(event) => self.on_presence(event.body).await,
                        Err(reason) => unread("presence", &reason),
                    }
                }
                Ok(()) = missed.changed() => self.doubt_all(),
                _ = tick.tick() => self.tick().await,
                // The last events must not be lost with the connection to the broker.
                () = stop.cancelled(), if self.peers.is_empty() => return self.bus.flush().await,
            }
            if commands.is_empty() {
                self.ask().await;
            }
        }
    }

    async fn handle(&mut self, command: Command) {
        match command {
            Command::AddConnection(peer, friends) => {
                let connections = self.local.entry(peer.user).or_default();
                *connections += 1;
                if *connections == 1 {
                    self.announce(peer.user).await;
                }
                self.asker = Some(peer.user);
                let id = peer.id;
                for (_, friend) in &friends {
                    watch(&mut self.watched, &mut self.to_ask, id, *friend);
                }
                self.peers.insert(id, Connected { peer, friends });
                self.show_all(id);
            }
            Command::AddFriend(id, channel, friend) => {
                let Some(connected) = self.peers.get_mut(&id) else {
                    return;
                };
                connected.friends.push((channel, friend));
                self.asker = Some(connected.peer.user);
                let watched = watch(&mut self.watched, &mut self.to_ask, id, friend);
                if watched.shown_online {
                    let frames = [watched.frame(friend)].into();
                    if !connected.peer.offer(Delivery::Presence(frames)) {
                        self.behind.insert(id);
                    }
                }
            }
            Command::RemoveFriend(id, channel) => {
                let Some(connected) = self.peers.get_mut(&id) else {
                    return;
                };
                let place = connected
                    .friends
                    .iter()
                    .position(|(known, _)| *known == channel);
                if let Some(place) = place {
                    let (_, friend) = connected.friends.swap_remove(place);
                    unwatch(&mut self.watched, id, friend);
                }
            }
            Command::RemoveConnection(id) => {
                let Some(Connected { peer, friends }) = self.peers.remove(&id) else {
                    return;
                };
                for (_, friend) in friends {
                    unwatch(&mut self.watched, id, friend);
                }
                if let Entry::Occupied(mut connections) = self.local.entry(peer.user) {
                    *connections.get_mut() -= 1;
                    if *connections.get() == 0 {
                        connections.remove();
                        self.announce(peer.user).await;
                    }
                }
            }
        }
    }

    /// Tells a connection the presence of each of its friends about whom something is known.
    fn show_all(&mut self, id: u64) {
        let Some(connected) = self.peers.get(&id) else {
            return;
        };
        let known = connected.friends.iter().filter_map(|(_, friend)| {
            let watched = self.watched.get(friend)?;
            watched.last_seen.map(|_| watched.frame(*friend))
        });
        let known: Vec<Utf8Bytes> = known.collect();
        if !known.is_empty() && !connected.peer.offer(Delivery::Presence(known.into())) {
            self.behind.insert(id);
        }
    }

    /// Tells the others whether a user is connected here; if it cannot now, later. Returns whether
    /// it did.
    async fn announce(&mut self, user: UserId) -> bool {
        let is_local = self.local.contains_key(&user);
        let is_said = self.publish(user, is_local, Vec::new()).await;
        if !is_said {
            self.unsaid.insert(user);
        }
        is_said
    }

    /// Publishes whether a local user is online, and asks about others. Returns whether it did,
    /// which it does not while the broker is away.
    async fn publish(&self, user: UserId, online: bool, asks: Vec<UserId>) -> bool {
        if !self.bus.is_connected() {
            return false;
        }
        let event = Event::new(PresenceEvent {
            user,
            online,
            last_seen: Timestamp::now(),
            gateway: self.gateway,
            asks,
        });
        let said = self.bus.publish(subject::presence(user), &event).await;
        if let Err(error) = said {
            tracing::info!(%error, "presence could not be published");
            return false;
        }
        true
    }

    async fn on_presence(&mut self, event: PresenceEvent) {
        for asked in event.asks {
            if self.local.contains_key(&asked) {
                self.announce(asked).await;
            }
        }
        let Some(watched) = self.watched.get_mut(&event.user) else {
            return;
        };
        let now = Instant::now();
        watched
            .held_by
            .retain(|(gateway, _)| *gateway != event.gateway);
        watched.last_seen = watched.last_seen.max(Some(event.last_seen));
        if event.online {
            // One gateway most of the time: room for one.
            watched.held_by.reserve_exact(1);
            watched.held_by.push((event.gateway, now));
            watched.gone_at = None;
            if !watched.shown_online {
                self.show(event.user, true);
            }
        } else if watched.held_by.is_empty() {
            watched.gone_at = watched.gone_at.or(Some(now));
        }
    }

    /// Tells those who watch a user.
    fn show(&mut self, user: UserId, online: bool) {
        let Some(watched) = self.watched.get_mut(&user) else {
            return;
        };
        watched.shown_online = online;
        let frame = watched.frame(user);
        for id in &watched.watchers {
            let frames = [frame.clone()].into();
            let connected = self.peers.get(id);
            if connected.is_some_and(|one| !one.peer.offer(Delivery::Presence(frames))) {
                self.behind.insert(*id);
            }
        }
    }

    async fn tick(&mut self) {
        let now = Instant::now();
        let mut gone = Vec::new();
        for (user, watched) in &mut self.watched {
            watched
                .held_by
                .retain(|(_, heard)| now - *heard < FORGET_AFTER);
            if watched.held_by.is_empty() && watched.shown_online {
                let gone_at = *watched.gone_at.get_or_insert(now);
                if now - gone_at >= GRACE {
                    gone.push(*user);
                }
            }
            if watched
                .held_by
                .iter()
                .any(|(_, heard)| now - *heard >= ASK_AFTER)
            {
                self.to_ask.insert(*user);
            }
        }
        for user in gone {
            self.show(user, false);
        }
        for id in std::mem::take(&mut self.behind) {
            self.show_all(id);
        }
        for _ in 0..MAX_ANNOUNCED {
            let Some(user) = self.unsaid.pop_first() else {
                return;
            };
            if !self.announce(user).await {
                return;
            }
        }
    }

    /// Events may have been missed, here and of what was told from here: announces every local user,
    /// and asks about every watched one again. A gateway that does not answer within
    /// [`ANSWER_WITHIN`] no longer counts as holding the user.
    fn doubt_all(&mut self) {
        self.unsaid.extend(self.local.keys());
        let doubted = Instant::now().checked_sub(FORGET_AFTER.saturating_sub(ANSWER_WITHIN));
        for (user, watched) in &mut self.watched {
            self.to_ask.insert(*user);
            for (_, heard) in &mut watched.held_by {
                *heard = doubted.map_or(*heard, |doubted| doubted.min(*heard));
            }
        }
    }

    async fn ask(&mut self) {
        let asker = self.asker.filter(|asker| self.local.contains_key(asker));
        let asker = asker.or_else(|| self.local.keys().next().copied());
        let Some(asker) = asker else { return };
        while !self.to_ask.is_empty() {
            let asks: Vec<UserId> = self.to_ask.iter().take(MAX_ASKED).copied().collect();
            // Those that were not asked about stay for the next time.
            if !self.publish(asker, true, asks.clone()).await {
                return;
            }
            for asked in &asks {
                self.to_ask.remove(asked);
            }
        }
    }
}

impl Watched {
    fn frame(&self, user: UserId) -> Utf8Bytes {
        encode(&ServerFrame::Presence {
            user,
            online: self.shown_online,
            last_seen: self.last_seen,
        })
    }
}

fn watch<'a>(
    all: &'a mut HashMap<UserId, Watched>,
    to_ask: &mut BTreeSet<UserId>,
    peer: u64,
    friend: UserId,
) -> &'a mut Watched {
    let watched = all.entry(friend).or_insert_with(|| {
        to_ask.insert(friend);
        Watched::default()
    });
    watched.watchers.push(peer);
    watched
}

fn unwatch(all: &mut HashMap<UserId, Watched>, peer: u64, friend: UserId) {
    if let Entry::Occupied(mut watched) = all.entry(friend) {
        watched.get_mut().watchers.retain(|id| *id != peer);
        if watched.get().watchers.is_empty() {
            watched.remove();
        }
    }
}
