//! A friendship and the people in it, as events, calls and clients see them.

use std::{collections::HashMap, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{FriendshipId, Timestamp, UserId, profile::ProfileFields};

/// One side's answer to the friendship.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Pending,
    Accepted,
    Rejected,
}

impl Status {
    pub const ALL: [Self; 3] = [Self::Pending, Self::Accepted, Self::Rejected];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
        }
    }
}

impl FromStr for Status {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        let mut all = Self::ALL.into_iter();
        all.find(|status| status.as_str() == text)
            .ok_or(UnknownStatus)
    }
}

/// A text that is none of the three.
#[derive(Debug, thiserror::Error)]
#[error("no such status")]
pub struct UnknownStatus;

/// A friendship. Its two users are ids in broker events and in lists,
/// and objects in `friendship_update`, in answers to POST and PATCH, and in lists with `expand=users`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Friendship<U = UserId> {
    pub id: FriendshipId,
    /// Who asked.
    pub from_user: U,
    /// Who was asked.
    pub to_user: U,
    pub status_from_user: Status,
    pub status_to_user: Status,
    pub date_created: Timestamp,
    /// Whether its channel takes messages.
    pub is_open: bool,
    /// Starts at 1 and grows by 1 with each change; 0 from a replica whose version does not have the field.
    #[serde(default)]
    #[schema(required = true)]
    pub revision: i32,
}

impl<U> Friendship<U> {
    pub fn map_users<V>(self, mut user: impl FnMut(U) -> V) -> Friendship<V> {
        Friendship {
            id: self.id,
            from_user: user(self.from_user),
            to_user: user(self.to_user),
            status_from_user: self.status_from_user,
            status_to_user: self.status_to_user,
            date_created: self.date_created,
            is_open: self.is_open,
            revision: self.revision,
        }
    }
}

/// A user as friends see them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserCard {
    pub id: UserId,
    /// An absolute URL in HTTP answers and WebSocket frames; in broker events the path below the public
    /// URL.
    pub personal_image: Option<String>,
    pub username: String,
    #[serde(flatten)]
    pub fields: ProfileFields,
    pub email: String,
    /// Whether the account was deleted: nothing but the id is left of it.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub deleted: bool,
}

impl UserCard {
    /// The card of `id`; for a deleted user, one that has nothing but the id.
    pub fn of(id: UserId, cards: &HashMap<UserId, Self>) -> Self {
        cards.get(&id).cloned().unwrap_or_else(|| Self {
            id,
            personal_image: None,
            username: String::new(),
            fields: ProfileFields::default(),
            email: String::new(),
            deleted: true,
        })
    }

    /// The card as clients get it: `personal_image` below `base_url`.
    pub fn at(mut self, base_url: &str) -> Self {
        self.personal_image = self.personal_image.map(|path| format!("{base_url}{path}"));
        self
    }
}
