//! One type for each kind of id, so that a user cannot be passed where a friendship is meant.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::{Builder, Uuid};

use crate::Timestamp;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

id!(
    /// An account.
    UserId
);
id!(
    /// A friendship, and so its chat channel: on the wire the same id is called `channel`.
    FriendshipId
);
id!(
    /// A login on one device; the `sid` claim of its tokens.
    SessionId
);
id!(
    /// A stored file.
    MediaId
);
id!(
    /// A message, or an edit or deletion of one: one entry of a channel's log.
    ///
    /// A version 8 UUID that carries the entry's time (48 bits, milliseconds, so ids of a channel
    /// sort by age) and its `seq` (40 bits). Finding a message by its id is therefore a lookup by
    /// the log's primary key and needs no index of its own; the stored id is still compared, so a
    /// made-up id finds nothing.
    MessageId
);

impl MessageId {
    /// The id of the entry that gets `seq` at time `at`. The 34 bits between are random.
    pub fn assign(at: Timestamp, seq: u64) -> Self {
        let mut bytes = *Uuid::new_v4().as_bytes();
        bytes[..6].copy_from_slice(&at.unix_ms().to_be_bytes()[2..]);
        bytes[11..].copy_from_slice(&seq.to_be_bytes()[3..]);
        Self(Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// The place in the channel's log that the id names. Says nothing about whether it is filled.
    pub fn seq(self) -> u64 {
        self.0.as_bytes()[11..]
            .iter()
            .fold(0, |seq, byte| (seq << 8) | u64::from(*byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_id_is_a_v8_uuid_that_carries_time_and_seq() {
        let at = Timestamp::now();
        for seq in [0, 1, 1_000_000, (1 << 40) - 1] {
            let id = MessageId::assign(at, seq);
            assert_eq!(id.seq(), seq);
            assert_eq!(id.0.get_version_num(), 8);
            assert_eq!(&id.0.as_bytes()[..6], &at.unix_ms().to_be_bytes()[2..]);
        }
    }

    #[test]
    fn two_channels_at_the_same_time_and_seq_get_different_ids() {
        let at = Timestamp::now();
        assert_ne!(MessageId::assign(at, 1), MessageId::assign(at, 1));
    }
}
