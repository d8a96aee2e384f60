//! Everything that can go wrong here, and what the client is told.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use natter_bus::CallError;
use natter_http::{Problem, WrongField};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Http(#[from] Problem),
    #[error(transparent)]
    InvalidBody(#[from] WrongField),
    #[error("the status is none of the three")]
    InvalidStatus,
    #[error("the two are friends or have asked already")]
    AlreadyExists,
    #[error("both sides would be the same user")]
    WithOneself,
    #[error("the caller has asked too often, and may again in {0} seconds")]
    TooManyRequests(u32),
    #[error("there is no such user")]
    UserNotFound,
    #[error("there is no such friendship")]
    FriendshipNotFound,
    #[error("the caller is on neither side")]
    NotAMember,
    #[error("the users service did not answer")]
    Call(#[from] CallError),
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Http(problem) => problem,
            Error::InvalidBody(wrong) => Problem::malformed_body(wrong.to_string()),
            Error::InvalidStatus => Problem::bad_request("invalid_status", "Invalid status."),
            Error::AlreadyExists => {
                Problem::bad_request("friendship_exists", "Friendship already exists.")
            }
            Error::WithOneself => Problem::bad_request(
                "friendship_with_oneself",
                "You cannot send a friendship request to yourself.",
            ),
            Error::TooManyRequests(seconds) => Problem::rate_limited(seconds),
            Error::UserNotFound => {
                Problem::new(StatusCode::NOT_FOUND, "user_not_found", "User not found.")
            }
            Error::FriendshipNotFound => Problem::new(
                StatusCode::NOT_FOUND,
                "friendship_not_found",
                "Friendship not found.",
            ),
            Error::NotAMember => Problem::new(
                StatusCode::FORBIDDEN,
                "not_a_member",
                "You are not authorized to update this friendship.",
            ),
            Error::Call(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "another service did not answer"
                );
                Problem::unavailable()
            }
            Error::Database(error) if natter_pg::is_unavailable(&error) => {
                tracing::warn!(%error, "the database is unavailable");
                Problem::unavailable()
            }
            Error::Database(error) => {
                tracing::error!(%error, "the database refused a statement");
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
