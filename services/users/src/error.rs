//! Everything that can go wrong here, and what the client is told.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use natter_auth::TokenError;
use natter_http::{Problem, WrongField};
use natter_protocol::profile::{BrokenRule, ProfileChange};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the current or new password is missing")]
    PasswordsRequired,
    #[error("username or password is missing")]
    CredentialsRequired,
    #[error("the credentials are wrong")]
    InvalidCredentials,
    #[error("the refresh token is missing")]
    RefreshRequired,
    #[error("the refresh token does not count")]
    InvalidRefresh,
    #[error("the token is not the caller's refresh token")]
    InvalidToken,
    #[error("{}", .0.sentence)]
    Invalid(BrokenRule),
    #[error("the username is taken")]
    UsernameTaken,
    #[error("the account is gone")]
    AccountGone,
    #[error("there is no such image")]
    ImageNotFound,
    #[error("too many failures")]
    RateLimited(u32),
    #[error("there is no such session")]
    SessionNotFound,
    #[error("too many passwords are being checked")]
    Busy,
    #[error("the username, email or password is missing")]
    AccountRequired,
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Http(#[from] Problem),
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    #[error("the media store failed")]
    MediaStore(#[from] natter_media::MediaError),
    #[error(transparent)]
    Internal(anyhow::Error),
}

impl From<BrokenRule> for Error {
    fn from(broken: BrokenRule) -> Self {
        Self::Invalid(broken)
    }
}

impl From<WrongField> for Error {
    fn from(wrong: WrongField) -> Self {
        let code = match wrong.name() {
            "personal_image" => "invalid_image",
            field => ProfileChange::error_code(field).unwrap_or("invalid_name"),
        };
        Self::Invalid(BrokenRule::new(code, wrong.to_string()))
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let unauthorized = |code, text| Problem::new(StatusCode::UNAUTHORIZED, code, text);
        match error {
            Error::CredentialsRequired => {
                Problem::bad_request("credentials_required", "Username and password are required")
            }
            Error::PasswordsRequired => Problem::bad_request(
                "passwords_required",
                "Current and new password are required.",
            ),
            Error::InvalidCredentials => unauthorized("invalid_credentials", "Invalid Credentials"),
            Error::RefreshRequired => {
                Problem::bad_request("refresh_required", "Refresh token is required")
            }
            Error::InvalidRefresh => {
                unauthorized("invalid_refresh", "Invalid or expired refresh token")
            }
            Error::InvalidToken => unauthorized("invalid_token", "Invalid token"),
            Error::Invalid(broken) => Problem::bad_request(broken.code, broken.sentence),
            Error::AccountRequired => Problem::bad_request(
                "account_required",
                "Username, email, and password are required.",
            ),
            Error::UsernameTaken => Problem::bad_request(
                "username_taken",
                "A user with that username already exists.",
            ),
            // Its session ended with it.
            Error::AccountGone => Problem::token_not_valid(),
            Error::ImageNotFound | Error::SessionNotFound => Problem::not_found(),
            Error::Token(error) => error.into(),
            Error::Http(problem) => problem,
            Error::RateLimited(seconds) => Problem::rate_limited(seconds),
            Error::Busy => Problem::unavailable(),
            Error::Database(error) if natter_pg::is_unavailable(&error) => {
                tracing::warn!(%error, "the database is unavailable");
                Problem::unavailable()
            }
            Error::MediaStore(error) => {
                tracing::error!(%error, "the media store failed");
                Problem::unavailable()
            }
            Error::Database(error) => {
                tracing::error!(%error, "the database refused a statement");
                Problem::internal()
            }
            Error::Internal(error) => {
                tracing::error!("a request could not be carried out: {error:#}");
                Problem::internal()
            }
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        Problem::from(self).into_response()
    }
}
