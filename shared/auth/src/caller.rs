//! The axum extractor of an authenticated caller.

use axum::{
    extract::{FromRef, FromRequestParts},
    http::{HeaderMap, header, request::Parts},
};
use natter_http::Problem;
use natter_protocol::{SessionId, UserId};

use crate::{TokenError, Verifier};

/// Who sent the request, with a valid access token of a live session.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    pub user: UserId,
    pub sid: SessionId,
}

impl<S> FromRequestParts<S> for Caller
where
    S: Send + Sync,
    Verifier: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let token = bearer(&parts.headers)?;
        let claims = Verifier::from_ref(state).access(token)?;
        tracing::Span::current().record("user.id", tracing::field::display(claims.user_id));
        Ok(Self {
            user: claims.user_id,
            sid: claims.sid,
        })
    }
}

/// The token of `Authorization: Bearer …`.
pub fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let missing = Problem::not_authenticated;
    let value = headers.get(header::AUTHORIZATION).ok_or_else(missing)?;
    let (scheme, token) = value
        .to_str()
        .ok()
        .and_then(|value| value.trim().split_once(' '))
        .ok_or_else(missing)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(token.trim())
    } else {
        Err(missing())
    }
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Invalid | TokenError::Expired | TokenError::Revoked => {
                Self::token_not_valid()
            }
            TokenError::Unknown => Self::unavailable(),
        }
    }
}
