//! One channel's events in `seq` order, each once, without a hole.

use std::collections::BTreeMap;

use natter_protocol::event::LogEvent;

/// How many early events are kept while a missing one is fetched; more are fetched again.
const MAX_EARLY: usize = 1_000;

/// Puts events in order. What comes early waits; what was seen before is dropped.
pub struct Ordered {
    head: u64,
    early: BTreeMap<u64, LogEvent>,
    /// The newest seq that is known to exist.
    known: u64,
}

impl Ordered {
    /// Everything up to `head` is done.
    pub fn after(head: u64) -> Self {
        Self {
            head,
            early: BTreeMap::new(),
            known: head,
        }
    }

    /// The seq up to which everything was handed out.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Takes an event; returns the events that are due now, in order.
    pub fn accept(&mut self, event: LogEvent) -> Vec<LogEvent> {
        self.exists(event.seq);
        if event.seq > self.head + 1 {
            if self.early.len() < MAX_EARLY {
                self.early.insert(event.seq, event);
            }
            return Vec::new();
        }
        if event.seq <= self.head {
            return Vec::new();
        }
        let mut due = vec![event];
        self.head += 1;
        while let Some(event) = self.early.remove(&(self.head + 1)) {
            due.push(event);
            self.head += 1;
        }
        due
    }

    /// The log is known to reach `seq`.
    pub fn exists(&mut self, seq: u64) {
        self.known = self.known.max(seq);
    }

    /// Whether something is known to be missing.
    pub fn has_gap(&self) -> bool {
        self.known > self.head
    }
}

#[cfg(test)]
mod tests {
    use natter_protocol::{
        FriendshipId, MessageId, Timestamp, UserId,
        event::{LogTag, VERSION},
        message::{Kind, Message},
    };
    use proptest::prelude::*;

    use super::*;

    fn event(seq: u64) -> LogEvent {
        let at = Timestamp::now();
        let id = MessageId::assign(at, seq);
        let (channel, user) = (FriendshipId(id.0), UserId(id.0));
        LogEvent {
            id,
            tag: LogTag::Log,
            time: at,
            version: VERSION,
            channel,
            seq,
            kind: Kind::Message,
            message: Message {
                id,
                friendship: channel,
                sender: user,
                content: String::new(),
                media: Vec::new(),
                created_at: at,
                client_id: None,
                reply_to: None,
                edited_at: None,
                deleted: false,
            },
            members: [user, user],
        }
    }

    proptest! {
        /// Whatever is lost, repeated or out of order on the way: what comes out is 6, 7, 8, …,
        /// and a gap is known until what is missing was fetched.
        #[test]
        fn what_comes_out_has_no_hole(arrivals in proptest::collection::vec(1_u64..40, 0..80)) {
            let mut ordered = Ordered::after(5);
            let mut out = Vec::new();
            for seq in &arrivals {
                out.extend(ordered.accept(event(*seq)).into_iter().map(|event| event.seq));
            }
            let newest = arrivals.iter().copied().max().unwrap_or(0).max(5);
            prop_assert_eq!(ordered.has_gap(), ordered.head() < newest);
            for seq in ordered.head() + 1..=newest {
                out.extend(ordered.accept(event(seq)).into_iter().map(|event| event.seq));
            }
            prop_assert!(!ordered.has_gap());
            prop_assert_eq!(out, (6..=newest).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_lost_tail_is_a_gap_once_it_is_known_to_exist() {
        let mut ordered = Ordered::after(5);
        ordered.exists(7);
        assert!(ordered.has_gap());
        ordered.accept(event(6));
        assert!(ordered.has_gap());
        ordered.accept(event(7));
        assert!(!ordered.has_gap());
    }
}
