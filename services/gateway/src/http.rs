//! HTTP handlers: the upgrade at `/ws/messages/`.

use std::sync::Arc;

use axum::{
    Router,
    extract::{FromRequestParts, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::upgrade::OnUpgrade;
use natter_http::{BaseUrl, ErrorKey, PageOrigin, Problem, wrap};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::{
    Gateway, connection,
    handshake::{self, NotAdmitted, Offered, PROTOCOL},
    socket::Socket,
};

pub fn router(gateway: Arc<Gateway>) -> Router {
    let settings = gateway.process.settings.http.clone();
    let routes = Router::new()
        .route("/ws/messages/", get(connect))
        .with_state(gateway);
    wrap(routes, ErrorKey::Detail, &settings)
}

/// A WebSocket that the client asked for.
struct Upgrade {
    accept: HeaderValue,
    on_upgrade: OnUpgrade,
}

impl<S: Send + Sync> FromRequestParts<S> for Upgrade {
    type Rejection = Response;

    /// `Connection` and `Upgrade` may be lists, in several lines.
    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Response> {
        let headers = &parts.headers;
        let is_asked = parts.method == Method::GET
            && lists(headers, header::CONNECTION, "upgrade")
            && lists(headers, header::UPGRADE, "websocket");
        if !is_asked {
            return Err(not_websocket());
        }
        let version = headers.get(header::SEC_WEBSOCKET_VERSION);
        if version.is_none_or(|version| version != "13") {
            return Err(other_version());
        }
        let key = headers.get(header::SEC_WEBSOCKET_KEY);
        let key = key.ok_or_else(not_websocket)?;
        let accept = derive_accept_key(key.as_bytes());
        let accept = HeaderValue::from_str(&accept).map_err(|_| not_websocket())?;
        let on_upgrade = parts.extensions.remove().ok_or_else(not_websocket)?;
        Ok(Self { accept, on_upgrade })
    }
}

/// Whether a header that is a list, maybe in several lines, has this element.
fn lists(headers: &HeaderMap, name: HeaderName, element: &str) -> bool {
    let lines = headers.get_all(name).iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .any(|one| one.trim().eq_ignore_ascii_case(element))
}

fn other_version() -> Response {
    let problem = Problem::new(
        StatusCode::UPGRADE_REQUIRED,
        "websocket_version_not_supported",
        "This address speaks version 13 of the WebSocket protocol.",
    );
    refused(problem.with_header(&("sec-websocket-version", "13")))
}

fn not_websocket() -> Response {
    refused(Problem::new(
        StatusCode::BAD_REQUEST,
        "websocket_expected",
        "This address speaks WebSocket only.",
    ))
}

fn refused(problem: Problem) -> Response {
    let mut response = problem.into_response();
    let websocket = HeaderValue::from_static("websocket");
    response.headers_mut().insert(header::UPGRADE, websocket);
    response
}

async fn connect(
    State(gateway): State<Arc<Gateway>>,
    base: BaseUrl,
    page: PageOrigin,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Response {
    if gateway.process.shutdown.is_cancelled() {
        return Problem::unavailable().into_response();
    }
    let admitted = match handshake::admit(&gateway, &page, &headers).await {
        Ok(admission) => {
            tracing::Span::current().record("user.id", tracing::field::display(admission.user));
            Ok(admission)
        }
        Err(NotAdmitted::Close(reason)) => Err(reason),
        Err(NotAdmitted::Http(problem)) => return problem.into_response(),
    };
    let Upgrade { accept, on_upgrade } = upgrade;
    // Both are tasks of the process, which waits for them. This one ends with the upgrade, and what
    // only the upgrade needs is freed.
    let tasks = gateway.process.tasks.clone();
    tasks.clone().spawn(async move {
        let upgraded = match on_upgrade.await {
            Ok(upgraded) => upgraded,
            Err(error) => {
                tracing::debug!(%error, "a client left before its WebSocket was open");
                return;
            }
        };
        let socket = Socket::accept(upgraded).await;
        match admitted {
            Ok(admission) => tasks.spawn(connection::run(gateway, socket, admission, base.0)),
            Err(reason) => tasks.spawn(connection::refuse(socket, reason, None)),
        };
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let answer = response.headers_mut();
    answer.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    answer.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    answer.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if Offered::of(&headers).full {
        let protocol = HeaderValue::from_static(PROTOCOL);
        answer.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    response
}
