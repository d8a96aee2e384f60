//! The HTTP door: one file an operation.

mod list;
mod login;
mod logout;
mod password;
mod profile;
pub mod refresh;
mod sessions;
mod signup;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, State},
    http::{HeaderMap, HeaderValue, header},
    response::IntoResponse,
    routing::{delete, get, post},
};
use natter_service::{BaseUrl, ErrorKey, ProcessSettings, wrap};

use crate::{
    Users,
    error::Error,
    image::{self, Images},
    store::Account,
    token::Signer,
};

/// The largest body where an image may be in it; the image itself has its own, lower limit.
const MAX_UPLOAD_BYTES: usize = 6 << 20;
/// How much of a `User-Agent` is kept, in characters.
const MAX_USER_AGENT_CHARS: usize = 256;

pub fn router(users: Users, settings: &ProcessSettings) -> Router {
    let upload = DefaultBodyLimit::max(MAX_UPLOAD_BYTES);
    let routes = Router::new()
        .route("/api/users/login/", post(login::login))
        .route("/api/users/logout/", post(logout::logout))
        .route("/api/users/refresh-token/", post(refresh::refresh))
        .route("/api/users/signup/", post(signup::signup).layer(upload))
        .route(
            "/api/users/profile/",
            get(profile::get)
                .patch(profile::patch)
                .delete(profile::delete)
                .layer(upload),
        )
        .route("/api/users/password/", post(password::change))
        .route("/api/users/sessions/", get(sessions::list))
        .route("/api/users/sessions/{sid}/", delete(sessions::end))
        .route("/api/users/", get(list::list))
        .route("/api/users/images/{name}", get(stored_image))
        .route("/.well-known/jwks.json", get(jwks))
        .with_state(users);
    wrap(routes, ErrorKey::Error, settings)
}

async fn jwks(State(signer): State<Signer>) -> impl IntoResponse {
    let cached = [(header::CACHE_CONTROL, "public, max-age=300")];
    (cached, Json(signer.jwks()))
}

/// A stored image. Its name changes with its content, so it may be kept for ever.
async fn stored_image(
    State(images): State<Images>,
    Path(name): Path<String>,
) -> Result<impl IntoResponse, Error> {
    let (bytes, content_type) = images.get(&name).await?;
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, bytes))
}

fn user_agent(headers: &HeaderMap) -> String {
    let value = headers.get(header::USER_AGENT).map(HeaderValue::to_str);
    let text = value.and_then(Result::ok).unwrap_or_default();
    text.chars().take(MAX_USER_AGENT_CHARS).collect()
}

/// The absolute URL of the account's image.
fn image_url(account: &Account, base: &BaseUrl) -> Option<String> {
    let name = account.image.as_deref()?;
    Some(format!("{}{}", base.0, image::path(name)))
}
