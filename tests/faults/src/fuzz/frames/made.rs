//! Frames that a client may send, and many that it may not.

use natter_test_support::Choices;
use serde_json::Value;

use super::{ENOUGH_GARBAGE, Known, Wait, Way, told};
use crate::fuzz::{
    Circle, WRITTEN,
    mutate::{Object, damage, deep, is_one_in, long_text, noise, odd, pick},
    wire::{self, BINARY, CLOSE, CONTINUATION, FIN, PING, TEXT},
};

/// Frames between two checks.
const BATCH: u64 = 200;
/// One frame in so many is malformed, or may be.
const GARBAGE: u64 = 3;
/// One frame in so many is to be stored, or looked up.
const STORED: u64 = 100;
/// One batch in so many ends with what a client library never sends, with a close frame, or has a
/// frame as big as may be.
const BROKEN: u64 = 50;
const CLOSED: u64 = 50;
const BIG: u64 = 200;
const MAX_FRAME_BYTES: usize = 8 << 20;
/// Messages that are edited, deleted, marked and answered.
const KEPT: usize = 16;
const NOBODY: &str = "01a20000-0000-7000-8000-00000000000a";
const TYPES: [&str; 9] = [
    "friendship",
    "friendship_edit",
    "friendship_delete",
    "friendship_notification_seen",
    "friendship_notification_received",
    "typing",
    "resume",
    "auth",
    "ping",
];
/// Fields that no frame has.
const EXTRA: &[&str] = &[
    "",
    "x",
    "ключ",
    "\u{202e}",
    "a.b",
    "__proto__",
    "id",
    "Type",
    "\\n",
];
/// JSON that any field that is ignored may have.
const IGNORED: &[&str] = &[
    "null",
    "true",
    "-0",
    "1e300",
    "18446744073709551615",
    "\"\"",
    "\"\\ud83d\\ude00\"",
    "[]",
    "{}",
    "{\"type\":\"ping\"}",
    "[[[[null]]]]",
    "\"\u{feff}\u{202e}\u{10ffff}\"",
];
const CHANNEL_CODES: &[&str] = &["not_a_member", "channel_closed"];

/// How a batch ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// With a message that must be stored.
    #[default]
    Check,
    /// With the client's close frame, and its code.
    Close(Option<u16>),
    /// With what is no WebSocket, to be closed with this code.
    Broken(u16),
}

/// A frame to be sent.
#[derive(Clone, Debug, Default)]
pub struct Made {
    pub first: u8,
    pub payload: Vec<u8>,
    pub known: Option<(String, Known)>,
    pub is_garbage: bool,
    pub is_ping: bool,
}

impl Made {
    fn text(text: impl Into<Vec<u8>>) -> Self {
        Self {
            first: FIN | TEXT,
            payload: text.into(),
            ..Self::default()
        }
    }

    /// The same, of which no answer is expected.
    pub fn alone(&self) -> Self {
        Self {
            first: self.first,
            payload: self.payload.clone(),
            ..Self::default()
        }
    }
}

#[derive(Debug, Default)]
pub struct Batch {
    pub bytes: Vec<u8>,
    pub frames: Vec<Made>,
    pub end: End,
}

impl Batch {
    /// The frame with this client id.
    pub fn of(&self, client_id: Option<&str>) -> String {
        let of = |made: &&Made| {
            let known = made.known.as_ref();
            known.is_some_and(|(known, _)| Some(known.as_str()) == client_id)
        };
        let found = self.frames.iter().find(of);
        found.map_or("an unknown frame".to_owned(), |made| told(&made.payload))
    }
}

impl Batch {
    /// The frames that should have been answered, and were not.
    pub fn unanswered(&self, wait: &Wait) -> String {
        let is_unanswered = |made: &&Made| {
            let known = made.known.as_ref().and_then(|(id, _)| wait.known.get(id));
            known.is_some_and(|known| known.must_be_answered && !known.is_answered)
        };
        let frames = self.frames.iter().filter(is_unanswered);
        let frames: Vec<String> = frames.map(|made| told(&made.payload)).collect();
        told(frames.join("\n").as_bytes())
    }
}

pub struct Maker {
    pub choices: Choices,
    task: u64,
    made: u64,
    access: String,
    channel: String,
    closed: String,
    foreign: String,
    /// Messages of the channel, of both sides.
    own: Vec<String>,
    others: Vec<String>,
}

impl Maker {
    pub fn new(choices: Choices, task: u64, access: &str, circle: &Circle, foreign: &str) -> Self {
        Self {
            choices,
            task,
            made: 0,
            access: access.to_owned(),
            channel: circle.channel.clone(),
            closed: circle.closed.clone(),
            foreign: foreign.to_owned(),
            own: Vec::new(),
            others: Vec::new(),
        }
    }

    /// Remembers a message of the channel.
    pub fn note(&mut self, frame: &Value, user: &str) {
        let message = &frame["message"];
        let Some(id) = message["id"]
            .as_str()
            .filter(|_| frame["channel"] == self.channel)
        else {
            return;
        };
        let side = if message["sender"] == user {
            &mut self.own
        } else {
            &mut self.others
        };
        if side.len() < KEPT {
            side.push(id.to_owned());
        } else {
            let at = pick(&mut self.choices, KEPT);
            side[at] = id.to_owned();
        }
    }

    /// Frames, at most so many, and how they end.
    pub fn batch(&mut self, way: Way, wait: &mut Wait, most: u64) -> Batch {
        let mut frames = Vec::new();
        if is_one_in(&mut self.choices, BIG) {
            frames.push(self.big());
        }
        let is_first = !wait.is_resumed;
        while (frames.len() as u64) < BATCH.min(most) {
            let so_far = frames.iter().filter(|made: &&Made| made.is_garbage).count() as u64;
            if !wait.is_flood && wait.garbage + so_far > ENOUGH_GARBAGE {
                break;
            }
            let made = self.any(way, !is_first);
            frames.push(made);
        }
        if is_first {
            // Somewhere among them: what is before it comes before the connection is live.
            let at = pick(&mut self.choices, frames.len());
            let resume = self.resume();
            frames.insert(at, resume);
            wait.is_resumed = true;
        }
        let is_enough = !wait.is_flood && wait.garbage + BATCH / GARBAGE > ENOUGH_GARBAGE;
        if is_one_in(&mut self.choices, BROKEN) {
            self.broken(wait, frames)
        } else if is_enough || is_one_in(&mut self.choices, CLOSED) {
            self.close(wait, frames)
        } else {
            self.check(wait, frames)
        }
    }

    /// These, and a message that must be stored.
    pub fn check(&mut self, wait: &mut Wait, mut frames: Vec<Made>) -> Batch {
        let id = self.client_id();
        let object = Object::default()
            .text("type", "friendship")
            .text("channel", &self.channel)
            .text("payload", WRITTEN)
            .text("client_id", &id);
        let mut made = Made::text(object.json(&mut self.choices));
        let known = Known {
            kind: Some("friendship"),
            channel: Some(self.channel.clone()),
            codes: &["unavailable"],
            must_be_answered: true,
            is_answered: false,
        };
        made.known = Some((id, known));
        frames.push(made);
        self.packed(wait, frames, End::Check)
    }

    fn packed(&mut self, wait: &mut Wait, frames: Vec<Made>, end: End) -> Batch {
        let mut bytes = Vec::new();
        for made in &frames {
            wait.expect(made);
            if made.first == FIN | TEXT && is_one_in(&mut self.choices, 50) {
                self.put_parts(&mut bytes, &made.payload);
            } else {
                wire::put(&mut bytes, made.first, &made.payload);
            }
        }
        Batch { bytes, frames, end }
    }

    /// A text in several frames, cut anywhere, and perhaps with a ping between two.
    fn put_parts(&mut self, out: &mut Vec<u8>, mut rest: &[u8]) {
        let mut opcode = TEXT;
        for _ in 0..self.choices.below(4) {
            let (part, others) = rest.split_at(pick(&mut self.choices, rest.len()));
            wire::put(out, opcode, part);
            if is_one_in(&mut self.choices, 2) {
                wire::put(out, FIN | PING, b"in between");
            }
            (opcode, rest) = (CONTINUATION, others);
        }
        wire::put(out, FIN | opcode, rest);
    }

    fn any(&mut self, way: Way, is_live: bool) -> Made {
        if is_one_in(&mut self.choices, GARBAGE) {
            self.garbage()
        } else if is_one_in(&mut self.choices, STORED) {
            let kind = *self.choices.of(&TYPES[..5]);
            self.whole(kind)
        } else {
            self.light(way, is_live)
        }
    }

    /// One that no other has, also where a letter of it is changed.
    fn client_id(&mut self) -> String {
        self.made += 1;
        let number = self.made * 64 + self.task;
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        match self.choices.below(20) {
            0 => format!("{number}-{mixed:08x} é😀"),
            _ => format!("{number}-{mixed:08x}"),
        }
    }

    fn any_channel(&mut self) -> String {
        match self.choices.below(8) {
            0 => self.closed.clone(),
            1 => self.foreign.clone(),
            2 => NOBODY.to_owned(),
            3 => self.channel.to_uppercase(),
            _ => self.channel.clone(),
        }
    }

    fn any_message(&mut self) -> String {
        let side = match self.choices.below(5) {
            0 => return NOBODY.to_owned(),
            1 => &self.others,
            _ => &self.own,
        };
        if side.is_empty() {
            return NOBODY.to_owned();
        }
        self.choices.of(side).clone()
    }

    fn payload(&mut self) -> String {
        match self.choices.below(12) {
            0 => long_text(&mut self.choices),
            1 => "\"\"".to_owned(),
            2 => "\"👩‍👩‍👧‍👦 e\u{301} \u{202e}ﷺ \\ud83d\\ude00\"".to_owned(),
            _ => format!("\"{WRITTEN}\""),
        }
    }

    fn media(&mut self) -> String {
        match self.choices.below(4) {
            0 => format!("[{{\"id\":\"{NOBODY}\"}}]"),
            1 => "[{\"a.txt\":\"eA==\"},{\"a.txt\":\"eQ==\"}]".to_owned(),
            2 => "[{\"пример 👩‍👧.png\":\"iVBORw0KGgo=\"}]".to_owned(),
            _ => "[]".to_owned(),
        }
    }

    /// How far the client says to be.
    fn seqs(&mut self) -> String {
        let mut named = Object::default();
        for _ in 0..self.choices.below(4) {
            let channel = self.any_channel();
            let seq = *self.choices.of(&["1", "5000", "18446744073709551615"]);
            named = named.with(&channel, seq);
        }
        named.json(&mut self.choices)
    }

    /// A frame of this type, as documented but for its ids.
    fn documented(&mut self, kind: &str) -> Object {
        let object = Object::default().text("type", kind);
        let channel = self.any_channel();
        match kind {
            "friendship" => {
                let object = object.text("channel", &channel);
                let mut object = object.with("payload", self.payload());
                if is_one_in(&mut self.choices, 4) {
                    object = object.with("media", self.media());
                }
                if is_one_in(&mut self.choices, 4) {
                    object = object.text("reply_to", &self.any_message());
                }
                object
            }
            "friendship_edit" => {
                let object = object.text("channel", &channel);
                let object = object.text("message", &self.any_message());
                object.with("payload", self.payload())
            }
            "typing" => {
                let active = *self.choices.of(&["true", "false"]);
                object.text("channel", &channel).with("active", active)
            }
            "resume" => {
                let object = object.with("channels", self.seqs());
                if is_one_in(&mut self.choices, 3) {
                    return object.text("epoch", "another");
                }
                object
            }
            "auth" => object.text("access", "eyJ.e30.x"),
            "ping" => object,
            _ => {
                let name = *self.choices.of(&["message", "message", "message_id"]);
                object
                    .text("channel", &channel)
                    .text(name, &self.any_message())
            }
        }
    }

    /// A documented frame, to be stored or looked up.
    fn whole(&mut self, kind: &'static str) -> Made {
        let mut object = self.documented(kind);
        let channel = object.members().find(|(key, _)| *key == "channel");
        let channel = channel.map(|(_, id)| id.trim_matches('"').to_lowercase());
        let id = self.client_id();
        let is_named = !is_one_in(&mut self.choices, 8);
        if is_named {
            object = object.text("client_id", &id);
        }
        let mut made = Made::text(object.json(&mut self.choices));
        // Its text may be too long.
        made.is_garbage = true;
        let known = Known {
            kind: Some(kind),
            channel,
            must_be_answered: !kind.starts_with("friendship_notification"),
            ..Known::default()
        };
        made.known = is_named.then_some((id, known));
        made
    }

    /// A frame that costs the gateway alone, in an odd form.
    fn light(&mut self, way: Way, is_live: bool) -> Made {
        let id = self.client_id();
        let mut is_ping = false;
        let mut known = Known {
            must_be_answered: true,
            ..Known::default()
        };
        let kind = match self.choices.below(24) {
            0..=2 => "resume",
            3..=5 => "auth",
            6..=12 => "typing",
            _ => "ping",
        };
        known.kind = Some(kind);
        let mut object = self.documented(kind);
        match kind {
            // Before `resumed` it may be the one.
            "resume" if !is_live => known.must_be_answered = false,
            "resume" => known.codes = &["invalid_frame"],
            "auth" if way.is_browser() && is_one_in(&mut self.choices, 2) => {
                object = Object::default()
                    .text("type", kind)
                    .text("access", &self.access);
                known.must_be_answered = false;
            }
            "auth" => known.codes = &["invalid_frame"],
            "typing" => {
                known.codes = CHANNEL_CODES;
                let is_told = is_one_in(&mut self.choices, 20);
                let channel = match self.choices.below(3) {
                    _ if is_told => &self.channel,
                    0 => &self.closed,
                    1 => &self.foreign,
                    _ => NOBODY,
                };
                object = Object::default()
                    .text("type", kind)
                    .text("channel", channel)
                    .with("active", "true");
                known.must_be_answered = !is_told;
            }
            _ => {
                is_ping = true;
                known.must_be_answered = false;
            }
        }
        object = object.text("client_id", &id);
        for _ in 0..self.choices.below(3) {
            let value = match self.choices.below(100) {
                0 => long_text(&mut self.choices),
                1 => format!("{}1{}", "[".repeat(100), "]".repeat(100)),
                _ => (*self.choices.of(IGNORED)).to_owned(),
            };
            let key = *self.choices.of(EXTRA);
            if object.members().all(|(known, _)| known != key) {
                object = object.with(key, value);
            }
        }
        Made {
            known: Some((id, known)),
            is_ping,
            ..Made::text(object.json(&mut self.choices))
        }
    }

    /// What is no frame, or hardly one.
    fn garbage(&mut self) -> Made {
        let mut made = match self.choices.below(20) {
            0 => Made {
                first: FIN | BINARY,
                ..Made::text(noise(&mut self.choices))
            },
            1 => Made::text(String::from_utf8_lossy(&noise(&mut self.choices)).into_owned()),
            2 => Made::text(odd(&mut self.choices)),
            3 => {
                let depth = *self.choices.of(&[10, 127, 128, 5_000]);
                Made::text(deep(&mut self.choices, depth))
            }
            _ => self.mutated(),
        };
        made.is_garbage = true;
        made
    }

    fn mutated(&mut self) -> Made {
        let kind = *self.choices.of(&TYPES);
        let id = self.client_id();
        let mut object = self.documented(kind).text("client_id", &id);
        let is_damaged = is_one_in(&mut self.choices, 3);
        for _ in 0..1 + self.choices.below(3) {
            object.mutate(&mut self.choices);
        }
        let mut text = object.json(&mut self.choices).into_bytes();
        if is_damaged {
            damage(&mut text, &mut self.choices);
            return Made::text(String::from_utf8_lossy(&text).into_owned());
        }
        let known = Known {
            kind: object.has("type", kind).then_some(kind),
            ..Known::default()
        };
        Made {
            known: object.has("client_id", &id).then_some((id, known)),
            ..Made::text(text)
        }
    }

    /// The answer to `ready`.
    fn resume(&mut self) -> Made {
        let id = self.client_id();
        let object = self.documented("resume").text("client_id", &id);
        let known = Known {
            kind: Some("resume"),
            ..Known::default()
        };
        Made {
            known: Some((id, known)),
            ..Made::text(object.json(&mut self.choices))
        }
    }

    /// A text as long as a frame may be.
    fn big(&mut self) -> Made {
        let id = self.client_id();
        let object = Object::default()
            .text("type", "friendship")
            .text("channel", &self.channel)
            .text("client_id", &id);
        let least = object.clone().text("payload", "");
        let room = MAX_FRAME_BYTES - 200 - least.json(&mut Choices::new(0, 0)).len();
        let object = object.text("payload", &"x".repeat(room));
        let known = Known {
            kind: Some("friendship"),
            codes: &["too_large"],
            must_be_answered: true,
            ..Known::default()
        };
        Made {
            known: Some((id, known)),
            is_garbage: true,
            ..Made::text(object.json(&mut self.choices))
        }
    }

    /// These, and a close frame.
    fn close(&mut self, wait: &mut Wait, frames: Vec<Made>) -> Batch {
        const CODES: [u16; 12] = [
            1000, 1000, 1000, 1001, 3000, 4999, 0, 999, 1004, 1005, 1006, 5000,
        ];
        let code = *self.choices.of(&CODES);
        let (code, payload): (_, Vec<u8>) = match self.choices.below(6) {
            0 => (None, Vec::new()),
            1 => (
                Some(code),
                [&code.to_be_bytes()[..], "é".repeat(60).as_bytes()].concat(),
            ),
            _ => (Some(code), code.to_be_bytes().to_vec()),
        };
        let mut batch = self.packed(wait, frames, End::Close(code));
        wire::put(&mut batch.bytes, FIN | CLOSE, &payload);
        batch
    }

    /// These, and what is no WebSocket.
    fn broken(&mut self, wait: &mut Wait, frames: Vec<Made>) -> Batch {
        const NOT_UTF8: [&[u8]; 6] = [
            b"\xff",
            b"{\"type\":\"ping\xc3\"}",
            b"\xed\xa0\x80",
            b"\xc0\xaf",
            b"\xf4\x90\x80\x80",
            b"{\"type\":\"ping\"}\xe2\x82",
        ];
        let mut out = Vec::new();
        let code = match self.choices.below(11) {
            0..=3 => {
                let text = *self.choices.of(&NOT_UTF8);
                wire::put(&mut out, FIN | TEXT, text);
                1007
            }
            4 => {
                let first = *self.choices.of(&[0x83, 0x87, 0x8b, 0x8f]);
                wire::put(&mut out, first, b"x");
                1002
            }
            5 => {
                wire::put(
                    &mut out,
                    FIN | TEXT | *self.choices.of(&[0x40, 0x20, 0x10]),
                    b"{}",
                );
                1002
            }
            6 => {
                wire::put(&mut out, PING, b"in parts");
                1002
            }
            7 => {
                wire::put(&mut out, FIN | PING, &[b'x'; 126]);
                1002
            }
            8 => {
                wire::put(&mut out, FIN | CONTINUATION, b"of nothing");
                1002
            }
            9 => {
                out.extend_from_slice(&[FIN | TEXT, 2, b'{', b'}']);
                1002
            }
            _ => {
                let length =
                    *self
                        .choices
                        .of(&[(8 << 20) + 1, u64::from(u32::MAX), i64::MAX as u64]);
                wire::put_head(&mut out, FIN | TEXT, length);
                1009
            }
        };
        let mut batch = self.packed(wait, frames, End::Broken(code));
        batch.bytes.extend_from_slice(&out);
        batch
    }
}
