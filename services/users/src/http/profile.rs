//! `GET`, `PATCH` and `DELETE /api/users/profile/`

use axum::{Json, extract::State, http::StatusCode};
use natter_auth::Caller;
use natter_protocol::UserId;
use natter_service::{BaseUrl, ClientAddress, Fields};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    password::confirm,
    signup::{image, name},
};
use crate::{
    Users,
    error::Error,
    store::{Account, ProfileChange},
};

/// An account as its owner sees it.
#[derive(Serialize, ToSchema)]
pub struct Profile {
    id: UserId,
    username: String,
    email: String,
    first_name: String,
    last_name: String,
    personal_image: Option<String>,
}

impl Profile {
    fn of(account: Account, base: &BaseUrl) -> Json<Self> {
        Json(Self {
            id: UserId(account.id),
            personal_image: super::image_url(&account, base),
            username: account.username,
            email: account.email,
            first_name: account.first_name,
            last_name: account.last_name,
        })
    }
}

/// What of a profile changes: only what is sent.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents what Fields reads")]
pub struct Change {
    #[schema(max_length = 150)]
    first_name: Option<String>,
    #[schema(max_length = 150)]
    last_name: Option<String>,
    /// Empty or null removes the image; a new one is sent as multipart.
    #[schema(max_length = 0)]
    personal_image: Option<String>,
}

/// The same, with an image.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents what Fields reads")]
pub struct ChangeForm {
    #[schema(max_length = 150)]
    first_name: Option<String>,
    #[schema(max_length = 150)]
    last_name: Option<String>,
    /// JPEG, PNG, WebP or GIF, at most 5 MiB and 25 megapixels; empty removes it.
    #[schema(schema_with = natter_service::file)]
    personal_image: Option<Vec<u8>>,
}

/// The account's password.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents what Fields reads")]
pub struct Confirmation {
    #[schema(min_length = 1)]
    password: String,
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
#[utoipa::path(
    patch,
    path = "/api/users/profile/",
    operation_id = "change_profile",
    security(("bearer" = [])),
    request_body(content((Option<Change> = "application/json"), (Option<ChangeForm> = "multipart/form-data"))),
    responses((status = 200, description = "The profile from now on", body = Profile))
)]
pub async fn patch(
    State(users): State<Users>,
    caller: Caller,
    base: BaseUrl,
    fields: Fields,
) -> Result<Json<Profile>, Error> {
    let mut change = ProfileChange {
        first_name: name(&fields, "first_name")?.map(str::to_owned),
        last_name: name(&fields, "last_name")?.map(str::to_owned),
        image: None,
    };
    change.image = match image(&fields)? {
        Some(Some(file)) => Some(Some(users.images.put(file).await?)),
        Some(None) => Some(None),
        None => None,
    };
    let account = users.store.change_profile(caller.user, change).await?;
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
    responses((status = 204, description = "It is deleted"))
)]
pub async fn delete(
    State(users): State<Users>,
    caller: Caller,
    address: ClientAddress,
    fields: Fields,
) -> Result<StatusCode, Error> {
    let password = fields.text("password").ok_or(Error::InvalidCredentials)?;
    confirm(&users, caller, address, password).await?;
    users.store.delete_account(caller.user).await?;
    users.images.sweep_soon();
    tracing::info!(user = %caller.user, "account deleted");
    Ok(StatusCode::NO_CONTENT)
}
