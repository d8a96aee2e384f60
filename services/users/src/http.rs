//! HTTP handlers: one file for each operation.

mod export;
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
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use natter_http::{Api, BaseUrl, BodyLimit, ErrorKey, HttpSettings, Page, PathId, body_limit};
use natter_protocol::{
    call::TokenPair,
    profile::{BrokenRule, ProfileChange},
};
use utoipa::openapi::{RefOr, Schema};
use utoipa_axum::{router::UtoipaMethodRouterExt, routes};

use crate::{
    Users,
    account::{broken_accounts, broken_passwords, image_path},
    error::Error,
    image::{self, Images},
    store::Account,
    token::Signer,
};

/// The largest body where an image may be in it; the image itself has its own, lower limit.
const MAX_UPLOAD_BYTES: usize = 6 << 20;
/// How much of a `User-Agent` is kept, in characters.
const MAX_USER_AGENT_CHARS: usize = 256;

pub fn router(users: Users, settings: &HttpSettings) -> Router {
    api().serve(users, settings)
}

fn api() -> Api<Users> {
    let upload = body_limit(BodyLimit::multipart_or_json(MAX_UPLOAD_BYTES));
    let invalid = |broken: Vec<BrokenRule>| broken.into_iter().map(Error::Invalid);
    let bad_image = || Error::Invalid(image::undecodable());
    let failed_often = || Error::RateLimited(60);
    Api::new(
        "users",
        "Natter: users",
        "Accounts, sessions and tokens.",
        ErrorKey::Error,
    )
    .operation(
        routes!(login::login),
        [
            Error::CredentialsRequired,
            Error::InvalidCredentials,
            failed_often(),
        ],
    )
    .operation(
        routes!(logout::logout),
        [
            Error::RefreshRequired,
            Error::InvalidRefresh,
            Error::InvalidToken,
        ],
    )
    .operation(
        routes!(refresh::refresh),
        [Error::RefreshRequired, Error::InvalidRefresh],
    )
    .operation(
        routes!(signup::signup).layer(upload),
        invalid(broken_accounts())
            .chain(invalid(broken_passwords()))
            .chain([
                Error::AccountRequired,
                Error::UsernameTaken,
                bad_image(),
                failed_often(),
            ]),
    )
    .operation::<Error>(routes!(profile::get), [])
    .operation(
        routes!(profile::patch).layer(upload),
        invalid(ProfileChange::broken_rules()).chain([bad_image(), failed_often()]),
    )
    .operation(
        routes!(profile::delete),
        [Error::InvalidCredentials, failed_often()],
    )
    .operation(
        routes!(password::change),
        invalid(broken_passwords()).chain([
            Error::PasswordsRequired,
            Error::InvalidCredentials,
            failed_often(),
        ]),
    )
    .operation::<Error>(routes!(sessions::list), [])
    .operation(routes!(sessions::end), [Error::SessionNotFound])
    .operation(routes!(list::list), [Page::past_the_end()])
    .operation(routes!(export::export), [Error::AccountGone])
    .operation(routes!(stored_image), [Error::ImageNotFound])
    .operation::<Error>(routes!(jwks), [])
}

/// The public keys that tokens are signed with
///
/// A JSON Web Key Set.
#[utoipa::path(
    get,
    path = "/.well-known/jwks.json",
    responses((status = 200, description = "The keys", body = HashMap<String, Vec<HashMap<String, String>>>))
)]
async fn jwks(State(signer): State<Signer>) -> impl IntoResponse {
    let cached = [(header::CACHE_CONTROL, "public, max-age=300")];
    (cached, Json(signer.jwks()))
}

/// A profile image
///
/// Its name changes with its content, so it may be kept for ever.
#[utoipa::path(
    get,
    path = "/api/users/images/{name}",
    operation_id = "get_image",
    params(("name" = String, Path, description = "From `personal_image`")),
    responses(
        (status = 200, description = "The image", content(("image/jpeg"), ("image/png"))),
    )
)]
async fn stored_image(
    State(images): State<Images>,
    PathId(name): PathId<String>,
) -> Result<impl IntoResponse, Error> {
    let (bytes, content_type) = images.get(&name.unwrap_or_default()).await?;
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    Ok((headers, bytes))
}

/// Tokens, which no cache may keep.
pub struct Tokens(pub TokenPair);

impl IntoResponse for Tokens {
    fn into_response(self) -> Response {
        ([(header::CACHE_CONTROL, "no-store")], Json(self.0)).into_response()
    }
}

fn user_agent(headers: &HeaderMap) -> String {
    let value = headers.get(header::USER_AGENT).map(HeaderValue::to_str);
    let text = value.and_then(Result::ok).unwrap_or_default();
    text.chars().take(MAX_USER_AGENT_CHARS).collect()
}

/// An account's image, as requests have it.
fn image_schema() -> RefOr<Schema> {
    let what = "JPEG, PNG, WebP or GIF, at most 5 MiB and 25 megapixels, in a multipart form; \
        empty or null for none.";
    natter_http::file_or_none(what)
}

/// The absolute URL of the account's image.
fn image_url(account: &Account, base: &BaseUrl) -> Option<String> {
    let name = account.image.as_deref()?;
    Some(format!("{}{}", base.0, image_path(name)))
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
