//! `GET`, `PATCH` and `DELETE /api/users/profile/`

use axum::{Json, extract::State, http::StatusCode};
use natter_auth::Caller;
use natter_http::{BaseUrl, ClientAddress, Fields, File, Filled, sent};
use natter_protocol::{
    UserId,
    profile::{ProfileChange, ProfileFields},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::password::confirm;
use crate::{Users, error::Error, store::Account};

/// An account as its owner sees it.
#[derive(Serialize, ToSchema)]
pub struct Profile {
    id: UserId,
    username: String,
    email: String,
    #[serde(flatten)]
    fields: ProfileFields,
    personal_image: Option<String>,
}

impl Profile {
    fn of(account: Account, base: &BaseUrl) -> Json<Self> {
        Json(Self {
            id: UserId(account.id),
            personal_image: super::image_url(&account, base),
            username: account.username,
            email: account.email,
            fields: account.fields,
        })
    }
}

/// The fields of a profile to change. Fields that are not sent stay as they are.
#[derive(Deserialize, ToSchema)]
pub struct Change {
    #[serde(flatten)]
    fields: ProfileChange,
    #[serde(flatten)]
    #[schema(inline)]
    picture: PictureChange,
}

#[derive(Deserialize, ToSchema)]
struct PictureChange {
    #[serde(default, deserialize_with = "sent")]
    #[schema(schema_with = super::image_schema)]
    personal_image: Option<File>,
}

/// The account's password.
#[derive(Deserialize, ToSchema)]
pub struct Confirmation {
    #[schema(value_type = String, min_length = 1)]
    password: Filled,
}

/// One's own profile
#[utoipa::path(
    get,
    path = "/api/users/profile/",
    operation_id = "get_profile",
    security(("bearer" = [])),
    responses((status = 200, description = "The profile", body = Profile))
)]
pub async fn get(
    State(users): State<Users>,
    caller: Caller,
    base: BaseUrl,
) -> Result<Json<Profile>, Error> {
    let account = users.store.account(caller.user).await?;
    Ok(Profile::of(account.ok_or(Error::AccountGone)?, &base))
}

/// Change one's own profile
///
/// 60 times a minute: beyond, 429, and `Retry-After` says how long.
#[utoipa::path(
    patch,
    path = "/api/users/profile/",
    operation_id = "change_profile",
    security(("bearer" = [])),
    request_body(content((Option<Change> = "application/json"), (Option<Change> = "multipart/form-data"))),
    responses((status = 200, description = "The changed profile", body = Profile))
)]
pub async fn patch(
    State(users): State<Users>,
    caller: Caller,
    base: BaseUrl,
    fields: Fields,
) -> Result<Json<Profile>, Error> {
    // Each part is read on its own: through `flatten` serde would not name the wrong field.
    let sent = Change {
        fields: fields.read()?,
        picture: fields.read()?,
    };
    sent.fields.check()?;
    users.throttle.change_profile(caller.user)?;
    let image = match sent.picture.personal_image {
        Some(File(Some(image))) => Some(Some(users.images.put(image).await?)),
        Some(File(None)) => Some(None),
        None => None,
    };
    let account = users.store.change_profile(caller.user, sent.fields, image);
    let account = account.await?;
    users.images.sweep_soon();
    Ok(Profile::of(account, &base))
}

/// Delete one's own account
///
/// Every session ends and friendships close. Messages stay for the friend, with the sender shown as
/// deleted. The username is free again.
#[utoipa::path(
    delete,
    path = "/api/users/profile/",
    operation_id = "delete_account",
    security(("bearer" = [])),
    request_body(content((Confirmation = "application/json"), (Confirmation = "application/x-www-form-urlencoded"))),
    responses((status = 204, description = "The account is deleted"))
)]
pub async fn delete(
    State(users): State<Users>,
    caller: Caller,
    address: ClientAddress,
    fields: Fields,
) -> Result<StatusCode, Error> {
    let sent: Confirmation = fields.read()?;
    let password = sent.password.0.ok_or(Error::InvalidCredentials)?;
    confirm(&users, caller, address, &password).await?;
    users.store.delete_account(caller.user).await?;
    users.images.sweep_soon();
    tracing::info!(user = %caller.user, "account deleted");
    Ok(StatusCode::NO_CONTENT)
}
