//! `POST /api/users/password/`

use axum::{Json, extract::State};
use natter_auth::Caller;
use natter_http::{ClientAddress, Fields, Filled};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{login::check, logout::Done};
use crate::{
    Users,
    account::{check_password, username_key},
    error::Error,
    password::Password,
    store::{Account, StoredPassword},
};

/// The current password and the new one.
#[derive(Deserialize, ToSchema)]
pub struct NewPassword {
    #[schema(value_type = String, min_length = 1)]
    current: Filled,
    /// As at sign-up.
    #[schema(value_type = String, min_length = 8, max_length = 1000)]
    new: Filled,
}

/// Change the password
///
/// Ends every other session.
#[utoipa::path(
    post,
    path = "/api/users/password/",
    operation_id = "change_password",
    security(("bearer" = [])),
    request_body(content((NewPassword = "application/json"), (NewPassword = "application/x-www-form-urlencoded"))),
    responses((status = 200, description = "The password is changed", body = Done))
)]
pub async fn change(
    State(users): State<Users>,
    caller: Caller,
    address: ClientAddress,
    fields: Fields,
) -> Result<Json<Done>, Error> {
    let sent: NewPassword = fields.read()?;
    let (Some(current), Some(new)) = (sent.current.0, sent.new.0) else {
        return Err(Error::PasswordsRequired);
    };
    let (account, checked) = confirm(&users, caller, address, &current).await?;
    let new = Password::new(&new);
    check_password(new.as_str(), &account.username, &account.email)?;
    let hash = users.passwords.hash(new).await?;
    let kept = caller.sid;
    if !users.store.change_password(&checked, &hash, kept).await? {
        return Err(Error::InvalidCredentials);
    }
    tracing::info!(user = %caller.user, "password changed");
    Ok(Json(Done {
        message: "Password changed",
    }))
}

/// The caller's account, and the stored password that was checked. Refuses a wrong password, and
/// counts it like a failed login.
pub async fn confirm(
    users: &Users,
    caller: Caller,
    address: ClientAddress,
    password: &str,
) -> Result<(Account, StoredPassword), Error> {
    let account = users
        .store
        .account(caller.user)
        .await?
        .ok_or(Error::AccountGone)?;
    let key = username_key(&account.username);
    let known = check(users, &key, address, password).await?;
    Ok((account, known))
}
