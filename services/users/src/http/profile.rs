//! `GET` and `PATCH /api/users/profile/`

use axum::{Json, extract::State, http::StatusCode};
use natter_auth::Caller;
use natter_protocol::UserId;
use natter_service::{BaseUrl, ClientAddress, Fields};
use serde::Serialize;

use super::{
    password::confirm,
    signup::{image, name},
};
use crate::{
    Users,
    error::Error,
    store::{Account, ProfileChange},
};

#[derive(Serialize)]
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

pub async fn get(
    State(users): State<Users>,
    caller: Caller,
    base: BaseUrl,
) -> Result<Json<Profile>, Error> {
    let account = users.store.account(caller.user).await?;
    Ok(Profile::of(account.ok_or(Error::AccountGone)?, &base))
}

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
    let stored = match image(&fields)? {
        Some(Some(file)) => Some(users.images.put(caller.user, file).await?),
        Some(None) => {
            change.image = Some(None);
            None
        }
        None => None,
    };
    if let Some(name) = &stored {
        change.image = Some(Some(name.clone()));
    }
    let changes_image = change.image.is_some();
    let changed = users.store.change_profile(caller.user, change).await;
    if let (Err(_), Some(name)) = (&changed, &stored) {
        users.images.remove(name).await;
    }
    let (account, previous) = changed?;
    if let Some(previous) =
        previous.filter(|previous| changes_image && stored.as_ref() != Some(previous))
    {
        users.images.remove(&previous).await;
    }
    Ok(Profile::of(account, &base))
}

/// Deletes the account: every session ends, and the other services follow the event.
pub async fn delete(
    State(users): State<Users>,
    caller: Caller,
    address: ClientAddress,
    fields: Fields,
) -> Result<StatusCode, Error> {
    let password = fields.text("password").ok_or(Error::InvalidCredentials)?;
    confirm(&users, caller, address, password).await?;
    let image = users.store.delete_account(caller.user).await?;
    if let Some(name) = image {
        users.images.remove(&name).await;
    }
    tracing::info!(user = %caller.user, "account deleted");
    Ok(StatusCode::NO_CONTENT)
}
