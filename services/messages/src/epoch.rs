//! The epoch of the logs: an opaque value that changes when the logs may have been set back.
//!
//! A log that lost its tail (a backup was restored, a failover lost commits) gives the same `seq`
//! to other entries. Before the first commit on a new database connection (a restore or failover
//! always breaks connections), and before the outbox is published again, two checks are made: the
//! system identifier and timeline are unchanged, and the log has the newest event of the stream,
//! which was published after its commit. If either check fails, the epoch changes; gateways close
//! every connection, and clients fetch what they had under the old one again.
//!
//! A switchover that lost nothing begins a timeline too, so clients then fetch for nothing. If the
//! timeline stays the same, a loss is not noticed in three cases: the database and the broker were
//! restored to the same moment; the broker was away when the writers reconnected; a replica of the
//! previous version wrote first.

use std::{sync::Arc, time::Duration};

use natter_bus::{Bus, Stream};
use natter_protocol::event::LogEvent;
use sqlx::PgConnection;
use tokio::time::timeout;
use uuid::Uuid;

use crate::store::{self, LogEpoch};

/// How long the broker may take to return the newest event of the stream.
const BROKER_TIMEOUT: Duration = Duration::from_secs(1);

/// Compares the database with what the table `log_epoch` says of it.
#[derive(Clone)]
pub struct Epochs {
    bus: Bus,
}

impl Epochs {
    pub fn new(bus: &Bus) -> Self {
        Self { bus: bus.clone() }
    }

    /// Begins another epoch if the database was set back.
    pub async fn check(&self, db: &mut PgConnection) -> sqlx::Result<()> {
        let known = store::log_epoch(db).await?;
        let forgotten = self.forgotten(db, &known).await?;
        if known.is_same_database && forgotten.is_none() {
            return Ok(());
        }
        if store::begin_epoch(db, known.epoch, forgotten).await? {
            tracing::error!(
                is_same_database = known.is_same_database,
                event = forgotten.map(tracing::field::display),
                "the logs were set back: a new epoch begins"
            );
        }
        Ok(())
    }

    /// The newest event of the stream, if the log is without it and that is not known yet.
    async fn forgotten(
        &self,
        db: &mut PgConnection,
        known: &LogEpoch,
    ) -> sqlx::Result<Option<Uuid>> {
        // What is to be stored is not held up by a broker that is away.
        let newest = match timeout(BROKER_TIMEOUT, self.newest_event()).await {
            Ok(Ok(newest)) => newest,
            Ok(Err(error)) => {
                tracing::warn!("the log is not compared with its stream: {error:#}");
                return Ok(None);
            }
            Err(_) => {
                tracing::warn!("the log is not compared with its stream: it does not answer");
                return Ok(None);
            }
        };
        let Some(event) = newest.filter(|event| known.forgotten_event != Some(event.id.0)) else {
            return Ok(None);
        };
        let is_there = store::has_entry(db, event.channel, event.seq, event.id).await?;
        Ok((!is_there).then_some(event.id.0))
    }

    async fn newest_event(&self) -> anyhow::Result<Option<LogEvent>> {
        let newest = self.bus.feed(Stream::Chat).await?.newest().await?;
        // A message that is no log event says nothing about the log.
        Ok(newest.and_then(|payload| serde_json::from_slice(&payload).ok()))
    }
}

/// What a writer does on a new connection.
pub fn greeting(epochs: &Epochs) -> natter_pg::Greeting {
    let epochs = epochs.clone();
    Arc::new(move |db| {
        let epochs = epochs.clone();
        Box::pin(async move {
            natter_pg::require_durable(db).await?;
            epochs.check(db).await
        })
    })
}
