//! HTTP handlers: `/api/messages/`, one file for each operation.

mod conversations;
mod events;
mod history;
mod item;
mod media;
mod search;
mod send;

use axum::Router;
use natter_http::{Api, BodyLimit, ErrorKey, HttpSettings, Page, body_limit};
use natter_protocol::{
    call::Refusal,
    message::{check_filename, check_payload},
};
use utoipa_axum::{router::UtoipaMethodRouterExt, routes};

use crate::{Messages, error::Error, files::MAX_FILE_BYTES};

/// How many bytes a body may have beside its file, for the form around it.
const FORM_BYTES: usize = 64 * 1024;

pub fn router(messages: Messages, settings: &HttpSettings) -> Router {
    api().serve(messages, settings)
}

fn api() -> Api<Messages> {
    const UPLOAD_BYTES: usize = MAX_FILE_BYTES + FORM_BYTES;
    let upload = body_limit(BodyLimit::multipart(UPLOAD_BYTES));
    let send = body_limit(BodyLimit::multipart_or_json(UPLOAD_BYTES));
    let page = || Error::from(Page::past_the_end());
    let bad_message =
        check_payload("", false).map_err(|error| Error::InvalidMessage(error.to_string()));
    let bad_file = || check_filename("").map_err(|error| Error::InvalidFile(error.to_string()));
    Api::new(
        "messages",
        "Natter: messages",
        "The log of every channel: history, sending without a WebSocket, files and search.",
        ErrorKey::Error,
    )
    .operation(
        routes!(history::history),
        [Error::FriendshipNotFound, page()],
    )
    .operation(
        routes!(send::send).layer(send),
        [
            Error::Refused(Refusal::ChannelClosed),
            Error::Refused(Refusal::ClientIdReused),
            Error::Refused(Refusal::MessageNotFound),
            Error::Refused(Refusal::MediaNotFound),
            Error::FriendshipNotFound,
        ]
        .into_iter()
        .chain(bad_message.err())
        .chain(bad_file().err()),
    )
    .operation(routes!(events::events), [Error::FriendshipNotFound])
    .operation(routes!(conversations::conversations), [page()])
    .operation(
        routes!(media::upload).layer(upload),
        [Error::FileRequired, Error::TooLarge]
            .into_iter()
            .chain(bad_file().err()),
    )
    .operation(
        routes!(media::download),
        [Error::MediaNotFound, Error::RangeNotSatisfiable],
    )
    .operation(routes!(search::search), [page()])
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_document_in_the_repository_is_the_one_that_is_served() {
        natter_test_support::check_generated(
            concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json"),
            &super::api().document(),
        );
    }
}
