//! What the clients of a run did and saw, and what Natter says at its end: all that is judged.
//!
//! Every time is that since the beginning of the run, by one clock.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

pub type At = Duration;

/// What an entry of a channel's log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Message,
    Edit,
    Delete,
}

impl Kind {
    /// Of a frame's type, as it is sent or as it arrives.
    pub fn of(frame: &str) -> Option<Self> {
        match frame {
            "friendship" | "friendship_message" => Some(Self::Message),
            "friendship_edit" | "friendship_message_edited" => Some(Self::Edit),
            "friendship_delete" | "friendship_message_deleted" => Some(Self::Delete),
            _ => None,
        }
    }
}

/// A message, an edit or a deletion that a client wanted to be stored.
#[derive(Clone, Debug)]
pub struct Send {
    pub user: String,
    pub channel: String,
    pub client_id: String,
    pub kind: Kind,
    /// No two sends have the same.
    pub content: Option<String>,
    /// What is edited or deleted.
    pub target: Option<String>,
    pub tries: Vec<Try>,
}

/// A send that was put on a connection once.
#[derive(Clone, Debug)]
pub struct Try {
    pub sent: At,
    /// None: the connection ended, or nobody waits for it any more.
    pub answer: Option<(At, Answer)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Acked(Ack),
    /// Not stored, and not for lack of something that is down.
    Refused(String),
    Unavailable,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    pub message: String,
    pub seq: u64,
    pub created_at: String,
    pub duplicate: bool,
}

impl Send {
    pub fn first_sent(&self) -> Option<At> {
        self.tries.first().map(|first| first.sent)
    }

    /// Every answer that says that it is stored.
    pub fn acks(&self) -> impl Iterator<Item = (At, &Ack)> {
        self.tries.iter().filter_map(|one| match &one.answer {
            Some((at, Answer::Acked(ack))) => Some((*at, ack)),
            _ => None,
        })
    }

    /// Whether it cannot have been stored: each try was answered, and refused.
    pub fn is_refused(&self) -> bool {
        let refused = |one: &Try| matches!(one.answer, Some((_, Answer::Refused(_))));
        !self.tries.is_empty() && self.tries.iter().all(refused)
    }
}

/// An entry of a channel's log, as it was shown to somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub seq: u64,
    pub kind: Kind,
    pub message: String,
    pub sender: String,
    pub client_id: Option<String>,
    pub content: Option<String>,
}

impl Event {
    /// From a frame of the log; None for any other.
    pub fn of(frame: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let message = &frame["message"];
        Some(Self {
            kind: Kind::of(frame["type"].as_str()?)?,
            seq: frame["seq"].as_u64()?,
            message: text(&message["id"])?,
            sender: text(&message["sender"])
                .or_else(|| text(&message["sender"]["id"]))
                .unwrap_or_default(),
            client_id: text(&message["client_id"]),
            // Of what was deleted nothing is left.
            content: text(&message["content"]).filter(|content| !content.is_empty()),
        })
    }
}

/// What a device was shown or noticed.
#[derive(Clone, Debug)]
pub enum Seen {
    /// An entry of a log.
    Event(Event),
    /// Typing of the other side.
    Typing,
    /// How far a user has received and seen the channel.
    Marks {
        user: String,
        received: u64,
        seen: u64,
    },
    /// The connection named what the device had of the channel.
    Resumed { from: u64 },
    /// The connection goes on after this `seq`; what is before it is to be fetched over HTTP.
    Resync { newest: u64 },
    /// The connection has lost the channel.
    Closed,
}

/// Where something was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The device's connections are numbered.
    Connection(u32),
    Http,
}

#[derive(Clone, Debug)]
pub struct Sight {
    pub at: At,
    /// When it may have come at the earliest: when there was last nothing to read.
    pub came: At,
    pub source: Source,
    pub channel: String,
    pub seen: Seen,
}

/// One session of a user.
#[derive(Clone, Debug, Default)]
pub struct Device {
    pub name: String,
    pub user: String,
    pub sends: Vec<Send>,
    pub sights: Vec<Sight>,
    /// When a send to this channel was answered `unavailable`, or (without a channel) something else.
    pub unavailable: Vec<(At, Option<String>)>,
    /// When the server closed a connection, and with which code.
    pub closed: Vec<(At, u16)>,
    /// From when to when it read nothing on an open connection, where that was long.
    pub pauses: Vec<(At, At)>,
    /// When it was answered that the session is over: by a logout, by another device of its user, by a
    /// new password, or by the end of the account.
    pub ended: Option<At>,
    /// Which session has ended.
    pub session: Option<String>,
    /// Whatever it asked for after that and was given: when it asked, and for what.
    pub let_in: Vec<(At, String)>,
    /// When a connection was opened.
    pub connected: Vec<At>,
    /// It was stopped before it had everything: what it lacks is not judged.
    pub is_partial: bool,
}

/// A change of one side of a friendship that was answered with success.
#[derive(Clone, Debug)]
pub struct Change {
    pub channel: String,
    pub asked: At,
    pub answered: At,
    /// Whether the channel is open then.
    pub is_open: bool,
}

/// A fault and how long it held.
#[derive(Clone, Debug)]
pub struct Fault {
    pub name: String,
    pub from: At,
    pub to: At,
    /// The replica that is struck, where there is another one of its service: nobody may be told
    /// `unavailable`.
    pub covered: Option<String>,
}

/// An event as a subscriber outside has it: its `Nats-Msg-Id` and its payload.
pub type Told = (String, Value);

/// What a subscriber outside has in the end, and the accounts that there are.
#[derive(Clone, Debug, Default)]
pub struct Feeds {
    /// Each in its order, with repeats.
    pub users: Vec<Told>,
    pub friendships: Vec<Told>,
    /// Of each the channel, the `seq`, the kind and the message's id.
    pub chat: Vec<Told>,
    /// By id the username, as they are listed over HTTP.
    pub accounts: BTreeMap<String, String>,
}

/// An answer over HTTP by which a service says that it failed.
#[derive(Clone, Debug)]
pub struct Failure {
    pub at: At,
    pub status: u16,
    /// What was asked, and the answer.
    pub what: String,
}

/// The machine had no processor for somebody who wanted one, all this time.
#[derive(Clone, Debug)]
pub struct Stall {
    pub from: At,
    pub to: At,
    pub who: String,
}

/// A message as history has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub seq: u64,
    pub message: String,
    pub client_id: Option<String>,
    pub content: Option<String>,
    pub is_deleted: bool,
}

/// What Natter says of a channel at the end.
#[derive(Clone, Debug, Default)]
pub struct Channel {
    pub members: Vec<String>,
    /// By member: the whole log.
    pub logs: BTreeMap<String, Vec<Event>>,
    /// By member: the messages of history.
    pub histories: BTreeMap<String, Vec<Item>>,
    /// By member: the friendship as each side is told it.
    pub friendships: BTreeMap<String, Value>,
    /// By member whose marks they are: received and seen.
    pub marks: BTreeMap<String, (u64, u64)>,
}

/// A run.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub devices: Vec<Device>,
    pub changes: Vec<Change>,
    pub faults: Vec<Fault>,
    pub channels: BTreeMap<String, Channel>,
    /// When the machine kept somebody from running: what is judged by the second is judged by this too.
    pub stalls: Vec<Stall>,
    /// Answers over HTTP with 500 or more.
    pub failures: Vec<Failure>,
    /// None where nobody could subscribe.
    pub feeds: Option<Feeds>,
    /// What is left that should be gone, or does not agree: queues, dead letters, what a subscriber has.
    pub residue: Vec<String>,
}
