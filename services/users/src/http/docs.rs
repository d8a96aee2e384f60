//! `GET /api/docs/`: the OpenAPI documents of all services in a browser.

use axum::{
    Router,
    http::{HeaderValue, Response, header},
    middleware,
};
use utoipa_swagger_ui::{Config, SwaggerUi, Url};

/// The page is made to reach nothing but this server: it works without the internet.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'",
);

pub fn page<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let documents = [
        Url::new("users", "/api/openapi/users.json"),
        Url::new("friendships", "/api/openapi/friendships.json"),
        Url::new("messages", "/api/openapi/messages.json"),
    ];
    let page = SwaggerUi::new("/api/docs").config(Config::new(documents).validator_url("none"));
    Router::from(page).layer(middleware::map_response(with_policy))
}

async fn with_policy<B>(mut response: Response<B>) -> Response<B> {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}
