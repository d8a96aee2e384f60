//! The HTTP door: `/api/messages/`, one file an operation.

mod conversations;
mod events;
mod history;
mod item;
mod media;
mod search;
mod send;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{get, post},
};
use natter_service::{ErrorKey, ProcessSettings, wrap};

use crate::{Messages, files::MAX_FILE_BYTES};

/// What a body may have beside its file: the form around it.
const FORM_BYTES: usize = 64 * 1024;

pub fn router(messages: Messages, settings: &ProcessSettings) -> Router {
    let upload = DefaultBodyLimit::max(MAX_FILE_BYTES + FORM_BYTES);
    let routes = Router::new()
        .route(
            "/api/messages/status/friendship/{friendship}/messages/",
            get(history::history).post(send::send).layer(upload),
        )
        .route(
            "/api/messages/status/friendship/{friendship}/events/",
            get(events::events),
        )
        .route(
            "/api/messages/conversations/",
            get(conversations::conversations),
        )
        .route("/api/messages/media/", post(media::upload).layer(upload))
        .route("/api/messages/media/{id}/", get(media::download))
        .route("/api/messages/search/", get(search::search))
        .with_state(messages);
    wrap(routes, ErrorKey::Error, settings)
}
