//! `GET /api/docs/`: the OpenAPI documents of all services in a browser; and the AsyncAPI document
//! of the WebSocket and the broker at `/api/asyncapi.yaml`.

use std::sync::Arc;

use axum::{
    Router,
    extract::Path,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use utoipa_swagger_ui::{Config, Url};

/// The page may reach nothing but this server: it works without the internet.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'",
);

pub fn page() -> Router {
    let documents = [
        Url::new("users", "/api/openapi/users.json"),
        Url::new("friendships", "/api/openapi/friendships.json"),
        Url::new("messages", "/api/openapi/messages.json"),
    ];
    let config = Arc::new(Config::new(documents).validator_url("none"));
    Router::new()
        .route("/api/asyncapi.yaml", get(async || asyncapi()))
        .route(
            "/api/docs/",
            get(async || (headers(), Html(include_str!("docs.html")))),
        )
        .route(
            "/api/docs/{file}",
            get(move |Path(file): Path<String>| std::future::ready(part(&file, &config))),
        )
}

fn asyncapi() -> Response {
    // RFC 9512.
    let content_type = [(header::CONTENT_TYPE, "application/yaml")];
    (headers(), content_type, include_str!("../asyncapi.yaml")).into_response()
}

/// A part of Swagger UI.
fn part(file: &str, config: &Arc<Config<'static>>) -> Response {
    match utoipa_swagger_ui::serve(file, config.clone()) {
        Ok(Some(file)) => {
            let mut headers = headers();
            if let Ok(content_type) = file.content_type.parse() {
                headers.insert(header::CONTENT_TYPE, content_type);
            }
            if file.gzpipped {
                headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            (headers, file.bytes).into_response()
        }
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => {
            tracing::error!(%error, "the documentation page is broken");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn headers() -> HeaderMap {
    HeaderMap::from_iter([(header::CONTENT_SECURITY_POLICY, POLICY)])
}
