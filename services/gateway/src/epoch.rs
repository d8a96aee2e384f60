//! The epoch of the logs: while it stays, a `seq` that was delivered means the same entry.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use natter_protocol::call::GetEpoch;
use tokio::time::{MissedTickBehavior, interval};

use crate::{Gateway, close::Close};

/// How often the messages service is asked.
const POLL: Duration = Duration::from_secs(1);

/// The epoch as it was last told; `None` until then.
#[derive(Default)]
pub struct Epoch(Mutex<Option<String>>);

impl Epoch {
    pub fn current(&self) -> Option<String> {
        let epoch = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        epoch.clone()
    }

    /// Takes the epoch over; returns whether another one was known.
    fn set(&self, epoch: String) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.replace(epoch);
        before.is_some() && before != *known
    }
}

/// Asks for the epoch; returns whether it is another than the known one.
pub async fn ask(gateway: &Gateway) -> bool {
    match gateway.bus.call(&GetEpoch {}).await {
        Ok(epoch) => gateway.epoch.set(epoch),
        Err(error) => {
            tracing::debug!(%error, "the epoch of the logs is not known");
            false
        }
    }
}

/// Closes every connection when the logs were set back: what was delivered may have other content
/// now. Runs until the process stops and the last connection has gone.
pub async fn follow(gateway: Arc<Gateway>) {
    let mut poll = interval(POLL);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let drained = gateway.registry.drained(&gateway.process.shutdown);
    tokio::pin!(drained);
    loop {
        tokio::select! {
            _ = poll.tick() => {}
            () = &mut drained => return,
        }
        if ask(&gateway).await {
            tracing::error!("the logs were set back: every connection is closed, to resume");
            // The hub forgets its heads first, so that no client that comes back is given one of
            // them.
            gateway.hub.forget().await;
            gateway.marks.forget();
            gateway.registry.close_where(Close::SetBack, |_| true);
        }
    }
}
