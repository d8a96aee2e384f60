//! HTTP handlers: `/api/users/friendship/`.

use axum::{Json, Router, extract::State, http::StatusCode};
use natter_auth::Caller;
use natter_http::{Api, BaseUrl, ErrorKey, Fields, Filled, HttpSettings, Params};
use natter_protocol::{
    FriendshipId, UserId,
    friendship::{Friendship, Status, UserCard},
};
use serde::{Deserialize, Serialize};
use utoipa::{
    IntoParams, PartialSchema, ToSchema,
    openapi::{RefOr, Schema, schema::AnyOfBuilder},
};
use utoipa_axum::routes;

use crate::{
    Friendships,
    change::{add, cards, expand, set_side},
    error::Error,
    friendship::side_of,
};

pub fn router(friendships: Friendships, settings: &HttpSettings) -> Router {
    api().serve(friendships, settings)
}

fn api() -> Api<Friendships> {
    Api::new(
        "friendships",
        "Natter: friendships",
        "Who may talk to whom. A friendship is also its chat channel.",
        ErrorKey::Detail,
    )
    .operation::<Error>(routes!(list), [])
    .operation(
        routes!(ask),
        [
            Error::InvalidStatus,
            Error::AlreadyExists,
            Error::WithOneself,
            Error::UserNotFound,
            Error::TooManyRequests(60),
        ],
    )
    .operation(
        routes!(change),
        [
            Error::InvalidStatus,
            Error::NotAMember,
            Error::FriendshipNotFound,
        ],
    )
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Listing {
    /// `users`: the two users as objects instead of ids.
    #[param(inline)]
    expand: Option<Expand>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Expand {
    Users,
}

/// Friendships, their users as ids or as objects.
#[derive(Serialize)]
#[serde(untagged)]
enum Listed {
    Ids(Vec<Friendship>),
    Expanded(Vec<Friendship<UserCard>>),
}

impl PartialSchema for Listed {
    fn schema() -> RefOr<Schema> {
        // `anyOf`, not `oneOf`: an empty list matches both.
        let ids = Vec::<Friendship>::schema();
        let expanded = Vec::<Friendship<UserCard>>::schema();
        AnyOfBuilder::new().item(ids).item(expanded).into()
    }
}

impl ToSchema for Listed {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        Friendship::<UserId>::schemas(schemas);
        Friendship::<UserCard>::schemas(schemas);
    }
}

/// List one's own friendships
#[utoipa::path(
    get,
    path = "/api/users/friendship/",
    operation_id = "list_friendships",
    security(("bearer" = [])),
    params(Listing),
    responses((status = 200, description = "The caller's friendships, oldest first", body = Listed))
)]
async fn list(
    State(friendships): State<Friendships>,
    caller: Caller,
    base: BaseUrl,
    params: Params,
) -> Result<Json<Listed>, Error> {
    let sent: Listing = params.read()?;
    let all = friendships.store.of_user(caller.user).await?;
    match sent.expand {
        None => Ok(Json(Listed::Ids(all))),
        Some(Expand::Users) => {
            let users = all.iter().flat_map(|one| [one.from_user, one.to_user]);
            let cards = cards(&friendships.bus, users).await?;
            let expanded: Vec<_> = all
                .into_iter()
                .map(|one| expand(one, &cards).map_users(|card| card.at(&base.0)))
                .collect();
            Ok(Json(Listed::Expanded(expanded)))
        }
    }
}

/// A request for friendship.
#[derive(Deserialize, ToSchema)]
struct Request {
    #[schema(value_type = UserId)]
    to_user: Filled<UserId>,
    #[schema(value_type = Status)]
    status: Filled<Status>,
}

/// Ask for a friendship
///
/// `status` is the asking side's; the other side's is `pending`.
#[utoipa::path(
    post,
    path = "/api/users/friendship/",
    operation_id = "ask_for_friendship",
    security(("bearer" = [])),
    request_body(content((Request = "application/json"), (Request = "application/x-www-form-urlencoded"))),
    responses((status = 201, description = "The friendship", body = Friendship<UserCard>))
)]
async fn ask(
    State(friendships): State<Friendships>,
    caller: Caller,
    base: BaseUrl,
    fields: Fields,
) -> Result<(StatusCode, Json<Friendship<UserCard>>), Error> {
    let sent: Request = fields.read()?;
    let status = sent.status.0.ok_or(Error::InvalidStatus)?;
    let to = sent.to_user.0.ok_or(Error::UserNotFound)?;
    if to == caller.user {
        return Err(Error::WithOneself);
    }
    let cards = cards(&friendships.bus, [caller.user, to]).await?;
    if !cards.contains_key(&to) {
        return Err(Error::UserNotFound);
    }
    let limits = &friendships.request_limits;
    let sides = [caller.user, to];
    let shown = add(&friendships.store, sides, status, limits, &cards).await?;
    Ok((
        StatusCode::CREATED,
        Json(shown.map_users(|card| card.at(&base.0))),
    ))
}

/// The caller's answer to a friendship.
#[derive(Deserialize, ToSchema)]
struct Answer {
    #[schema(value_type = FriendshipId)]
    friendship_id: Filled<FriendshipId>,
    #[schema(value_type = Status)]
    status: Filled<Status>,
}

/// Answer a request for friendship, or change an answer
///
/// Changes the caller's own side only.
#[utoipa::path(
    patch,
    path = "/api/users/friendship/",
    operation_id = "change_friendship",
    security(("bearer" = [])),
    request_body(content((Answer = "application/json"), (Answer = "application/x-www-form-urlencoded"))),
    responses((status = 200, description = "The changed friendship", body = Friendship<UserCard>))
)]
async fn change(
    State(friendships): State<Friendships>,
    caller: Caller,
    base: BaseUrl,
    fields: Fields,
) -> Result<Json<Friendship<UserCard>>, Error> {
    let sent: Answer = fields.read()?;
    let status = sent.status.0.ok_or(Error::InvalidStatus)?;
    let id = sent.friendship_id.0.ok_or(Error::FriendshipNotFound)?;
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

#[cfg(test)]
mod tests {
    #[test]
    fn the_document_in_the_repository_is_the_one_that_is_served() {
        natter_test_support::check_generated(
            concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json"),
            &super::api().document(),
        );
    }
}
