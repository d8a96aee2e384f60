//! Who may connect: the credentials of an upgrade request.

use axum::http::{HeaderMap, StatusCode, header};
use natter_auth::{Claims, TokenError, bearer};
use natter_http::{PageOrigin, Problem};
use natter_protocol::{SessionId, UserId, call::RefreshSession, call::TokenPair};

use crate::{Gateway, close::Close};

/// The one subprotocol.
pub const PROTOCOL: &str = "natter.v1";
/// How browsers, which cannot set headers, bring their token.
const BEARER_PREFIX: &str = "bearer.";
const REFRESH: &str = "refresh";

/// A connection that may be opened.
pub struct Admission {
    pub user: UserId,
    pub sid: SessionId,
    /// Speaks the full protocol: resumes, and confirms what it received.
    pub full: bool,
    /// When a browser's token runs out, in seconds since 1970.
    pub expires: Option<u64>,
    /// A renewed pair, to be sent first.
    pub renewed: Option<TokenPair>,
}

/// Why a connection is not opened.
pub enum NotAdmitted {
    /// Answered at the upgrade.
    Http(Problem),
    /// Accepted and closed at once: a browser cannot read a refused upgrade.
    Close(Close),
}

impl From<Problem> for NotAdmitted {
    fn from(problem: Problem) -> Self {
        Self::Http(problem)
    }
}

/// Reads and verifies the credentials of an upgrade request.
pub async fn admit(
    gateway: &Gateway,
    page: &PageOrigin,
    headers: &HeaderMap,
) -> Result<Admission, NotAdmitted> {
    check_origin(page)?;
    let offered = Offered::of(headers);
    if !headers.contains_key(header::AUTHORIZATION) && (offered.full || offered.token.is_some()) {
        return admit_browser(gateway, &offered);
    }
    admit_headers(gateway, headers, offered.full)
        .await
        .map_err(NotAdmitted::Http)
}

/// What `Sec-WebSocket-Protocol` offers.
pub struct Offered<'a> {
    pub full: bool,
    token: Option<&'a str>,
}

impl<'a> Offered<'a> {
    pub fn of(headers: &'a HeaderMap) -> Self {
        let mut offered = Self {
            full: false,
            token: None,
        };
        let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
        let names = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|list| list.split(','));
        for name in names.map(str::trim) {
            offered.full |= name == PROTOCOL;
            offered.token = offered.token.or(name.strip_prefix(BEARER_PREFIX));
        }
        offered
    }
}

fn admit_browser(gateway: &Gateway, offered: &Offered<'_>) -> Result<Admission, NotAdmitted> {
    let token = offered.token.unwrap_or_default();
    match gateway.verifier.access(token) {
        Ok(claims) => Ok(Admission {
            user: claims.user_id,
            sid: claims.sid,
            full: offered.full,
            expires: Some(claims.exp),
            renewed: None,
        }),
        Err(TokenError::Unknown) => Err(NotAdmitted::Close(Close::Overloaded)),
        Err(_) => Err(NotAdmitted::Close(Close::SessionEnded)),
    }
}

async fn admit_headers(
    gateway: &Gateway,
    headers: &HeaderMap,
    full: bool,
) -> Result<Admission, Problem> {
    let access = bearer(headers)?;
    let refresh = headers
        .get(REFRESH)
        .and_then(|value| value.to_str().ok())
        .ok_or_else(Problem::token_not_valid)?;
    let (claims, renewed) = match gateway.verifier.access(access) {
        Ok(claims) => {
            check_refresh(gateway, refresh, &claims)?;
            (claims, None)
        }
        Err(TokenError::Expired) => renew(gateway, access, refresh).await?,
        Err(error) => return Err(error.into()),
    };
    Ok(Admission {
        user: claims.user_id,
        sid: claims.sid,
        full,
        expires: None,
        renewed,
    })
}

/// The refresh token must be of the same session.
fn check_refresh(gateway: &Gateway, refresh: &str, access: &Claims) -> Result<(), Problem> {
    let refresh = gateway.verifier.refresh(refresh)?;
    if refresh.sid == access.sid && refresh.user_id == access.user_id {
        Ok(())
    } else {
        Err(Problem::token_not_valid())
    }
}

/// Exchanges the refresh token for a new pair.
async fn renew(
    gateway: &Gateway,
    access: &str,
    refresh: &str,
) -> Result<(Claims, Option<TokenPair>), Problem> {
    let claims = gateway.verifier.expired_access(access)?;
    check_refresh(gateway, refresh, &claims)?;
    let call = RefreshSession {
        sid: claims.sid,
        refresh: refresh.to_owned(),
    };
    match gateway.bus.call(&call).await {
        Ok(Some(pair)) => Ok((claims, Some(pair))),
        Ok(None) => Err(Problem::token_not_valid()),
        Err(error) => {
            tracing::warn!(%error, "a token could not be renewed");
            Err(Problem::unavailable())
        }
    }
}

/// A page may only connect from where it is allowed to.
fn check_origin(page: &PageOrigin) -> Result<(), Problem> {
    if page.is_allowed {
        Ok(())
    } else {
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "origin_not_allowed",
            "This origin may not connect.",
        )
        .under_detail())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    axum::http::HeaderName::from_static(name),
                    value.parse().expect("a value"),
                )
            })
            .collect()
    }

    #[test]
    fn subprotocols() {
        let headers = headers(&[("sec-websocket-protocol", "natter.v1, bearer.abc")]);
        let offered = Offered::of(&headers);
        assert!(offered.full);
        assert_eq!(offered.token, Some("abc"));
    }
}
