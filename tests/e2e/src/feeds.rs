//! The feeds for other services as a subscriber has them, and what they must have.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use async_nats::jetstream::stream::LastRawMessageErrorKind;
use natter_test_support::{Nats, PATIENCE};
use serde_json::Value;
use sqlx::Row;
use tokio::time::{Instant, sleep};

use crate::{World, jetstream};

pub const FEEDS: [&str; 3] = ["USERS", "FRIENDSHIPS", "CHAT"];

/// What a stream has: `Nats-Msg-Id` and payload, in its order, each repeat too.
pub async fn events(nats: &Nats, stream: &str) -> Option<Vec<(String, Value)>> {
    let stream = jetstream(nats, "subscriber").await.get_stream(stream).await;
    let stream = stream.ok()?;
    let state = &stream.cached_info().state;
    let mut events = Vec::new();
    for seq in state.first_sequence.max(1)..=state.last_sequence {
        let message = match stream.get_raw_message(seq).await {
            Ok(message) => message,
            // The stream has lost it, and kept its number.
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => continue,
            Err(_) => return None,
        };
        let id = message.headers.get("Nats-Msg-Id")?.to_string();
        events.push((id, serde_json::from_slice(&message.payload).ok()?));
    }
    Some(events)
}

/// The ids of all events that a feed must have, according to the tables.
pub async fn expected(world: &World, stream: &str) -> BTreeSet<String> {
    let mut admin = world.postgres.admin("natter").await;
    let query = match stream {
        "USERS" => "SELECT event_id::text FROM users.outbox WHERE subject LIKE 'events.%'",
        "FRIENDSHIPS" => {
            "SELECT event_id::text FROM friendships.outbox WHERE subject LIKE 'events.%'"
        }
        _ => "SELECT id::text FROM messages.log",
    };
    let rows = sqlx::query(query).fetch_all(&mut admin).await;
    let rows = rows.expect("the tables are there");
    rows.iter().map(|row| row.get(0)).collect()
}

/// A feed beside the tables.
#[derive(Debug, Default)]
pub struct Compared {
    /// What it has.
    pub events: Vec<(String, Value)>,
    /// What can never be mended: what never was, and ids with two payloads.
    pub broken: Vec<String>,
    /// The ids that it lacks.
    pub missing: Vec<String>,
}

/// Compares a feed with the tables, as both are now.
pub async fn compare(world: &World, stream: &str) -> Compared {
    let wanted = expected(world, stream).await;
    let mut compared = Compared {
        events: events(&world.nats, stream).await.unwrap_or_default(),
        ..Compared::default()
    };
    let mut payloads = BTreeMap::new();
    for (id, payload) in &compared.events {
        if *payloads.entry(id).or_insert(payload) != payload {
            compared
                .broken
                .push(format!("{stream} has two events of the id {id}"));
        }
        if !wanted.contains(id) {
            compared
                .broken
                .push(format!("{stream} has what never was: {payload}"));
        }
    }
    let missing = wanted.iter().filter(|id| !payloads.contains_key(id));
    compared.missing = missing.cloned().collect();
    compared
}

/// Waits until every feed has exactly what the tables say, each id with one payload.
pub async fn are_whole(world: &World) {
    for stream in FEEDS {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let Compared {
                broken, missing, ..
            } = compare(world, stream).await;
            assert!(broken.is_empty(), "{broken:?}");
            if missing.is_empty() {
                break;
            }
            let log = || world.log(["users", "friendships", "messages"]);
            assert!(
                Instant::now() < give_up,
                "{stream} lacks {missing:?}\n{}",
                log()
            );
            sleep(Duration::from_millis(50)).await;
        }
    }
}
