//! Everything that can go wrong here, and what the client is told.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use natter_bus::CallError;
use natter_http::{Problem, WrongField};
use natter_media::ItemError;
use natter_protocol::call::Refusal;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the query parameters are not valid")]
    InvalidQuery,
    #[error("{0}")]
    InvalidMessage(String),
    #[error("{0}")]
    InvalidFile(String),
    #[error("there is no file in the body")]
    FileRequired,
    #[error("the file is too large")]
    TooLarge,
    #[error("there is no such file for the caller")]
    MediaNotFound,
    #[error("the file has no such range")]
    RangeNotSatisfiable,
    #[error("the media store failed")]
    MediaStore(#[from] natter_media::MediaError),
    #[error(transparent)]
    Item(#[from] ItemError),
    #[error("the send was refused: {0}")]
    Refused(Refusal),
    #[error("there is no such friendship for the caller")]
    FriendshipNotFound,
    #[error("the database did not answer in time")]
    Busy,
    #[error(transparent)]
    Http(#[from] Problem),
    #[error("the friendships service did not answer")]
    Call(#[from] CallError),
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

impl From<WrongField> for Error {
    fn from(wrong: WrongField) -> Self {
        Self::InvalidMessage(wrong.to_string())
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::InvalidQuery => Problem::invalid_query(),
            Error::InvalidMessage(sentence) => Problem::bad_request("invalid_message", sentence),
            Error::InvalidFile(sentence) => Problem::bad_request("invalid_file", sentence),
            Error::FileRequired => {
                Problem::bad_request("file_required", "One file is required, in the field file.")
            }
            Error::TooLarge => Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                "The file is larger than 25 MiB.",
            ),
            Error::MediaNotFound => Problem::not_found(),
            Error::RangeNotSatisfiable => Problem::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "range_not_satisfiable",
                "The file has no such range.",
            ),
            Error::Item(error @ ItemError::NotBase64) => {
                Problem::bad_request("invalid_message", error.to_string())
            }
            Error::MediaStore(error) | Error::Item(ItemError::Store(error)) => {
                tracing::error!(%error, "the media store failed");
                Problem::unavailable()
            }
            Error::Refused(refusal) => refused(refusal),
            Error::FriendshipNotFound => Problem::new(
                StatusCode::NOT_FOUND,
                "friendship_not_found",
                "Friendship not found.",
            ),
            Error::Http(problem) => problem,
            Error::Busy => Problem::unavailable(),
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

fn refused(refusal: Refusal) -> Problem {
    let (status, code) = match refusal {
        Refusal::Unavailable | Refusal::Unknown => return Problem::unavailable(),
        Refusal::ChannelClosed => (StatusCode::FORBIDDEN, "channel_closed"),
        Refusal::ClientIdReused => (StatusCode::CONFLICT, "client_id_reused"),
        Refusal::MessageNotFound => (StatusCode::BAD_REQUEST, "message_not_found"),
        Refusal::MediaNotFound => (StatusCode::BAD_REQUEST, "media_not_found"),
        Refusal::EmptyMessage => (StatusCode::BAD_REQUEST, "invalid_message"),
        Refusal::NotYours => (StatusCode::FORBIDDEN, "not_yours"),
        Refusal::NotAMember => (StatusCode::NOT_FOUND, "friendship_not_found"),
    };
    Problem::new(status, code, refusal.to_string())
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        Problem::from(self).into_response()
    }
}
