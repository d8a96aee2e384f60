//! The shapes of what a gateway may say, as WEBSOCKET.md has them.

use serde_json::{Map, Value};

const ERRORS: &[&str] = &[
    "invalid_json",
    "invalid_frame",
    "unknown_type",
    "unsupported",
    "not_a_member",
    "channel_closed",
    "message_not_found",
    "not_yours",
    "client_id_reused",
    "too_large",
    "rate_limited",
    "unavailable",
];

#[derive(Clone, Copy)]
enum Shape {
    Text,
    Id,
    Count,
    Bool,
    List,
    /// Channels, and a `seq` of each.
    Seqs,
    Marks,
    Message,
    Object,
    OrNull(&'static Shape),
}

use Shape::{Bool, Count, Id, List, Marks, Message, Object, OrNull, Seqs, Text};

type Fields = &'static [(&'static str, Shape)];

/// Of each type of frame the fields that it has, and those that it may have.
const FRAMES: &[(&str, Fields, Fields)] = &[
    (
        "ready",
        &[
            ("user", Id),
            ("heartbeat_seconds", Count),
            ("channels", Seqs),
        ],
        &[("epoch", Text)],
    ),
    ("resumed", &[("channels", Seqs), ("marks", Marks)], &[]),
    ("token", &[("access", Text)], &[("refresh", Text)]),
    ("friendship_message", ENTRY, &[]),
    ("friendship_message_edited", ENTRY, &[]),
    ("friendship_message_deleted", ENTRY, &[]),
    (
        "ack",
        &[
            ("client_id", OrNull(&Text)),
            ("channel", Id),
            ("message", Id),
            ("seq", Count),
            ("created_at", Text),
            ("duplicate", Bool),
        ],
        &[],
    ),
    (
        "chat_friendship_notification",
        &[
            ("channel", Id),
            ("user", Id),
            ("message", Id),
            ("is_received", Bool),
            ("is_seen", Bool),
            ("received_seq", Count),
            ("seen_seq", Count),
        ],
        &[],
    ),
    ("friendship_update", &[("friendship", Object)], &[]),
    (
        "typing",
        &[("channel", Id), ("user", Id), ("active", Bool)],
        &[],
    ),
    (
        "presence",
        &[("user", Id), ("online", Bool), ("last_seen", OrNull(&Text))],
        &[],
    ),
    ("resync", &[("channels", Seqs)], &[]),
    ("token_expiring", &[("seconds", Count)], &[]),
    ("goaway", &[("reconnect_after_ms", Count)], &[]),
    ("pong", &[], &[]),
    (
        "error",
        &[("code", Text), ("detail", Text)],
        &[
            ("answers", Text),
            ("client_id", Text),
            ("retry_after_ms", Count),
        ],
    ),
];
const ENTRY: Fields = &[("channel", Id), ("seq", Count), ("message", Message)];
const MESSAGE: Fields = &[
    ("id", Id),
    ("friendship", Id),
    ("sender", Id),
    ("content", Text),
    ("media", List),
    ("created_at", Text),
    ("client_id", OrNull(&Text)),
    ("reply_to", OrNull(&Id)),
    ("edited_at", OrNull(&Text)),
    ("deleted", Bool),
];
const MARKS: Fields = &[
    ("received_seq", Count),
    ("seen_seq", Count),
    ("friend_received_seq", Count),
    ("friend_seen_seq", Count),
];

impl Shape {
    fn fits(self, value: &Value) -> bool {
        match self {
            Text => value.is_string(),
            Id => value.as_str().is_some_and(is_id),
            Count => value.is_u64(),
            Bool => value.is_boolean(),
            List => value.is_array(),
            Object => value.is_object(),
            Seqs => is_map(value, |seq| seq.is_u64()),
            Marks => is_map(value, |marks| {
                let marks = marks.as_object();
                marks.is_some_and(|marks| misfit(marks, MARKS, &[]).is_none())
            }),
            Message => {
                let message = value.as_object();
                message.is_some_and(|message| misfit(message, MESSAGE, &[]).is_none())
            }
            OrNull(shape) => value.is_null() || shape.fits(value),
        }
    }
}

/// Whether it is a UUID as the contract writes them.
fn is_id(text: &str) -> bool {
    let is_in_place = |(at, byte): (usize, u8)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    };
    text.len() == 36 && text.bytes().enumerate().all(is_in_place)
}

fn is_map(value: &Value, fits: impl Fn(&Value) -> bool) -> bool {
    let map = value.as_object();
    map.is_some_and(|map| map.iter().all(|(key, value)| is_id(key) && fits(value)))
}

/// The name of a field that is missing, is not as documented, or is not documented.
fn misfit(object: &Map<String, Value>, has: Fields, may_have: Fields) -> Option<String> {
    let absent = has.iter().find(|(name, _)| !object.contains_key(*name));
    let shape = |name: &str| {
        let mut all = has.iter().chain(may_have);
        all.find(|(known, _)| *known == name)
    };
    let odd = object.iter().find(|(name, value)| {
        name.as_str() != "type" && shape(name).is_none_or(|(_, shape)| !shape.fits(value))
    });
    absent
        .map(|(name, _)| (*name).to_owned())
        .or(odd.map(|(name, _)| name.clone()))
}

/// What is wrong with a frame from the gateway.
pub fn wrong(frame: &Value) -> Option<String> {
    let Some(object) = frame.as_object() else {
        return Some("a frame is no object".to_owned());
    };
    let kind = frame["type"].as_str().unwrap_or_default();
    let Some((_, has, may_have)) = FRAMES.iter().find(|(known, ..)| *known == kind) else {
        return Some(format!("no frame has the type {kind:?}"));
    };
    if let Some(name) = misfit(object, has, may_have) {
        return Some(format!("{kind} with another {name} than documented"));
    }
    let code = frame["code"].as_str();
    code.filter(|code| !ERRORS.contains(code))
        .map(|code| format!("no error has the code {code:?}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_documented_is_wrong() {
        let id = "01a20000-0000-7000-8000-00000000000a";
        let fine = [
            json!({"type": "pong"}),
            json!({"type": "resync", "channels": {id: 1}}),
            json!({"type": "error", "code": "unsupported", "detail": "x", "client_id": "y"}),
            json!({"type": "presence", "user": id, "online": true, "last_seen": null}),
        ];
        for frame in fine {
            assert_eq!(wrong(&frame), None);
        }
        let bad = [
            json!([]),
            json!({"type": "nothing"}),
            json!({"type": "pong", "client_id": "x"}),
            json!({"type": "resync", "channels": {"x": 1}}),
            json!({"type": "resync", "channels": {id: -1}}),
            json!({"type": "error", "code": "internal", "detail": "x"}),
            json!({"type": "error", "code": "unsupported"}),
            json!({"type": "presence", "user": id.to_uppercase(), "online": true, "last_seen": null}),
        ];
        for frame in bad {
            assert!(wrong(&frame).is_some(), "{frame}");
        }
    }
}
