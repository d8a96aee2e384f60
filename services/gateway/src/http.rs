//! The HTTP door: the upgrade at `/ws/messages/`.

use std::sync::Arc;

use axum::{
    Router,
    extract::{State, WebSocketUpgrade, ws::rejection::WebSocketUpgradeRejection},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use natter_protocol::frame::MAX_FRAME_BYTES;
use natter_service::{BaseUrl, ErrorKey, Problem, wrap};

use crate::{
    Gateway, connection,
    handshake::{self, PROTOCOL, Refusal},
};

/// Reserved for each connection however idle it is: the default is 128 KiB.
const READ_BUFFER_BYTES: usize = 512;
/// Gathered until there is nothing more to write. A connection that was ever told so much at once
/// keeps it.
const WRITE_BUFFER_BYTES: usize = 8 << 10;
/// A client that does not read is found by its queue and the write deadline long before.
const MAX_WRITE_BUFFER_BYTES: usize = 16 << 20;

pub fn router(gateway: Arc<Gateway>) -> Router {
    let settings = gateway.process.settings.clone();
    let routes = Router::new()
        .route("/ws/messages/", get(connect))
        .with_state(gateway);
    wrap(routes, ErrorKey::Detail, &settings)
}

async fn connect(
    State(gateway): State<Arc<Gateway>>,
    base: BaseUrl,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let Ok(upgrade) = upgrade else {
        return Problem::new(
            StatusCode::BAD_REQUEST,
            "websocket_expected",
            "This address speaks WebSocket only.",
        )
        .into_response();
    };
    if gateway.process.shutdown.is_cancelled() {
        return Problem::unavailable().into_response();
    }
    let upgrade = upgrade
        .protocols([PROTOCOL])
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(MAX_WRITE_BUFFER_BYTES)
        .max_message_size(MAX_FRAME_BYTES)
        .max_frame_size(MAX_FRAME_BYTES);
    let admitted = handshake::admit(&gateway, &headers).await;
    // Tasks of the process, which it waits for; and axum's own, with all that the upgrade needed,
    // ends.
    let tasks = gateway.process.tasks.clone();
    match admitted {
        Ok(admission) => upgrade.on_upgrade(async move |socket| {
            tasks.spawn(connection::run(gateway, socket, admission, base.0));
        }),
        Err(Refusal::Close(reason)) => upgrade.on_upgrade(async move |socket| {
            tasks.spawn(connection::refuse(socket, reason));
        }),
        Err(Refusal::Http(problem)) => problem.into_response(),
    }
}
