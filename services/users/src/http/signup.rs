//! `POST /api/users/signup/`

use axum::{Json, extract::State, http::HeaderMap, http::StatusCode};
use bytes::Bytes;
use natter_protocol::{UserId, call::TokenPair};
use natter_service::{Fields, Value};
use uuid::Uuid;

use super::user_agent;
use crate::{
    Users,
    account::{Username, check_email, check_name, check_password},
    error::Error,
    store::NewAccount,
};

pub async fn signup(
    State(users): State<Users>,
    headers: HeaderMap,
    fields: Fields,
) -> Result<(StatusCode, Json<TokenPair>), Error> {
    let (Some(username), Some(password), Some(email)) = (
        fields.text("username"),
        fields.text("password"),
        fields.text("email"),
    ) else {
        return Err(Error::Invalid(
            "Username, email, and password are required.".to_owned(),
        ));
    };
    let username = Username::new(username)?;
    check_email(email)?;
    check_password(password, username.as_str(), email)?;
    let first_name = name(&fields, "first_name")?.unwrap_or_default();
    let last_name = name(&fields, "last_name")?.unwrap_or_default();
    let image = image(&fields)?.flatten();
    // Before the costly part; two at the same moment are told apart by the database.
    if users.store.credentials(&username.key()).await?.is_some() {
        return Err(Error::UsernameTaken);
    }
    let password_hash = users.passwords.hash(password).await?;
    let image = match image {
        Some(file) => Some(users.images.put(UserId(Uuid::now_v7()), file).await?),
        None => None,
    };
    let log_name = username.as_str().to_owned();
    let new = NewAccount {
        username,
        email,
        password_hash,
        first_name,
        last_name,
        image: image.clone(),
    };
    let session = match users.store.sign_up(new, &user_agent(&headers)).await {
        Ok(session) => session,
        Err(error) => {
            if let Some(name) = image {
                users.images.remove(&name).await;
            }
            return Err(error);
        }
    };
    tracing::info!(username = log_name, "signed up");
    let pair = users
        .signer
        .pair(session.subject, session.jti, session.issued_at)?;
    Ok((StatusCode::CREATED, Json(pair)))
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
        Some(Value::Json(_) | Value::File(_)) => {
            Err(Error::Invalid(format!("{field} must be a text.")))
        }
    }
}

/// An image that was sent: `Some(None)` for one that is to be removed.
pub fn image(fields: &Fields) -> Result<Option<Option<Bytes>>, Error> {
    match fields.get("personal_image") {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(None)),
        Some(Value::Text(text)) if text.is_empty() => Ok(Some(None)),
        Some(Value::File(file)) if file.bytes.is_empty() => Ok(Some(None)),
        Some(Value::File(file)) => Ok(Some(Some(file.bytes.clone()))),
        Some(Value::Text(_) | Value::Json(_)) => {
            Err(Error::Invalid("personal_image must be a file.".to_owned()))
        }
    }
}
