//! `POST /api/users/refresh-token/`

use axum::{
    extract::{FromRequestParts, State},
    http::request::Parts,
};
use natter_auth::bearer;
use natter_http::Fields;
use natter_protocol::{SessionId, call::TokenPair};

use super::{Tokens, logout::Refresh};
use crate::{
    Users,
    error::Error,
    exchange::{Presented, exchange},
};

/// Refresh an access token
///
/// A new access token for the session, and a new refresh token in place of the presented one. The
/// access token in `Authorization` must be of the same session; it may have expired. A refresh
/// token that is presented again counts as stolen and ends the session, except within the grace period
/// (10 seconds by default) after its exchange, in which it gets the session's current refresh token.
#[utoipa::path(
    post,
    path = "/api/users/refresh-token/",
    security(("bearer" = [])),
    request_body(content((Refresh = "application/json"), (Refresh = "application/x-www-form-urlencoded"))),
    responses((status = 200, description = "New tokens; `refresh` only where it was rotated", body = TokenPair))
)]
pub async fn refresh(
    State(users): State<Users>,
    access: SessionAccess,
    fields: Fields,
) -> Result<Tokens, Error> {
    let sent: Refresh = fields.read()?;
    let refresh = sent.refresh.0.ok_or(Error::RefreshRequired)?;
    let presented = Presented {
        refresh: &refresh,
        sid: access.0,
    };
    exchange(&users, presented).await.map(Tokens)
}

/// The session of the access token in `Authorization`, which may have expired.
pub struct SessionAccess(SessionId);

impl FromRequestParts<Users> for SessionAccess {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, users: &Users) -> Result<Self, Error> {
        let claims = users.verifier.expired_access(bearer(&parts.headers)?)?;
        Ok(Self(claims.sid))
    }
}
