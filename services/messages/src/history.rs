//! Which messages a history request is about: bounds and pages as arithmetic over positions.
//!
//! The messages of a channel have positions 1, 2, 3, … Every filter is a pair of positions, a
//! page is a range between them, and `count` is their difference: all the same effort however
//! long the conversation is and however deep the page lies.

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use natter_http::{Flag, Number, Page, from_zero};
use natter_protocol::MessageId;
use serde::{Deserialize, Deserializer, de};
use utoipa::IntoParams;

use crate::{channel::Channel, error::Error, store::Store};

/// The smallest step of a stored time.
const TICK: chrono::Duration = chrono::Duration::microseconds(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    OldestFirst,
    NewestFirst,
}

/// Where a history starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Everything,
    /// From (or up to) this moment, inclusive.
    Time(DateTime<Utc>),
    /// From (or up to) this message, inclusive.
    Message(MessageId),
    /// After (or before) this seq, exclusive.
    Seq(u64),
}

/// What a history request may ask for.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Filters {
    /// Messages from the start on, oldest first; also the order where neither flag is given.
    #[param(value_type = Option<bool>)]
    after: Option<Flag>,
    /// Messages up to the start, newest first. Cannot be combined with `after`.
    #[param(value_type = Option<bool>)]
    before: Option<Flag>,
    /// The start, inclusive: an RFC 3339 time, or a date for its midnight in UTC. Needs `after` or
    /// `before`.
    #[param(value_type = Option<String>, format = "date-time")]
    start_date: Option<Date>,
    /// The start, inclusive: a message of this channel. Needs `after` or `before`.
    message_id: Option<MessageId>,
    /// Another name of `message_id`.
    start_message_id: Option<MessageId>,
    /// In place of a flag and a start, oldest first: only what comes after this `seq`.
    #[param(schema_with = from_zero)]
    after_seq: Option<Number>,
    /// In place of a flag and a start, newest first: only what comes before this `seq`.
    #[param(schema_with = from_zero)]
    before_seq: Option<Number>,
}

/// A history request's filter, well formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    pub order: Order,
    start: Start,
}

/// The messages of a filter: positions from `first` to `last`, inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    first: u64,
    last: u64,
}

impl Filter {
    pub fn of(sent: Filters) -> Result<Self, Error> {
        let by_time = sent.start_date.map(|Date(time)| Start::Time(time));
        let messages = [sent.message_id, sent.start_message_id];
        let by_message = messages.into_iter().flatten().map(Start::Message);
        let starts: Vec<Start> = by_time.into_iter().chain(by_message).collect();
        let by_seq = |order, seq: Option<Number>| {
            seq.map(|Number(seq)| Self {
                order,
                start: Start::Seq(seq),
            })
        };
        let after_seq = by_seq(Order::OldestFirst, sent.after_seq);
        let before_seq = by_seq(Order::NewestFirst, sent.before_seq);
        let by_seq: Vec<Self> = after_seq.into_iter().chain(before_seq).collect();
        let is_set = |flag: Option<Flag>| flag == Some(Flag(true));
        let order = match (is_set(sent.after), is_set(sent.before)) {
            (true, true) => return Err(Error::InvalidQuery),
            (false, true) => Some(Order::NewestFirst),
            (true, false) => Some(Order::OldestFirst),
            (false, false) => None,
        };
        match (order, starts.as_slice(), by_seq.as_slice()) {
            (_, [], []) => Ok(Self {
                order: order.unwrap_or(Order::OldestFirst),
                start: Start::Everything,
            }),
            (Some(order), [start], []) => Ok(Self {
                order,
                start: *start,
            }),
            (None, [], [filter]) => Ok(*filter),
            _ => Err(Error::InvalidQuery),
        }
    }

    pub async fn bounds(&self, store: &Store, channel: &Channel) -> Result<Bounds, Error> {
        let everything = Bounds {
            first: 1,
            last: channel.messages,
        };
        // How many messages come before the start (oldest first) or up to it (newest first).
        let newest_first = self.order == Order::NewestFirst;
        let split = match self.start {
            Start::Everything => return Ok(everything),
            Start::Time(at) => {
                let at = if newest_first { at + TICK } else { at };
                let seq = store.seq_of_time(channel, at).await?;
                store.messages_up_to(channel, seq - 1).await?
            }
            Start::Message(id) => {
                if !store.has_message(channel.id, id).await? {
                    return Err(Error::InvalidQuery);
                }
                let position = store.messages_up_to(channel, id.seq()).await?;
                if newest_first { position } else { position - 1 }
            }
            Start::Seq(seq) if newest_first => {
                store.messages_up_to(channel, seq.saturating_sub(1)).await?
            }
            Start::Seq(seq) => store.messages_up_to(channel, seq).await?,
        };
        Ok(match self.order {
            Order::OldestFirst => Bounds {
                first: split + 1,
                ..everything
            },
            Order::NewestFirst => Bounds {
                last: split,
                ..everything
            },
        })
    }
}

impl Bounds {
    pub fn count(self) -> u64 {
        (self.last + 1).saturating_sub(self.first)
    }

    /// The positions on a page, oldest first. `None` for an empty page.
    pub fn page(self, page: &Page, order: Order) -> Option<(u64, u64)> {
        self.positions(page.offset(), page.limit(), order)
    }

    /// The positions of at most `size` messages after the first `before`.
    fn positions(self, before: u64, size: u64, order: Order) -> Option<(u64, u64)> {
        let count = self.count();
        if before >= count {
            return None;
        }
        let size = size.min(count - before);
        Some(match order {
            Order::OldestFirst => (self.first + before, self.first + before + size - 1),
            Order::NewestFirst => (self.last - before - size + 1, self.last - before),
        })
    }
}

/// An RFC 3339 date-time, or a date, which is its midnight in UTC.
struct Date(DateTime<Utc>);

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time = time_of(&text).ok_or_else(|| de::Error::custom("neither a time nor a date"))?;
        Ok(Self(time))
    }
}

fn time_of(text: &str) -> Option<DateTime<Utc>> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.to_utc());
    }
    // chrono would also take 2026-1-1, and a sign.
    let is_digit = |(place, byte): (usize, u8)| match place {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    };
    if text.len() != 10 || !text.bytes().enumerate().all(is_digit) {
        return None;
    }
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    Some(date.and_time(NaiveTime::MIN).and_utc())
}

#[cfg(test)]
mod tests {
    use natter_http::Params;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_pages_of_bounds_are_all_of_their_positions_once(
            first in 1_u64..300, count in 0_u64..300, size in 1_u64..40, newest_first: bool,
        ) {
            let bounds = Bounds { first, last: first + count - 1 };
            prop_assert_eq!(bounds.count(), count);
            let order = if newest_first { Order::NewestFirst } else { Order::OldestFirst };
            let mut visited = Vec::new();
            for number in 0..=count / size + 1 {
                let Some((low, high)) = bounds.positions(number * size, size, order) else { continue };
                prop_assert!(high - low < size);
                let page = low..=high;
                match order {
                    Order::OldestFirst => visited.extend(page),
                    Order::NewestFirst => visited.extend(page.rev()),
                }
            }
            if newest_first {
                visited.reverse();
            }
            prop_assert_eq!(visited, (first..first + count).collect::<Vec<_>>());
        }

        #[test]
        fn a_query_is_a_filter_or_refused_and_never_a_panic(
            names in prop::collection::vec(prop::sample::select(&["after", "before", "start_date",
                "message_id", "start_message_id", "after_seq", "before_seq"][..]), 0..4),
            values in prop::collection::vec("(true|1|0|2026-11-22|2026-11-22T12:00:00Z|\\PC{0,12})", 4),
        ) {
            let pairs: Vec<_> = names.iter().zip(&values).collect();
            let query = serde_urlencoded::to_string(&pairs).expect("a query");
            let read = Params::of(&query).expect("a query").read();
            let _ = read.map(Filter::of);
        }
    }
}
