//! `POST /api/users/signup/`

use axum::{extract::State, http::HeaderMap, http::StatusCode};
use bytes::Bytes;
use natter_protocol::call::TokenPair;
use natter_service::{ClientAddress, Fields, Value};
use utoipa::ToSchema;

use super::{Tokens, user_agent};
use crate::{
    Users,
    account::{Broken, Username, check_email, check_name, check_password, username_key},
    error::Error,
    password::Password,
    store::NewAccount,
};

/// A new account.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents what Fields reads")]
pub struct NewUser {
    /// 1 to 150 Unicode letters, digits and `@ . + - _`; unique regardless of case.
    #[schema(min_length = 1, max_length = 150)]
    username: String,
    /// With an upper-case letter, a lower-case letter, a digit and a special character; not similar
    /// to the username or email.
    #[schema(min_length = 8, max_length = 1000)]
    password: String,
    #[schema(format = "email", max_length = 254)]
    email: String,
    #[schema(max_length = 150)]
    first_name: Option<String>,
    #[schema(max_length = 150)]
    last_name: Option<String>,
}

/// A new account, with an image.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents what Fields reads")]
pub struct NewUserForm {
    #[schema(min_length = 1, max_length = 150)]
    username: String,
    #[schema(min_length = 8, max_length = 1000)]
    password: String,
    #[schema(format = "email", max_length = 254)]
    email: String,
    #[schema(max_length = 150)]
    first_name: Option<String>,
    #[schema(max_length = 150)]
    last_name: Option<String>,
    /// JPEG, PNG, WebP or GIF, at most 5 MiB and 25 megapixels.
    #[schema(schema_with = natter_service::file)]
    personal_image: Option<Vec<u8>>,
}

/// Sign up
///
/// Makes an account and its first session. Nothing is stored when anything is refused.
#[utoipa::path(
    post,
    path = "/api/users/signup/",
    request_body(content((NewUser = "application/json"), (NewUserForm = "multipart/form-data"))),
    responses((status = 201, description = "The session's tokens", body = TokenPair))
)]
pub async fn signup(
    State(users): State<Users>,
    address: ClientAddress,
    headers: HeaderMap,
    fields: Fields,
) -> Result<(StatusCode, Tokens), Error> {
    let (Some(username), Some(password), Some(email)) = (
        fields.text("username"),
        fields.text("password"),
        fields.text("email"),
    ) else {
        return Err(Error::AccountRequired);
    };
    let key = username_key(username);
    let username = match Username::new(username) {
        Ok(name) => name,
        // A spelling that folds to somebody's name is taken, whatever characters it is written with.
        Err(_) if users.store.credentials(&key).await?.is_some() => {
            return Err(Error::UsernameTaken);
        }
        Err(broken) => return Err(broken.into()),
    };
    check_email(email)?;
    let password = Password::new(password);
    check_password(password.as_str(), username.as_str(), email)?;
    let first_name = name(&fields, "first_name")?.unwrap_or_default();
    let last_name = name(&fields, "last_name")?.unwrap_or_default();
    let image = image(&fields)?.flatten();
    users.throttle.sign_up(&key, address)?;
    // Before the costly part; two at the same moment are told apart by the database.
    if users.store.credentials(&key).await?.is_some() {
        return Err(Error::UsernameTaken);
    }
    let password_hash = users.passwords.hash(password).await?;
    let image = match image {
        Some(file) => Some(users.images.put(file).await?),
        None => None,
    };
    let log_name = username.as_str().to_owned();
    let new = NewAccount {
        username,
        email,
        password_hash,
        first_name,
        last_name,
        image,
    };
    let session = users.store.sign_up(new, &user_agent(&headers)).await?;
    tracing::info!(username = log_name, "signed up");
    let pair = users
        .signer
        .pair(session.subject, session.jti, session.issued_at)?;
    Ok((StatusCode::CREATED, Tokens(pair)))
}

/// A first or last name that was sent; null counts as empty.
pub fn name<'a>(fields: &'a Fields, field: &str) -> Result<Option<&'a str>, Error> {
    match fields.get(field) {
        None => Ok(None),
        Some(Value::Null) => Ok(Some("")),
        Some(Value::Text(text)) => {
            check_name(field, text)?;
            Ok(Some(text))
        }
        Some(Value::Json(_) | Value::File(_) | Value::Repeated) => {
            Err(Broken::new("invalid_name", format!("{field} must be a text.")).into())
        }
    }
}

/// An image that was sent: `Some(None)` for one that is to be removed.
pub fn image(fields: &Fields) -> Result<Option<Option<Bytes>>, Error> {
    match fields.get("personal_image") {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(None)),
        Some(Value::Text(text)) if text.is_empty() => Ok(Some(None)),
        Some(Value::File(file)) if file.is_none() => Ok(Some(None)),
        Some(Value::File(file)) => Ok(Some(Some(file.bytes.clone()))),
        Some(Value::Text(_) | Value::Json(_) | Value::Repeated) => {
            Err(Broken::new("invalid_image", "personal_image must be a file.").into())
        }
    }
}
