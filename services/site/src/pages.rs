//! The web client at `/`, its parts below `/web/`, and the library `natter-client` below `/client/`:
//! the files of the folders of these names, as they are.

use axum::{
    Router,
    extract::Path,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use rust_embed::{EmbeddedFile, RustEmbed};
use tower_http::compression::CompressionLayer;

#[derive(RustEmbed)]
#[folder = "web"]
struct Web;

#[derive(RustEmbed)]
#[folder = "client"]
struct Client;

/// Nothing from elsewhere, and no code but these files: a message can never become code.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; \
     media-src blob:; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'",
);

pub fn routes() -> Router {
    Router::new()
        .route(
            "/",
            get(async |sent: HeaderMap| answer(Web::get("index.html"), &sent)),
        )
        .route(
            "/web/{*path}",
            get(async |Path(path): Path<String>, sent: HeaderMap| answer(Web::get(&path), &sent)),
        )
        .route(
            "/client/{*path}",
            get(async |Path(path): Path<String>, sent: HeaderMap| {
                answer(Client::get(&path), &sent)
            }),
        )
        .layer(CompressionLayer::new())
}

/// A browser asks each time whether its copy is still the newest: after an upgrade nobody runs half
/// of the old client and half of the new one.
fn answer(file: Option<EmbeddedFile>, sent: &HeaderMap) -> Response {
    let policy = [(header::CONTENT_SECURITY_POLICY, POLICY)];
    let Some(file) = file else {
        return (StatusCode::NOT_FOUND, policy).into_response();
    };
    let digest: String = file.metadata.sha256_hash()[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    // Weak: compressed or not, it is the same file.
    let tag = format!("W/\"{digest}\"");
    let is_known = sent
        .get(header::IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let headers = [
        (header::ETAG, tag),
        (header::CACHE_CONTROL, "no-cache".to_owned()),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
    ];
    if is_known {
        return (StatusCode::NOT_MODIFIED, headers, policy).into_response();
    }
    let content_type = format!("{}; charset=utf-8", file.metadata.mimetype());
    (
        headers,
        policy,
        [(header::CONTENT_TYPE, content_type)],
        file.data,
    )
        .into_response()
}
