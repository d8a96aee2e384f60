//! `POST /api/users/signup/`

use axum::{extract::State, http::HeaderMap, http::StatusCode};
use natter_http::{ClientAddress, Fields, File, Filled};
use natter_protocol::{call::TokenPair, profile::ProfileChange};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Tokens, user_agent};
use crate::{
    Users,
    account::{Username, check_email, check_password, username_key},
    error::Error,
    password::Password,
    store::NewAccount,
};

/// A new account.
#[derive(Deserialize, ToSchema)]
pub struct NewUser {
    #[serde(flatten)]
    #[schema(inline)]
    account: NewLogin,
    #[serde(flatten)]
    fields: ProfileChange,
}

/// What a login needs, and the picture.
#[derive(Deserialize, ToSchema)]
struct NewLogin {
    /// 1 to 150 Unicode letters, digits and `@ . + - _`; unique regardless of case.
    #[schema(value_type = String, min_length = 1, max_length = 150)]
    username: Filled,
    /// With an upper-case letter, a lower-case letter, a digit and a special character; not similar
    /// to the username or email.
    #[schema(value_type = String, min_length = 8, max_length = 1000)]
    password: Filled,
    #[schema(value_type = String, format = "email", max_length = 254)]
    email: Filled,
    #[schema(schema_with = super::image_schema)]
    personal_image: Option<File>,
}

/// Sign up
///
/// Makes an account and its first session. Nothing is stored when anything is refused.
#[utoipa::path(
    post,
    path = "/api/users/signup/",
    request_body(content((NewUser = "application/json"), (NewUser = "multipart/form-data"))),
    responses((status = 201, description = "The session's tokens", body = TokenPair))
)]
pub async fn signup(
    State(users): State<Users>,
    address: ClientAddress,
    headers: HeaderMap,
    fields: Fields,
) -> Result<(StatusCode, Tokens), Error> {
    // Each part is read on its own: through `flatten` serde would not name the wrong field.
    let sent = NewUser {
        account: fields.read()?,
        fields: fields.read()?,
    };
    let account = sent.account;
    let (Some(username), Some(password), Some(email)) =
        (account.username.0, account.password.0, account.email.0)
    else {
        return Err(Error::AccountRequired);
    };
    let key = username_key(&username);
    let username = match Username::new(&username) {
        Ok(name) => name,
        // A spelling that folds to somebody's name is taken, whatever characters it is written with.
        Err(_) if users.store.credentials(&key).await?.is_some() => {
            return Err(Error::UsernameTaken);
        }
        Err(broken) => return Err(broken.into()),
    };
    check_email(&email)?;
    let password = Password::new(&password);
    check_password(password.as_str(), username.as_str(), &email)?;
    sent.fields.check()?;
    users.throttle.sign_up(&key, address)?;
    // Before the costly part; two at the same moment are told apart by the database.
    if users.store.credentials(&key).await?.is_some() {
        return Err(Error::UsernameTaken);
    }
    let password_hash = users.passwords.hash(password).await?;
    let image = match account.personal_image.and_then(|file| file.0) {
        Some(image) => Some(users.images.put(image).await?),
        None => None,
    };
    let log_name = username.as_str().to_owned();
    let new = NewAccount {
        username,
        email: &email,
        password_hash,
        fields: sent.fields.into(),
        image,
    };
    let session = users.store.sign_up(new, &user_agent(&headers)).await?;
    tracing::info!(username = log_name, "signed up");
    let pair = users
        .signer
        .pair(session.subject, session.jti, session.issued_at)?;
    Ok((StatusCode::CREATED, Tokens(pair)))
}
