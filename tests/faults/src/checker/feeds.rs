//! The events that a subscriber outside has, beside the state that HTTP tells.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::record::{Channel, Feeds, History, Kind, Told};

/// Where they differ.
pub fn differences(feeds: &Feeds, history: &History) -> Vec<String> {
    let mut all = Vec::new();
    let (users, friendships) = (
        once(&feeds.users, &mut all),
        once(&feeds.friendships, &mut all),
    );
    let chat = once(&feeds.chat, &mut all);
    let deleted = accounts(&users, &feeds.accounts, &mut all);
    sessions(&users, history, &mut all);
    states(&friendships, &deleted, history, &mut all);
    entries(&chat, history, &mut all);
    all
}

/// Each event once: a repeat has the same payload.
fn once<'a>(events: &'a [Told], wrong: &mut Vec<String>) -> Vec<&'a Value> {
    let mut known: BTreeMap<&str, &Value> = BTreeMap::new();
    let mut once = Vec::new();
    for (id, payload) in events {
        match known.insert(id, payload) {
            None => once.push(payload),
            Some(before) if before == payload => {}
            Some(before) => wrong.push(format!("the event {id} is {before}, and is {payload}")),
        }
    }
    once
}

/// Every account was registered once, under its name, and is there unless it was deleted, once; in
/// whatever order: a stream that was set back gets later what it had lost. Those that are deleted.
fn accounts<'a>(
    events: &[&'a Value],
    listed: &BTreeMap<String, String>,
    wrong: &mut Vec<String>,
) -> BTreeSet<&'a str> {
    let mut registered: BTreeMap<&str, &str> = BTreeMap::new();
    let mut deleted = BTreeSet::new();
    for event in events {
        let user = &event["user"];
        let text = |value: &'a Value| value.as_str().unwrap_or_default();
        let is_new = match event["type"].as_str() {
            Some("registered") => {
                let (id, name) = (text(&user["id"]), text(&user["username"]));
                registered.insert(id, name).is_none()
            }
            Some("deleted") => deleted.insert(text(user)),
            _ => true,
        };
        if !is_new {
            wrong.push(format!("another event says the same: {event}"));
        }
    }
    for (id, name) in listed {
        let told = registered.get(id.as_str());
        if told != Some(&name.as_str()) || deleted.contains(id.as_str()) {
            let is_deleted = deleted.contains(id.as_str());
            wrong.push(format!(
                "{name} is listed, and registered as {told:?}, deleted: {is_deleted}"
            ));
        }
    }
    for (id, name) in &registered {
        if !listed.contains_key(*id) && !deleted.contains(id) {
            wrong.push(format!("{name} ({id}) is not listed, and was not deleted"));
        }
    }
    deleted
}

/// Every session that was ended has one event that says so.
fn sessions(events: &[&Value], history: &History, wrong: &mut Vec<String>) {
    let mut ended: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for event in events
        .iter()
        .filter(|event| event["type"] == "session_revoked")
    {
        let text = |name: &str| event[name].as_str().unwrap_or_default();
        *ended.entry((text("user"), text("sid"))).or_default() += 1;
    }
    for device in &history.devices {
        let Some(session) = &device.session else {
            continue;
        };
        let times = ended.get(&(device.user.as_str(), session.as_str()));
        let times = times.copied().unwrap_or_default();
        if times != 1 {
            wrong.push(format!(
                "{} has ended, and {times} events say so",
                device.name
            ));
        }
    }
}

/// A friendship has an event for each of its revisions, and the last of them is what both sides are told.
fn states(events: &[&Value], deleted: &BTreeSet<&str>, history: &History, wrong: &mut Vec<String>) {
    let mut told: BTreeMap<&str, BTreeMap<u64, &Value>> = BTreeMap::new();
    for event in events {
        let state = &event["friendship"];
        let id = state["id"].as_str().unwrap_or_default();
        let revision = event["revision"].as_u64().unwrap_or_default();
        if told
            .entry(id)
            .or_default()
            .insert(revision, state)
            .is_some()
        {
            wrong.push(format!("two events are the revision {revision} of {id}"));
        }
    }
    for (id, revisions) in &told {
        let last = revisions.last_key_value().map_or(0, |(last, _)| *last);
        if last != revisions.len() as u64 {
            wrong.push(format!(
                "{id} has {} events up to revision {last}",
                revisions.len()
            ));
        }
        let last = revisions
            .values()
            .next_back()
            .copied()
            .unwrap_or(&Value::Null);
        let is_alone = ["from_user", "to_user"].iter().any(|side| {
            let side = last[side].as_str().unwrap_or_default();
            deleted.contains(side)
        });
        if is_alone && last["is_open"] != json!(false) {
            wrong.push(format!("one of two is deleted, and they are {last}"));
        }
    }
    for (id, channel) in &history.channels {
        let revisions = told.get(id.as_str());
        let last = revisions.and_then(|revisions| revisions.values().next_back());
        for (side, state) in &channel.friendships {
            if last != Some(&state) {
                wrong.push(format!(
                    "{side} is told {state}, and by the events it is {last:?}"
                ));
            }
        }
    }
}

/// The entries of every channel are those of its log.
fn entries(events: &[&Value], history: &History, wrong: &mut Vec<String>) {
    let mut told: BTreeMap<&str, BTreeMap<u64, (Option<Kind>, &str)>> = BTreeMap::new();
    for event in events {
        let text = |value: &'_ Value| value.as_str().map(str::to_owned);
        let kind = match text(&event["kind"]).as_deref() {
            Some("message") => Some(Kind::Message),
            Some("edited") => Some(Kind::Edit),
            Some("deleted") => Some(Kind::Delete),
            _ => None,
        };
        let message = event["message"]["id"].as_str().unwrap_or_default();
        let channel = event["channel"].as_str().unwrap_or_default();
        let seq = event["seq"].as_u64().unwrap_or_default();
        if told
            .entry(channel)
            .or_default()
            .insert(seq, (kind, message))
            .is_some()
        {
            wrong.push(format!("two events are the entry {seq} of {channel}"));
        }
    }
    for (id, channel) in &history.channels {
        let told = told.remove(id.as_str()).unwrap_or_default();
        let log = logged(channel);
        if let Some((seq, entry)) = log.iter().find(|(seq, entry)| told.get(seq) != Some(entry)) {
            let event = told.get(seq);
            wrong.push(format!(
                "{seq} of {id} is {entry:?}, and as an event {event:?}"
            ));
        }
        if let Some((seq, event)) = told.iter().find(|(seq, _)| !log.contains_key(seq)) {
            wrong.push(format!(
                "{seq} of {id} is nowhere, and as an event {event:?}"
            ));
        }
    }
}

fn logged(channel: &Channel) -> BTreeMap<u64, (Option<Kind>, &str)> {
    let log = channel.logs.values().next().into_iter().flatten();
    log.map(|entry| (entry.seq, (Some(entry.kind), entry.message.as_str())))
        .collect()
}
