//! What a member of a channel does at this moment: told to the friend's connections, never stored.
//!
//! [`Ephemeral`] lists all of it. Its subject, its delivery and its place in the AsyncAPI document
//! follow from that list; how it is read from a client is in [`EphemeralFrame`].

use serde::{Deserialize, Deserializer, Serialize, de::Error};
use utoipa::ToSchema;

use crate::{FriendshipId, UserId, event::Typed};

/// The kinds of ephemeral events, each with its own fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Ephemeral {
    /// A member of the channel started or stopped typing.
    Typing { active: bool },
}

impl Ephemeral {
    /// Every `type`, as [`Ephemeral::name`] returns it.
    pub const TYPES: &[&str] = &["typing"];

    /// The `type`, which is also the last token of the event's subject.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Typing { .. } => "typing",
        }
    }

    /// The event to publish when a connection closes whose newest event of this type in the channel
    /// was `self`; `None` where closing changes nothing for the friend.
    pub fn on_close(&self) -> Option<Self> {
        match self {
            Self::Typing { active } => active.then_some(Self::Typing { active: false }),
        }
    }
}

/// The frame that a client sends.
#[derive(Debug, PartialEq, ToSchema)]
pub struct EphemeralFrame {
    pub channel: FriendshipId,
    #[serde(flatten)]
    pub ephemeral: Ephemeral,
}

impl<'de> Deserialize<'de> for EphemeralFrame {
    /// Field by field: what serde makes of `flatten` keeps a value of memory for every value of a
    /// frame, also of the fields that no one knows.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Sent {
            channel: FriendshipId,
            #[serde(rename = "type")]
            name: String,
            active: bool,
        }
        let sent = Sent::deserialize(deserializer)?;
        let ephemeral = match sent.name.as_str() {
            "typing" => Ephemeral::Typing {
                active: sent.active,
            },
            name => return Err(Error::unknown_variant(name, Ephemeral::TYPES)),
        };
        Ok(Self {
            channel: sent.channel,
            ephemeral,
        })
    }
}

/// `chat.friendship.<id>.<type>`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EphemeralEvent {
    pub channel: FriendshipId,
    /// Who does it.
    pub user: UserId,
    #[serde(flatten)]
    pub ephemeral: Ephemeral,
}

impl EphemeralEvent {
    /// The frame that the friend's connections get: the event without what every event carries.
    pub fn frame(&self) -> String {
        // Strings and booleans: encoding cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Typed for EphemeralEvent {
    const TYPES: &[&str] = Ephemeral::TYPES;
}
