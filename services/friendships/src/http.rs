//! The HTTP door: `/api/users/friendship/`.

use std::collections::HashMap;

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use natter_auth::Caller;
use natter_bus::Bus;
use natter_protocol::{
    FriendshipId, UserId,
    call::{GetUsers, MAX_USERS},
    event::FriendshipEvent,
    friendship::{Friendship, Status, UserCard},
};
use natter_service::{BaseUrl, ErrorKey, Fields, Params, Problem, ProcessSettings, wrap};

use crate::{
    Friendships,
    error::Error,
    friendship::{Side, Statuses, change_event, side_of},
    store::{Store, announce, insert, lock, set_statuses},
};

pub fn router(friendships: Friendships, settings: &ProcessSettings) -> Router {
    let routes = Router::new()
        .route("/api/users/friendship/", get(list).post(ask).patch(change))
        .with_state(friendships);
    wrap(routes, ErrorKey::Detail, settings)
}

async fn list(
    State(friendships): State<Friendships>,
    caller: Caller,
    base: BaseUrl,
    params: Params,
) -> Result<Response, Error> {
    let all = friendships.store.of_user(caller.user).await?;
    match params.get("expand") {
        None => Ok(Json(all).into_response()),
        Some("users") => {
            let users = all.iter().flat_map(|one| [one.from_user, one.to_user]);
            let cards = cards(&friendships.bus, users).await?;
            let expanded: Vec<_> = all
                .into_iter()
                .map(|one| expand(one, &cards).map_users(|card| card.at(&base.0)))
                .collect();
            Ok(Json(expanded).into_response())
        }
        Some(_) => Ok(Problem::invalid_query().into_response()),
    }
}

async fn ask(
    State(friendships): State<Friendships>,
    caller: Caller,
    base: BaseUrl,
    fields: Fields,
) -> Result<(StatusCode, Json<Friendship<UserCard>>), Error> {
    let status = status(&fields)?;
    let to: UserId = fields
        .text("to_user")
        .and_then(|id| id.parse().ok())
        .ok_or(Error::UserNotFound)?;
    if to == caller.user {
        return Err(Error::WithOneself);
    }
    let cards = cards(&friendships.bus, [caller.user, to]).await?;
    if !cards.contains_key(&to) {
        return Err(Error::UserNotFound);
    }
    let mut tx = friendships.store.begin().await?;
    let state = insert(&mut tx, caller.user, to, status)
        .await?
        .ok_or(Error::AlreadyExists)?;
    let shown = expand(state.friendship.clone(), &cards);
    announce(&mut tx, FriendshipEvent::Requested(state), &shown).await?;
    tx.commit().await?;
    Ok((
        StatusCode::CREATED,
        Json(shown.map_users(|card| card.at(&base.0))),
    ))
}

async fn change(
    State(friendships): State<Friendships>,
    caller: Caller,
    base: BaseUrl,
    fields: Fields,
) -> Result<Json<Friendship<UserCard>>, Error> {
    let status = status(&fields)?;
    let id: FriendshipId = fields
        .text("friendship_id")
        .and_then(|id| id.parse().ok())
        .ok_or(Error::FriendshipNotFound)?;
    let known = friendships
        .store
        .get(id)
        .await?
        .ok_or(Error::FriendshipNotFound)?;
    let (from, to) = (known.friendship.from_user, known.friendship.to_user);
    let side = side_of(caller.user, from, to).ok_or(Error::NotAMember)?;
    // Asked for before the row is locked: nobody waits for another service with a lock in hand.
    let cards = cards(&friendships.bus, [from, to]).await?;

    let shown = set_side(&friendships.store, id, side, status, &cards).await?;
    Ok(Json(shown.map_users(|card| card.at(&base.0))))
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
    let before = lock(&mut tx, id)
        .await?
        .ok_or(Error::FriendshipNotFound)?
        .friendship;
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

fn status(fields: &Fields) -> Result<Status, Error> {
    fields
        .text("status")
        .and_then(Status::parse)
        .ok_or(Error::InvalidStatus)
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
fn expand(friendship: Friendship, cards: &HashMap<UserId, UserCard>) -> Friendship<UserCard> {
    friendship.map_users(|id| UserCard::of(id, cards))
}
