//! `POST /api/users/login/`

use axum::{extract::State, http::HeaderMap};
use natter_http::{ClientAddress, Fields, Filled};
use natter_protocol::{Timestamp, call::TokenPair};
use serde::Deserialize;
use tracing::Instrument;
use utoipa::ToSchema;

use super::{Tokens, user_agent};
use crate::{
    Users,
    account::{MAX_USERNAME_CHARS, username_key},
    error::Error,
    store::StoredPassword,
};

/// A username and its password.
#[derive(Deserialize, ToSchema)]
pub struct Credentials {
    #[schema(value_type = String, min_length = 1)]
    username: Filled,
    #[schema(value_type = String, min_length = 1)]
    password: Filled,
}

/// Log in
///
/// Starts a session; beyond 1,000 sessions of an account those end that were used longest ago. After
/// 10 failed logins to one account, or 100 from one address, further logins are refused with 429 for
/// up to five minutes; `Retry-After` says how long.
#[utoipa::path(
    post,
    path = "/api/users/login/",
    request_body(content((Credentials = "application/json"), (Credentials = "application/x-www-form-urlencoded"))),
    responses((status = 200, description = "The session's tokens", body = TokenPair))
)]
pub async fn login(
    State(users): State<Users>,
    address: ClientAddress,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Tokens, Error> {
    let sent: Credentials = fields.read()?;
    let (Some(username), Some(password)) = (sent.username.0, sent.password.0) else {
        tracing::warn!("login without a username or a password");
        return Err(Error::CredentialsRequired);
    };
    // A text that is no valid username has a key too: it may be a spelling of one. Failures are
    // counted for each key.
    let key = username_key(&username);
    let checked = check(&users, &key, address, &password).await;
    let known = checked.inspect_err(|error| {
        if matches!(error, Error::InvalidCredentials) {
            // No more of it than the longest name has: a log line must not hold a whole body.
            let shown: String = username.chars().take(MAX_USERNAME_CHARS).collect();
            tracing::warn!(username = shown, "login refused");
        }
    })?;
    let expired = users.signer.expired_before(Timestamp::now().utc());
    let session = users
        .store
        .log_in(&known, &user_agent(&headers), expired)
        .await?;
    // Deleted, or with another password since.
    let session = session.ok_or(Error::InvalidCredentials)?;
    tracing::info!(username, "logged in");
    let pair = users
        .signer
        .pair(session.subject, session.jti, session.issued_at)?;
    Ok(Tokens(pair))
}

/// Checks the password of the account with this key. A wrong password counts as a failed login,
/// also where nobody waits for the answer any more.
pub async fn check(
    users: &Users,
    key: &str,
    address: ClientAddress,
    password: &str,
) -> Result<StoredPassword, Error> {
    let login = users.throttle.log_in(key, address).await?;
    let (users, key, password) = (users.clone(), key.to_owned(), password.to_owned());
    let checked = async move {
        let known = users.store.credentials(&key).await?;
        let hash = known.as_ref().map(|known| known.password_hash.as_str());
        if users.passwords.verify(&password, hash).await? {
            login.succeeded();
            known.ok_or(Error::InvalidCredentials)
        } else {
            login.failed();
            Err(Error::InvalidCredentials)
        }
    };
    // In a task of its own: the request may end before.
    let checked = tokio::spawn(checked.in_current_span()).await;
    checked.map_err(|error| Error::Internal(error.into()))?
}
