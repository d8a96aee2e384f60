//! The HTTP door: `/api/messages/`, one file an operation.

mod conversations;
mod events;
mod history;
mod item;
mod search;
mod send;

use axum::{Router, routing::get};
use natter_service::{ErrorKey, ProcessSettings, wrap};

use crate::Messages;

pub fn router(messages: Messages, settings: &ProcessSettings) -> Router {
    let routes = Router::new()
        .route(
            "/api/messages/status/friendship/{friendship}/messages/",
            get(history::history).post(send::send),
        )
        .route(
            "/api/messages/status/friendship/{friendship}/events/",
            get(events::events),
        )
        .route(
            "/api/messages/conversations/",
            get(conversations::conversations),
        )
        .route("/api/messages/search/", get(search::search))
        .with_state(messages);
    wrap(routes, ErrorKey::Error, settings)
}
