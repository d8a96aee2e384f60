//! Which messages a history request is about: bounds and pages as arithmetic over positions.
//!
//! The messages of a channel have positions 1, 2, 3, … Every filter is a pair of positions, a
//! page is a range between them, and `count` is their difference: all the same effort however
//! long the conversation is and however deep the page lies.

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use natter_protocol::MessageId;
use natter_service::{Page, Params};

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
    pub fn parse(params: &Params) -> Result<Self, Error> {
        let after = flag(params.get("after"))?;
        let before = flag(params.get("before"))?;
        if after && before {
            return Err(Error::InvalidQuery);
        }
        let mut starts = Vec::new();
        if let Some(text) = params.get("start_date") {
            starts.push(Start::Time(date(text)?));
        }
        for name in ["message_id", "start_message_id"] {
            if let Some(text) = params.get(name) {
                starts.push(Start::Message(
                    text.parse().map_err(|_| Error::InvalidQuery)?,
                ));
            }
        }
        let seqs = [
            ("after_seq", Order::OldestFirst),
            ("before_seq", Order::NewestFirst),
        ];
        let mut by_seq = Vec::new();
        for (name, order) in seqs {
            if let Some(text) = params.get(name) {
                let seq = seq(text)?;
                by_seq.push(Self {
                    order,
                    start: Start::Seq(seq),
                });
            }
        }
        let order = match before {
            true => Order::NewestFirst,
            false => Order::OldestFirst,
        };
        match (starts.as_slice(), by_seq.as_slice()) {
            ([], []) => Ok(Self {
                order,
                start: Start::Everything,
            }),
            ([start], []) if after || before => Ok(Self {
                order,
                start: *start,
            }),
            ([], [filter]) if !after && !before => Ok(*filter),
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

/// A decimal number. One too long for the machine is past any end.
pub fn seq(text: &str) -> Result<u64, Error> {
    match !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => Ok(text.parse().unwrap_or(u64::MAX)),
        false => Err(Error::InvalidQuery),
    }
}

fn flag(text: Option<&str>) -> Result<bool, Error> {
    match text.map(str::to_ascii_lowercase).as_deref() {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1") => Ok(true),
        Some(_) => Err(Error::InvalidQuery),
    }
}

/// An RFC 3339 date-time, or a date, which is its midnight in UTC.
fn date(text: &str) -> Result<DateTime<Utc>, Error> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    // chrono would also take 2026-1-1, and a sign.
    let is_digit = |(place, byte): (usize, u8)| match place {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    };
    match text.len() == 10 && text.bytes().enumerate().all(is_digit) {
        true => NaiveDate::parse_from_str(text, "%Y-%m-%d")
            .map(|date| date.and_time(NaiveTime::MIN).and_utc())
            .map_err(|_| Error::InvalidQuery),
        false => Err(Error::InvalidQuery),
    }
}

#[cfg(test)]
mod tests {
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
            let _ = Filter::parse(&Params::of(&query).expect("a query"));
        }
    }
}
