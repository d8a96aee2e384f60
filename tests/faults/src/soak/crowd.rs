//! Everybody who works with Natter during a run, and what they are to have in the end.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, ensure};
use natter_e2e::World;
use natter_test_support::{Choices, PATIENCE, Person, befriend};
use reqwest::Method;
use tokio::{
    sync::mpsc::{Sender, channel},
    task::JoinSet,
    time::{Instant, interval, sleep, timeout},
};

use super::{PAUSE, Soak, Tally, device::Device};
use crate::client::{Place, events_url, insist};

const CHURN_EVERY: Duration = Duration::from_secs(1);
/// Orders that wait for a device that is away or slow.
const ORDERS: usize = 1_000;
const SIDES: usize = 2;
/// A user's devices: one speaks `natter.v1`, one is basic.
const DEVICES: [bool; 2] = [true, false];

/// A channel and its two members.
pub(super) struct Room {
    pub(super) channel: String,
    pub(super) sides: [Person; SIDES],
    log: Mutex<Log>,
}

/// What is known of a channel's log: from acknowledgements, and from what devices were shown.
#[derive(Default)]
struct Log {
    /// By `seq`: the message that was sent, edited or deleted.
    entries: BTreeMap<u64, String>,
    /// By sender: the `seq` of the newest message.
    newest_of: BTreeMap<String, u64>,
}

impl Room {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn newest(&self) -> u64 {
        let newest = self.log().entries.last_key_value().map(|(seq, _)| *seq);
        newest.unwrap_or_default()
    }

    /// Whoever says first what stands at a place is held to it.
    pub(super) fn learn(&self, seq: u64, message: &str, tally: &Tally) {
        let mut log = self.log();
        let entry = log.entries.entry(seq);
        let known = entry.or_insert_with(|| message.to_owned());
        if known != message {
            let channel = &self.channel;
            tally.fault(format!("{seq} of {channel} is {known}, and is {message}"));
        }
    }

    /// The newest message of one side has this `seq`.
    pub(super) fn sent(&self, sender: &str, seq: u64) {
        let mut log = self.log();
        let newest = log.newest_of.entry(sender.to_owned()).or_default();
        *newest = seq.max(*newest);
    }
}

/// What a device is to do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    Say,
    Edit,
    Delete,
    Type,
    See,
    Leave,
}

/// How far a device is.
#[derive(Default)]
pub(super) struct Standing {
    /// Sends without an answer.
    pub(super) waiting: AtomicU64,
    /// The newest `seq` that it was shown.
    pub(super) newest: AtomicU64,
    /// The newest `seq` that it was told the other side has received.
    pub(super) received: AtomicU64,
}

/// A device as those who direct it know it.
struct Remote {
    name: String,
    user: String,
    is_full: bool,
    room: Arc<Room>,
    orders: Sender<Order>,
    standing: Arc<Standing>,
}

impl Remote {
    /// What it still lacks.
    fn lacks(&self) -> Option<String> {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let standing = &self.standing;
        let (waiting, newest) = (read(&standing.waiting), read(&standing.newest));
        let end = self.room.newest();
        let name = &self.name;
        if waiting > 0 {
            return Some(format!("{name}: {waiting} sends were never answered"));
        }
        if newest < end {
            return Some(format!(
                "{name} was shown {newest} of {end} entries of {}",
                self.room.channel
            ));
        }
        let sent = self.room.log().newest_of.get(&self.user).copied();
        let (sent, received) = (sent.unwrap_or_default(), read(&standing.received));
        (self.is_full && received < sent)
            .then(|| format!("{name} was told that {received} is received, and sent {sent}"))
    }
}

/// Everybody who works with Natter during the run.
pub(super) struct Crowd {
    pub(super) rooms: Vec<Arc<Room>>,
    remotes: Vec<Remote>,
    tasks: JoinSet<anyhow::Result<()>>,
    tally: Arc<Tally>,
}

impl Crowd {
    /// Signs everybody up and lets every device connect.
    pub(super) async fn gather(
        world: &World,
        place: &Place,
        tally: &Arc<Tally>,
        settings: Soak,
    ) -> anyhow::Result<Self> {
        let mut rooms = Vec::new();
        for _ in 0..settings.pairs {
            let one = Person::sign_up(&place.users, "one").await;
            let other = Person::sign_up(&place.users, "other").await;
            let channel = befriend(&place.friendships, &one, &other).await;
            rooms.push(Arc::new(Room {
                channel,
                sides: [one, other],
                log: Mutex::default(),
            }));
        }
        // Who connects now is told of what happens from now on.
        world.published().await;
        let mut crowd = Self {
            rooms,
            remotes: Vec::new(),
            tasks: JoinSet::new(),
            tally: tally.clone(),
        };
        for room in crowd.rooms.clone() {
            for person in &room.sides {
                for is_full in DEVICES {
                    let session = person.log_in(&place.users).await;
                    crowd.add(place, session, is_full, &room, settings.seed);
                }
            }
        }
        Ok(crowd)
    }

    fn add(&mut self, place: &Place, person: Person, is_full: bool, room: &Arc<Room>, seed: u64) {
        let (orders, told) = channel(ORDERS);
        let standing = Arc::<Standing>::default();
        let kind = if is_full { "full" } else { "basic" };
        let name = format!("{}-{kind}", person.username);
        let series = self.remotes.len() as u64;
        self.remotes.push(Remote {
            name: name.clone(),
            user: person.id.clone(),
            is_full,
            room: room.clone(),
            orders,
            standing: standing.clone(),
        });
        let device = Device {
            name,
            person,
            is_full,
            place: place.clone(),
            room: room.clone(),
            choices: Choices::new(seed, series),
            socket: None,
            standing,
            tally: self.tally.clone(),
            waiting: BTreeMap::new(),
            own: Vec::new(),
            theirs: None,
            newest: 0,
            fetched: 0,
            is_closed: false,
            may_lack: false,
            sent: 0,
        };
        self.tasks.spawn(device.live(told));
    }

    /// Keeps the rate, whatever the answers take, and lets connections come and go.
    pub(super) async fn drive(&mut self, settings: Soak, over: Instant) -> anyhow::Result<()> {
        let mut choices = Choices::new(settings.seed, 1_000);
        let mut ticks = interval(Duration::from_secs(1) / settings.rate);
        let mut churn = interval(CHURN_EVERY);
        let mut sends = self.remotes.iter().cycle();
        while Instant::now() < over {
            tokio::select! {
                _ = ticks.tick() => {
                    let remote = sends.next().context("a device")?;
                    self.order(remote, Order::Say);
                    let other = choices.of(&self.remotes);
                    match choices.below(100) {
                        0..=1 => self.order(other, Order::Edit),
                        2 => self.order(other, Order::Delete),
                        3..=7 => self.order(other, Order::Type),
                        8..=17 => self.order(other, Order::See),
                        _ => {}
                    }
                }
                _ = churn.tick() => self.order(choices.of(&self.remotes), Order::Leave),
                ended = self.tasks.join_next() => {
                    ended.context("there are devices")?.context("a device")??;
                    anyhow::bail!("a device has ended");
                }
            }
        }
        Ok(())
    }

    fn order(&self, remote: &Remote, order: Order) {
        if remote.orders.try_send(order).is_err() {
            self.tally.count("orders left out, the device was behind");
        }
    }

    /// Waits until everything is answered and shown, and compares it with what Natter has.
    pub(super) async fn settle(&self, place: &Place, tally: &Tally) -> anyhow::Result<()> {
        for remote in &self.remotes {
            // Whoever lacks what was sent before its channel opened again fetches that.
            self.order(remote, Order::See);
        }
        let lacking = || self.remotes.iter().filter_map(Remote::lacks);
        within_patience(async || lacking().next().is_none()).await;
        lacking().for_each(|what| tally.fault(what));
        let shown = tally.of("entries shown to devices with natter.v1");
        let entries: u64 = self.rooms.iter().map(|room| room.newest()).sum();
        let expected = entries * SIDES as u64;
        if shown != expected {
            tally.fault(format!(
                "{entries} entries were shown {shown} times, not {expected}"
            ));
        }
        let (sent, acknowledged) = (tally.of("sent"), tally.of("acknowledged"));
        let refused = tally.of("refused: the channel was closed");
        if sent != acknowledged + refused {
            tally.fault(format!(
                "{sent} were sent, {acknowledged} acknowledged, and {refused} refused"
            ));
        }
        // What was stored, and repeated because the answer was lost, may be refused then.
        if !(acknowledged..=acknowledged + refused).contains(&entries) {
            tally.fault(format!(
                "{acknowledged} were acknowledged, and there are {entries}"
            ));
        }
        for room in &self.rooms {
            room.compare(place, tally).await?;
        }
        Ok(())
    }

    /// Everybody closes their connections.
    pub(super) async fn leave(self) -> anyhow::Result<()> {
        let Self {
            remotes,
            mut tasks,
            rooms,
            ..
        } = self;
        drop(remotes);
        while let Some(ended) = tasks.join_next().await {
            ended.context("a device")??;
        }
        drop(rooms);
        Ok(())
    }
}

impl Room {
    /// Whether Natter has the log that was acknowledged and shown.
    async fn compare(&self, place: &Place, tally: &Tally) -> anyhow::Result<()> {
        let mut side = self.sides[0].clone();
        let mut after = 0;
        loop {
            let url = events_url(&place.messages[0], &self.channel, after);
            let (code, page) = insist(place, &mut side, Method::GET, &url, None).await?;
            ensure!(code == 200, "{code}: {page}");
            let events = page["results"].as_array().context("a page of the log")?;
            if events.is_empty() {
                break;
            }
            for event in events {
                after += 1;
                let message = event["message"]["id"].as_str().unwrap_or_default();
                let known = self.log().entries.get(&after).cloned();
                if event["seq"] != after || known.as_deref() != Some(message) {
                    let channel = &self.channel;
                    tally.fault(format!(
                        "{after} of {channel} was told as {known:?}, and is {event}"
                    ));
                }
            }
        }
        let newest = self.newest();
        if after != newest {
            let channel = &self.channel;
            tally.fault(format!("{channel} has {after} entries of {newest}"));
        }
        Ok(())
    }
}

/// Asks until it is so, for as long as [`PATIENCE`].
async fn within_patience(mut ask: impl AsyncFnMut() -> bool) {
    let asking = async {
        while !ask().await {
            sleep(PAUSE).await;
        }
    };
    let _ = timeout(PATIENCE, asking).await;
}
