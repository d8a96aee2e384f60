//! Everything that can go wrong here, and what the client is told.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use natter_bus::CallError;
use natter_service::Problem;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the query parameters are not valid")]
    InvalidQuery,
    #[error("there is no such friendship for the caller")]
    FriendshipNotFound,
    #[error("the database did not answer in time")]
    Busy,
    #[error(transparent)]
    Http(#[from] Problem),
    #[error("the friendship service did not answer")]
    Call(#[from] CallError),
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::InvalidQuery => Problem::invalid_query(),
            Error::FriendshipNotFound => Problem::new(
                StatusCode::NOT_FOUND,
                "friendship_not_found",
                "Friendship not found.",
            ),
            Error::Http(problem) => problem,
            Error::Busy => Problem::unavailable(),
            Error::Call(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a call failed");
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
