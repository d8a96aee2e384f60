//! Changes of a friendship, whoever asks for them, and how both sides are shown it.

use std::collections::HashMap;

use natter_bus::Bus;
use natter_protocol::{
    FriendshipId, UserId,
    call::{GetUsers, MAX_USERS},
    event::FriendshipEvent,
    friendship::{Friendship, Status, UserCard},
};

use crate::{
    RequestLimits,
    error::Error,
    friendship::{Side, Statuses, change_event},
    store::{Store, announce, insert, is_gone, lock, seconds_until_allowed, set_statuses},
};

/// Adds a friendship, with the status of the first side, which asks, and announces it.
pub async fn add(
    store: &Store,
    [from, to]: [UserId; 2],
    status: Status,
    limits: &RequestLimits,
    cards: &HashMap<UserId, UserCard>,
) -> Result<Friendship<UserCard>, Error> {
    let mut tx = store.begin().await?;
    if let Some(left) = seconds_until_allowed(&mut tx, from, &limits.0).await? {
        return Err(Error::TooManyRequests(left));
    }
    if is_gone(&mut tx, [from, to]).await? {
        return Err(Error::UserNotFound);
    }
    let state = insert(&mut tx, from, to, status)
        .await?
        .ok_or(Error::AlreadyExists)?;
    let shown = expand(state.friendship.clone(), cards);
    announce(&mut tx, FriendshipEvent::Requested(state), &shown).await?;
    tx.commit().await?;
    Ok(shown)
}

/// Sets one side's status and announces it.
pub async fn set_side(
    store: &Store,
    id: FriendshipId,
    side: Side,
    status: Status,
    cards: &HashMap<UserId, UserCard>,
) -> Result<Friendship<UserCard>, Error> {
    let mut tx = store.begin().await?;
    let before = lock(&mut tx, id).await?;
    let before = before.ok_or(Error::FriendshipNotFound)?.friendship;
    // A friendship with a deleted user stays closed, whatever request was on its way.
    if status != Status::Rejected && is_gone(&mut tx, [before.from_user, before.to_user]).await? {
        return Err(Error::FriendshipNotFound);
    }
    let statuses = Statuses {
        from: before.status_from_user,
        to: before.status_to_user,
    };
    let state = set_statuses(&mut tx, id, statuses.with(side, status)).await?;
    let shown = expand(state.friendship.clone(), cards);
    announce(&mut tx, change_event(before.is_open, state), &shown).await?;
    tx.commit().await?;
    Ok(shown)
}

/// The cards of those users that exist.
pub async fn cards(
    bus: &Bus,
    users: impl IntoIterator<Item = UserId>,
) -> Result<HashMap<UserId, UserCard>, Error> {
    let mut users: Vec<UserId> = users.into_iter().collect();
    users.sort_unstable();
    users.dedup();
    let mut cards = HashMap::with_capacity(users.len());
    for users in users.chunks(MAX_USERS) {
        let users = users.to_vec();
        let found = bus.call(&GetUsers { users }).await?;
        cards.extend(found.into_iter().map(|card| (card.id, card)));
    }
    Ok(cards)
}

/// The friendship with its users as cards.
pub fn expand(friendship: Friendship, cards: &HashMap<UserId, UserCard>) -> Friendship<UserCard> {
    friendship.map_users(|id| UserCard::of(id, cards))
}
