//! `POST /api/users/password/`

use axum::{Json, extract::State};
use natter_auth::Caller;
use natter_service::{ClientAddress, Fields};
use serde_json::{Value, json};

use crate::{
    Users,
    account::{check_password, username_key},
    error::Error,
    store::{Account, end_session, other_sessions, set_password},
};

pub async fn change(
    State(users): State<Users>,
    caller: Caller,
    address: ClientAddress,
    fields: Fields,
) -> Result<Json<Value>, Error> {
    let (Some(current), Some(new)) = (fields.text("current"), fields.text("new")) else {
        return Err(Error::Invalid(
            "Current and new password are required.".to_owned(),
        ));
    };
    let account = confirm(&users, caller, address, current).await?;
    check_password(new, &account.username, &account.email)?;
    let hash = users.passwords.hash(new).await?;
    let mut tx = users.store.begin().await?;
    set_password(&mut tx, caller.user, &hash).await?;
    for subject in other_sessions(&mut tx, caller.user, caller.sid).await? {
        end_session(&mut tx, subject).await?;
    }
    tx.commit().await?;
    tracing::info!(user = %caller.user, "password changed");
    Ok(Json(json!({"message": "Password changed"})))
}

/// The caller's account. Refuses a wrong password, and counts it like a failed login.
pub async fn confirm(
    users: &Users,
    caller: Caller,
    address: ClientAddress,
    password: &str,
) -> Result<Account, Error> {
    let account = users
        .store
        .account(caller.user)
        .await?
        .ok_or(Error::AccountGone)?;
    let key = username_key(&account.username);
    users.throttle.check(&key, address)?;
    let known = users.store.credentials(&key).await?;
    let hash = known.as_ref().map(|known| known.password_hash.as_str());
    if !users.passwords.verify(password, hash).await? {
        users.throttle.failed(key, address);
        return Err(Error::InvalidCredentials);
    }
    users.throttle.succeeded(&key);
    Ok(account)
}
