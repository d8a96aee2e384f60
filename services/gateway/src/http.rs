//! The HTTP door: the upgrade at `/ws/messages/`.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Router,
    extract::{
        FromRequestParts, State, WebSocketUpgrade, ws::rejection::WebSocketUpgradeRejection,
    },
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
    routing::get,
};
use natter_protocol::frame::MAX_FRAME_BYTES;
use natter_service::{BaseUrl, ErrorKey, PageOrigin, Problem, wrap};

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

/// An upgrade whose `Connection` and `Upgrade` may be lists in several lines, which axum does not read.
struct Upgrade(Result<WebSocketUpgrade, WebSocketUpgradeRejection>);

impl<S: Send + Sync> FromRequestParts<S> for Upgrade {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let lines = parts.headers.get_all(header::CONNECTION).iter();
        let lines: Vec<&[u8]> = lines.map(HeaderValue::as_bytes).collect();
        if let Ok(one) = HeaderValue::from_bytes(&lines.join(&b", "[..])) {
            parts.headers.insert(header::CONNECTION, one);
        }
        let offers = parts.headers.get_all(header::UPGRADE).iter();
        let mut offers = offers
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(','));
        if offers.any(|offer| offer.trim().eq_ignore_ascii_case("websocket")) {
            let websocket = HeaderValue::from_static("websocket");
            parts.headers.insert(header::UPGRADE, websocket);
        }
        Ok(Self(
            WebSocketUpgrade::from_request_parts(parts, state).await,
        ))
    }
}

fn refused(rejection: &WebSocketUpgradeRejection) -> Problem {
    match rejection {
        WebSocketUpgradeRejection::InvalidWebSocketVersionHeader(_) => Problem::new(
            StatusCode::UPGRADE_REQUIRED,
            "websocket_version_not_supported",
            "This address speaks version 13 of the WebSocket protocol.",
        )
        .with_header(&("sec-websocket-version", "13")),
        _ => Problem::new(
            StatusCode::BAD_REQUEST,
            "websocket_expected",
            "This address speaks WebSocket only.",
        ),
    }
}

async fn connect(
    State(gateway): State<Arc<Gateway>>,
    base: BaseUrl,
    page: PageOrigin,
    headers: HeaderMap,
    Upgrade(upgrade): Upgrade,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => {
            let mut response = refused(&rejection).into_response();
            let websocket = HeaderValue::from_static("websocket");
            response.headers_mut().insert(header::UPGRADE, websocket);
            return response;
        }
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
    let admitted = handshake::admit(&gateway, &page, &headers).await;
    // Tasks of the process, which it waits for; and axum's own, with all that the upgrade needed,
    // ends.
    let tasks = gateway.process.tasks.clone();
    match admitted {
        Ok(admission) => upgrade.on_upgrade(async move |socket| {
            tasks.spawn(connection::run(gateway, socket, admission, base.0));
        }),
        Err(Refusal::Close(reason)) => upgrade.on_upgrade(async move |socket| {
            tasks.spawn(connection::refuse(socket, reason, None));
        }),
        Err(Refusal::Http(problem)) => problem.into_response(),
    }
}
