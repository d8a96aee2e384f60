//! A share of the channels, owned by one task.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

use futures_util::{
    StreamExt,
    stream::{AbortHandle, Abortable, SelectAll, abortable},
};
use natter_bus::{Bus, Message, Subscriber, pass_over, process_span, unread};
use natter_process::Process;
use natter_protocol::{
    FriendshipId, MessageId, Timestamp, UserId,
    call::{GetAfter, GetHeads, MAX_AFTER, MAX_HEADS, TellMarks},
    ephemeral::EphemeralEvent,
    event::{Event as BusEvent, LogEvent, MarkEvent, Unread, read},
    frame::{self, ServerFrame},
    message::Kind,
    subject::{self, Chat},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, interval, sleep, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Command, Look, ordered::Ordered};
use crate::{
    close::Close,
    delivery::{Delivery, EphemeralDelivery, Frame, LogDelivery, MarkDelivery, encode},
    peer::Peer,
};

/// How long an early event waits for its predecessor before that is fetched.
const GAP_PATIENCE: Duration = Duration::from_millis(20);
/// How long a new subscription takes to be known to every server of a NATS cluster. What is published
/// at another server until then is found by comparing heads.
const SETTLE: Duration = Duration::from_secs(1);
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// How many times marks are asked for before it is given up: a messages service of the previous
/// version does not answer.
const MARKS_TRIES: usize = 20;
/// How often heads are compared although nothing says that anything was lost.
const AUDIT_EVERY: Duration = Duration::from_secs(60);

/// What a task of a shard found, and the shard's `generation` when the task was started.
pub(super) struct Report {
    generation: u64,
    event: ShardEvent,
}

enum ShardEvent {
    /// Subscriptions stand, each with the head of its log read after that.
    Opened(Vec<(FriendshipId, Subscriber, u64)>),
    /// They could not be made.
    NotOpened(Vec<FriendshipId>),
    /// An event has waited for its predecessor.
    GapDue(FriendshipId),
    /// What was missing, as far as it could be had.
    Fetched(FriendshipId, Option<Vec<LogEvent>>),
    /// How far the logs of some channels, and of all channels, reach.
    Heads(Vec<Compared>),
    AllHeads(Vec<Compared>),
    /// Marks were asked for.
    Asked,
}

/// How far a channel's log was delivered when its head was asked for, and that head.
struct Compared {
    channel: FriendshipId,
    delivered: u64,
    head: u64,
}

enum Slot {
    Opening(Vec<Waiter>),
    Open(Channel),
}

struct Waiter {
    peer: Arc<Peer>,
    live: bool,
    answer: oneshot::Sender<u64>,
}

struct Channel {
    ordered: Ordered,
    members: Vec<Member>,
    /// The marks of the two users that were delivered here. Two replicas of the messages service
    /// may publish marks in another order than they stored them.
    marks: Vec<UserMarks>,
    /// Ends the subscription.
    interest: AbortHandle,
    fetching: bool,
}

struct UserMarks {
    user: UserId,
    received_seq: u64,
    seen_seq: u64,
    /// The messages of the marks that were delivered last: the received one, and the seen one.
    told: [Option<MessageId>; 2],
}

struct Member {
    peer: Arc<Peer>,
    live: bool,
}

struct Shard {
    bus: Bus,
    tasks: TaskTracker,
    stop: CancellationToken,
    own: mpsc::WeakSender<Command>,
    channels: HashMap<FriendshipId, Slot>,
    /// Heads are being asked for, and whether to ask once more then: what was lost since may be
    /// newer than the answer.
    comparing: bool,
    compare_again: bool,
    /// The same for marks that may have been missed.
    asking: bool,
    ask_again: bool,
    /// Grows when all channels are dropped: what tasks report about older ones is ignored.
    generation: u64,
    /// Channels that were opened lately, in that order, and when their heads are compared once more.
    opened: VecDeque<(Instant, FriendshipId)>,
    messages: SelectAll<Abortable<Subscriber>>,
}

/// Starts a shard; returns the sender of its commands.
pub(super) fn start(bus: &Bus, process: &Process, queue: usize) -> mpsc::Sender<Command> {
    let (commands, received) = mpsc::channel(queue);
    let shard = Shard {
        bus: bus.clone(),
        tasks: process.tasks.clone(),
        stop: process.shutdown.clone(),
        own: commands.downgrade(),
        channels: HashMap::new(),
        comparing: false,
        compare_again: false,
        asking: false,
        ask_again: false,
        generation: 0,
        opened: VecDeque::new(),
        messages: SelectAll::new(),
    };
    process.tasks.spawn(shard.run(received));
    commands
}

impl Shard {
    /// Runs until the process stops and the last connection has left.
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut missed = self.bus.missed();
        let mut audit = interval(AUDIT_EVERY);
        let stop = self.stop.clone();
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.handle(command),
                    None => return,
                },
                Some(message) = self.messages.next(), if !self.messages.is_empty() => {
                    self.receive(&message);
                }
                Ok(()) = missed.changed() => {
                    self.compare_all();
                    self.ask_for_marks();
                }
                _ = audit.tick() => self.compare_all(),
                () = settled(self.opened.front()) => self.compare_settled(),
                () = stop.cancelled(), if self.channels.is_empty() => return,
            }
        }
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Join {
                peer,
                channels,
                live,
            } => self.join(&peer, channels, live),
            Command::Activate { peer, channels } => {
                for (id, answer) in channels {
                    let Some(Slot::Open(channel)) = self.channels.get_mut(&id) else {
                        continue;
                    };
                    let members = &mut channel.members;
                    if let Some(member) = members.iter_mut().find(|member| member.peer.id == peer) {
                        member.live = true;
                        let _ = answer.send(channel.ordered.head());
                    }
                }
            }
            Command::Leave { peer, channels } => {
                for id in channels {
                    self.leave(id, peer);
                }
            }
            Command::Look(id, answer) => {
                if let Some(Slot::Open(channel)) = self.channels.get(&id) {
                    let members = channel.members.iter();
                    let _ = answer.send(Look {
                        head: channel.ordered.head(),
                        members: members.map(|one| (one.peer.id, one.live)).collect(),
                    });
                }
            }
            Command::Forget(done) => {
                for (_, slot) in self.channels.drain() {
                    if let Slot::Open(channel) = slot {
                        channel.interest.abort();
                    }
                }
                // What is on its way is about channels that are gone.
                self.generation += 1;
                self.opened.clear();
                (self.comparing, self.compare_again) = (false, false);
                (self.asking, self.ask_again) = (false, false);
                let _ = done.send(());
            }
            Command::Event(Report { generation, event }) => {
                if generation == self.generation {
                    self.on_event(event);
                }
            }
        }
    }

    fn join(
        &mut self,
        peer: &Arc<Peer>,
        channels: Vec<(FriendshipId, oneshot::Sender<u64>)>,
        live: bool,
    ) {
        let mut fresh = Vec::new();
        for (id, answer) in channels {
            let waiter = Waiter {
                peer: peer.clone(),
                live,
                answer,
            };
            match self.channels.entry(id) {
                Entry::Occupied(mut slot) => match slot.get_mut() {
                    Slot::Opening(waiters) => waiters.push(waiter),
                    Slot::Open(channel) => channel.admit(waiter),
                },
                Entry::Vacant(slot) => {
                    slot.insert(Slot::Opening(vec![waiter]));
                    fresh.push(id);
                }
            }
        }
        if !fresh.is_empty() {
            let bus = self.bus.clone();
            self.report(async move {
                match open(&bus, &fresh).await {
                    Ok(opened) => ShardEvent::Opened(opened),
                    Err(error) => {
                        tracing::warn!("channels cannot be joined: {error:#}");
                        ShardEvent::NotOpened(fresh)
                    }
                }
            });
        }
    }

    fn leave(&mut self, id: FriendshipId, peer: u64) {
        let is_empty = match self.channels.get_mut(&id) {
            Some(Slot::Open(channel)) => {
                channel.members.retain(|member| member.peer.id != peer);
                channel.members.is_empty()
            }
            // A channel that nobody waits for any more is dropped once it is open.
            Some(Slot::Opening(waiters)) => {
                waiters.retain(|waiter| waiter.peer.id != peer);
                false
            }
            None => false,
        };
        if is_empty && let Some(Slot::Open(channel)) = self.channels.remove(&id) {
            channel.interest.abort();
        }
    }

    fn on_event(&mut self, event: ShardEvent) {
        match event {
            ShardEvent::Opened(opened) => {
                for (id, subscriber, head) in opened {
                    self.opened(id, subscriber, head);
                }
            }
            // Dropping the waiters' senders is their answer.
            ShardEvent::NotOpened(ids) => {
                for id in ids {
                    self.channels.remove(&id);
                }
            }
            ShardEvent::GapDue(id) => match self.channels.get_mut(&id) {
                Some(Slot::Open(channel)) if channel.ordered.has_gap() => {
                    metrics::counter!("gaps_fetched_total").increment(1);
                    let after = channel.ordered.head();
                    self.fetch(id, after);
                }
                Some(Slot::Open(channel)) => channel.fetching = false,
                _ => {}
            },
            ShardEvent::Fetched(id, events) => self.fetched(id, events),
            ShardEvent::Heads(heads) => {
                for compared in heads {
                    self.compared(compared);
                }
            }
            ShardEvent::AllHeads(heads) => {
                self.comparing = false;
                for compared in heads {
                    self.compared(compared);
                }
                if std::mem::take(&mut self.compare_again) {
                    self.compare_all();
                }
            }
            ShardEvent::Asked => {
                self.asking = false;
                if std::mem::take(&mut self.ask_again) {
                    self.ask_for_marks();
                }
            }
        }
    }

    fn opened(&mut self, id: FriendshipId, subscriber: Subscriber, head: u64) {
        let Some(Slot::Opening(waiters)) = self.channels.remove(&id) else {
            return;
        };
        if waiters.is_empty() {
            return;
        }
        let (messages, interest) = abortable(subscriber);
        self.messages.push(messages);
        let mut channel = Channel {
            ordered: Ordered::after(head),
            members: Vec::with_capacity(waiters.len()),
            marks: Vec::new(),
            interest,
            fetching: false,
        };
        for waiter in waiters {
            channel.admit(waiter);
        }
        self.channels.insert(id, Slot::Open(channel));
        self.opened.push_back((Instant::now() + SETTLE, id));
    }

    fn receive(&mut self, message: &Message) {
        let Some((id, what)) = subject::parse_chat(&message.subject) else {
            return;
        };
        let Some(Slot::Open(channel)) = self.channels.get_mut(&id) else {
            return;
        };
        match what {
            Chat::Log => match read::<LogEvent>(&message.payload) {
                Ok(event) if event.channel == id => {
                    let _in_trace = process_span(subject::ALL_LOGS, message).entered();
                    channel.accept(event);
                    self.mend(id, GAP_PATIENCE);
                }
                Ok(_) => tracing::warn!(channel = %id, "an event of another channel"),
                Err(reason) => unread("log", &reason),
            },
            Chat::Mark => match read::<BusEvent<MarkEvent>>(&message.payload) {
                Ok(event) => channel.deliver_mark(&event.body),
                Err(reason) => unread("mark", &reason),
            },
            Chat::Ephemeral => match read::<BusEvent<EphemeralEvent>>(&message.payload) {
                Ok(event) => channel.deliver_ephemeral(&event.body),
                Err(reason) => unread("ephemeral", &reason),
            },
        }
    }

    /// Fetches what is missing, after giving it a moment to come by itself.
    fn mend(&mut self, id: FriendshipId, patience: Duration) {
        let Some(Slot::Open(channel)) = self.channels.get_mut(&id) else {
            return;
        };
        if channel.fetching || !channel.ordered.has_gap() {
            return;
        }
        channel.fetching = true;
        self.report(async move {
            sleep(patience).await;
            ShardEvent::GapDue(id)
        });
    }

    fn fetch(&self, id: FriendshipId, after_seq: u64) {
        let bus = self.bus.clone();
        self.report(async move {
            let call = GetAfter {
                channel: id,
                after_seq,
                limit: MAX_AFTER,
            };
            match bus.call(&call).await {
                Ok(events) => ShardEvent::Fetched(id, Some(events)),
                Err(error) => {
                    tracing::warn!(channel = %id, %error, "missing events cannot be fetched yet");
                    ShardEvent::Fetched(id, None)
                }
            }
        });
    }

    fn fetched(&mut self, id: FriendshipId, events: Option<Vec<LogEvent>>) {
        let Some(Slot::Open(channel)) = self.channels.get_mut(&id) else {
            return;
        };
        channel.fetching = false;
        let before = channel.ordered.head();
        for event in events.into_iter().flatten() {
            channel.accept(event);
        }
        let patience = if channel.ordered.head() > before {
            Duration::ZERO
        } else {
            RETRY_PAUSE
        };
        self.mend(id, patience);
    }

    /// Asks the messages service to publish the marks of all open channels again, since no stream
    /// keeps them and some may have been missed. Clients get only those that are new here.
    fn ask_for_marks(&mut self) {
        if std::mem::replace(&mut self.asking, true) {
            self.ask_again = true;
            return;
        }
        let channels: Vec<FriendshipId> = self.channels.keys().copied().collect();
        let (bus, stop) = (self.bus.clone(), self.stop.clone());
        self.report(async move {
            for channels in channels.chunks(MAX_HEADS) {
                let channels = channels.to_vec();
                let call = TellMarks { channels };
                for _ in 0..MARKS_TRIES {
                    match bus.call(&call).await {
                        Ok(()) => break,
                        Err(error) => tracing::info!(%error, "marks may be missing"),
                    }
                    if stop.is_cancelled() {
                        return ShardEvent::Asked;
                    }
                    sleep(RETRY_PAUSE).await;
                }
            }
            ShardEvent::Asked
        });
    }

    /// Asks how far the logs of all open channels reach, and fetches what did not come.
    fn compare_all(&mut self) {
        if std::mem::replace(&mut self.comparing, true) {
            self.compare_again = true;
            return;
        }
        let all: Vec<FriendshipId> = self.channels.keys().copied().collect();
        self.compare(all, ShardEvent::AllHeads);
    }

    /// Compares the heads of the channels that were opened [`SETTLE`] ago.
    fn compare_settled(&mut self) {
        let now = Instant::now();
        let mut channels = Vec::new();
        while let Some((_, id)) = self.opened.pop_front_if(|(at, _)| *at <= now) {
            channels.push(id);
        }
        self.compare(channels, ShardEvent::Heads);
    }

    fn compare(&self, channels: Vec<FriendshipId>, event: fn(Vec<Compared>) -> ShardEvent) {
        let delivered: Vec<(FriendshipId, u64)> = channels
            .into_iter()
            .filter_map(|id| match self.channels.get(&id) {
                Some(Slot::Open(channel)) => Some((id, channel.ordered.head())),
                _ => None,
            })
            .collect();
        let (bus, stop) = (self.bus.clone(), self.stop.clone());
        self.report(async move {
            let mut compared = Vec::with_capacity(delivered.len());
            for some in delivered.chunks(MAX_HEADS) {
                let channels = some.iter().map(|(id, _)| *id).collect();
                let call = GetHeads { channels };
                while !stop.is_cancelled() {
                    match bus.call(&call).await {
                        Ok(heads) => {
                            compared.extend(some.iter().filter_map(|(channel, delivered)| {
                                Some(Compared {
                                    channel: *channel,
                                    delivered: *delivered,
                                    head: *heads.get(channel)?,
                                })
                            }));
                            break;
                        }
                        Err(error) => tracing::info!(%error, "heads cannot be compared yet"),
                    }
                    sleep(RETRY_PAUSE).await;
                }
            }
            event(compared)
        });
    }

    /// Fetches what a log has and did not come. If the log ends before what was delivered, closes
    /// the connections of its members, to resume.
    fn compared(&mut self, compared: Compared) {
        let Compared {
            channel: id,
            delivered,
            head,
        } = compared;
        let Some(Slot::Open(channel)) = self.channels.get_mut(&id) else {
            return;
        };
        if head >= delivered {
            channel.ordered.exists(head);
            return self.mend(id, Duration::ZERO);
        }
        tracing::error!(channel = %id, head, delivered, "a log was set back");
        for member in &channel.members {
            member.peer.closer.close(Close::SetBack);
        }
        channel.interest.abort();
        self.channels.remove(&id);
    }

    /// Runs a task and gives its result to this shard.
    fn report(&self, task: impl Future<Output = ShardEvent> + Send + 'static) {
        let (own, generation) = (self.own.clone(), self.generation);
        self.tasks.spawn(async move {
            let event = task.await;
            if let Some(own) = own.upgrade() {
                let report = Report { generation, event };
                let _ = own.send(Command::Event(report)).await;
            }
        });
    }
}

impl Channel {
    fn admit(&mut self, waiter: Waiter) {
        let Waiter { peer, live, answer } = waiter;
        self.members.retain(|member| member.peer.id != peer.id);
        self.members.push(Member { peer, live });
        let _ = answer.send(self.ordered.head());
    }

    fn accept(&mut self, event: LogEvent) {
        for event in self.ordered.accept(event) {
            if event.kind == Kind::Unknown {
                let name = "log, of an unknown kind".to_owned();
                let version = event.version.into();
                pass_over(&Unread::Unknown { name, version });
            }
            // The clock of the messages replica against this machine's.
            let age = Timestamp::now().utc() - event.time.utc();
            metrics::histogram!("send_to_friend_seconds").record(age.to_std().unwrap_or_default());
            let delivery = Delivery::Log(Arc::new(log_delivery(event)));
            self.deliver(&delivery, |_| true);
        }
    }

    /// To every connection that is live and that `is_meant`.
    fn deliver(&self, delivery: &Delivery, is_meant: impl Fn(&Peer) -> bool) {
        for member in self.members.iter().filter(|member| member.live) {
            if is_meant(&member.peer) {
                member.peer.deliver(delivery.clone());
            }
        }
    }

    fn deliver_mark(&mut self, event: &MarkEvent) {
        let Some(event) = self.newer_mark(event) else {
            return;
        };
        let is_seen = event.seen_seq >= event.message.seq();
        let frame = ServerFrame::ChatFriendshipNotification(frame::Marks {
            channel: event.channel,
            user: event.user,
            message: event.message,
            is_received: true,
            is_seen,
            received_seq: event.received_seq,
            seen_seq: event.seen_seq,
        });
        let delivery = Delivery::Mark(Arc::new(MarkDelivery {
            channel: event.channel,
            user: event.user,
            received_seq: event.received_seq,
            seen_seq: event.seen_seq,
            frame: encode(&frame),
        }));
        self.deliver(&delivery, |_| true);
    }

    /// The mark as it is delivered: never behind what was delivered before; `None` if nothing in it
    /// is new.
    fn newer_mark(&mut self, event: &MarkEvent) -> Option<MarkEvent> {
        let known = self.marks.iter().position(|one| one.user == event.user);
        let known = known.unwrap_or_else(|| {
            self.marks.push(UserMarks {
                user: event.user,
                received_seq: 0,
                seen_seq: 0,
                told: [None; 2],
            });
            self.marks.len() - 1
        });
        let known = &mut self.marks[known];
        let ahead = event.received_seq > known.received_seq || event.seen_seq > known.seen_seq;
        let behind = event.received_seq < known.received_seq || event.seen_seq < known.seen_seq;
        let is_seen = event.seen_seq >= event.message.seq();
        // Marks whose received and seen messages differ come in two events, one for each message.
        let was_told = known.told[usize::from(is_seen)] == Some(event.message);
        let is_new = ahead || !behind && !was_told;
        known.told[usize::from(is_seen)] = Some(event.message);
        known.received_seq = known.received_seq.max(event.received_seq);
        known.seen_seq = known.seen_seq.max(event.seen_seq);
        is_new.then(|| MarkEvent {
            received_seq: known.received_seq,
            seen_seq: known.seen_seq,
            ..event.clone()
        })
    }

    /// To the friend's connections alone.
    fn deliver_ephemeral(&self, event: &EphemeralEvent) {
        let delivery = Delivery::Ephemeral(Arc::new(EphemeralDelivery {
            channel: event.channel,
            frame: event.frame().into(),
        }));
        self.deliver(&delivery, |peer| peer.user != event.user);
    }
}

/// Waits until the first of the channels that were opened lately has settled.
async fn settled(first: Option<&(Instant, FriendshipId)>) {
    match first {
        Some((at, _)) => sleep_until(*at).await,
        None => std::future::pending().await,
    }
}

/// Subscribes to channels and then, the server knowing of it, reads how far their logs reach:
/// whatever is committed later is published to these subscriptions.
async fn open(
    bus: &Bus,
    channels: &[FriendshipId],
) -> anyhow::Result<Vec<(FriendshipId, Subscriber, u64)>> {
    let subjects = channels.iter().map(|id| subject::chat(*id)).collect();
    let subscribers = bus.subscribe(subjects).await?;
    let mut heads = HashMap::new();
    for channels in channels.chunks(MAX_HEADS) {
        let channels = channels.to_vec();
        heads.extend(bus.call(&GetHeads { channels }).await?);
    }
    Ok(channels
        .iter()
        .zip(subscribers)
        .map(|(id, subscriber)| (*id, subscriber, heads.get(id).copied().unwrap_or_default()))
        .collect())
}

/// An event as a delivery, encoded for everyone who gets it.
pub fn log_delivery(event: LogEvent) -> LogDelivery {
    let (channel, seq, kind) = (event.channel, event.seq, event.kind);
    let (message, sender) = (event.message.id, event.message.sender);
    let has_files = !event.message.media.is_empty();
    let frame = if has_files {
        Some(Frame::WithFiles(Box::new(event)))
    } else {
        let frame = ServerFrame::of(event, "");
        frame.map(|frame| Frame::Shared(encode(&frame)))
    };
    LogDelivery {
        channel,
        seq,
        kind,
        message,
        sender,
        frame,
    }
}
