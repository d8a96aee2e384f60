//! Which connections are in which channel, and the way of events from the broker to them.
//!
//! Sharded by channel: each shard is a task that owns its channels and their subscriptions, so
//! that nothing is locked and no channel waits for another's connections.

mod ordered;
mod shard;

use std::{collections::HashMap, sync::Arc};

use futures_util::future::join_all;
use natter_bus::Bus;
use natter_process::Process;
use natter_protocol::FriendshipId;
use tokio::sync::{mpsc, oneshot};

pub use shard::log_delivery;

use crate::peer::Peer;

/// Shards: a few for each core of a usual machine.
const SHARDS: usize = 8;
/// Commands that wait for a shard; who sends one more waits.
const COMMANDS: usize = 1_024;

/// How connections reach the shards.
#[derive(Clone)]
pub struct Hub(Arc<[mpsc::Sender<Command>]>);

/// Channels could not be joined: the broker or the messages service did not answer.
#[derive(Debug, thiserror::Error)]
#[error("the channels cannot be joined right now")]
pub struct Unavailable;

enum Command {
    /// Adds a connection to channels; each answer is the seq after which events are delivered.
    Join {
        peer: Arc<Peer>,
        channels: Vec<(FriendshipId, oneshot::Sender<u64>)>,
        /// Whether events are delivered from now on, or only after `Activate`.
        live: bool,
    },
    /// Starts delivery; each answer is the seq after which events are delivered.
    Activate {
        peer: u64,
        channels: Vec<(FriendshipId, oneshot::Sender<u64>)>,
    },
    Leave {
        peer: u64,
        channels: Vec<FriendshipId>,
    },
    /// Answers with the channel's delivered seq and its members, if it is open here.
    Look(FriendshipId, oneshot::Sender<Look>),
    /// Lets go of every channel and its members; answers when that is done.
    Forget(oneshot::Sender<()>),
    /// From the shard's own tasks.
    Event(shard::Report),
}

/// How a channel is at one moment.
pub struct Look {
    /// The seq up to which it was delivered.
    pub head: u64,
    /// The connections in it, and whether events are delivered to each.
    pub members: HashMap<u64, bool>,
}

impl Hub {
    pub fn start(bus: &Bus, process: &Process) -> Self {
        Self(
            (0..SHARDS)
                .map(|_| shard::start(bus, process, COMMANDS))
                .collect(),
        )
    }

    /// Joins channels. When this returns, their subscriptions are active: every event after the
    /// returned seqs will come (to a connection that is not `live`, from its activation on).
    pub async fn join(
        &self,
        peer: &Arc<Peer>,
        channels: &[FriendshipId],
        live: bool,
    ) -> Result<HashMap<FriendshipId, u64>, Unavailable> {
        self.ask(channels, |channels| Command::Join {
            peer: peer.clone(),
            channels,
            live,
        })
        .await
    }

    /// Starts delivery to a connection that joined without it.
    pub async fn activate(
        &self,
        peer: &Peer,
        channels: &[FriendshipId],
    ) -> Result<HashMap<FriendshipId, u64>, Unavailable> {
        let peer = peer.id;
        self.ask(channels, |channels| Command::Activate { peer, channels })
            .await
    }

    pub async fn leave(&self, peer: &Peer, channels: impl IntoIterator<Item = FriendshipId>) {
        let mut by_shard: HashMap<usize, Vec<FriendshipId>> = HashMap::new();
        for channel in channels {
            by_shard.entry(shard_of(channel)).or_default().push(channel);
        }
        for (shard, channels) in by_shard {
            let peer = peer.id;
            // A shard that ended has let go of everything.
            let _ = self.0[shard].send(Command::Leave { peer, channels }).await;
        }
    }

    /// The state of a channel here; `None` if no local connection is in it.
    pub async fn look(&self, channel: FriendshipId) -> Option<Look> {
        let (answer, look) = oneshot::channel();
        let shard = &self.0[shard_of(channel)];
        shard.send(Command::Look(channel, answer)).await.ok()?;
        look.await.ok()
    }

    /// Lets go of all that is known: the logs were set back.
    pub async fn forget(&self) {
        for shard in self.0.iter() {
            let (done, forgotten) = oneshot::channel();
            // A shard that ended has let go of everything.
            if shard.send(Command::Forget(done)).await.is_ok() {
                let _ = forgotten.await;
            }
        }
    }

    async fn ask(
        &self,
        channels: &[FriendshipId],
        command: impl Fn(Vec<(FriendshipId, oneshot::Sender<u64>)>) -> Command,
    ) -> Result<HashMap<FriendshipId, u64>, Unavailable> {
        let mut by_shard: HashMap<usize, Vec<_>> = HashMap::new();
        let mut answers = Vec::with_capacity(channels.len());
        for channel in channels {
            let (answer, seq) = oneshot::channel();
            by_shard
                .entry(shard_of(*channel))
                .or_default()
                .push((*channel, answer));
            answers.push(async { seq.await.map(|seq| (*channel, seq)) });
        }
        for (shard, channels) in by_shard {
            let sent = self.0[shard].send(command(channels)).await;
            sent.map_err(|_| Unavailable)?;
        }
        join_all(answers)
            .await
            .into_iter()
            .collect::<Result<_, _>>()
            .map_err(|_| Unavailable)
    }
}

fn shard_of(channel: FriendshipId) -> usize {
    usize::from(channel.0.as_bytes()[15]) % SHARDS
}
