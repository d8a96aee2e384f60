//! `POST /api/users/refresh-token/`, and the exchange that `rpc.users.refresh` shares.

use axum::{
    extract::{FromRequestParts, State},
    http::request::Parts,
};
use natter_auth::bearer;
use natter_protocol::{SessionId, Timestamp, call::TokenPair};
use natter_service::Fields;
use uuid::Uuid;

use super::{Tokens, logout::Refresh};
use crate::{
    Users,
    error::Error,
    session::Exchange,
    store::{end_session, lock_session, rotate, touch},
    token::Subject,
};

/// Refresh
///
/// A new access token for the session, and a new refresh token in place of the presented one. The
/// access token in `Authorization` must be of the same session; it may have expired. A refresh
/// token that was exchanged before, more than some seconds ago, is theft: the session ends. Within
/// these seconds it gets the refresh token that counts now.
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
    let refresh = fields.text("refresh").ok_or(Error::RefreshRequired)?;
    let presented = Presented {
        refresh,
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

/// A refresh token and the session that its bearer belongs to.
pub struct Presented<'a> {
    pub refresh: &'a str,
    pub sid: SessionId,
}

/// Exchanges a refresh token. One that was exchanged before, past the grace, ends its session.
pub async fn exchange(users: &Users, presented: Presented<'_>) -> Result<TokenPair, Error> {
    let claims = users
        .verifier
        .refresh(presented.refresh)
        .map_err(|_| Error::InvalidRefresh)?;
    if claims.sid != presented.sid {
        return Err(Error::InvalidRefresh);
    }
    let subject = Subject {
        user: claims.user_id,
        sid: claims.sid,
    };
    let mut tx = users.store.begin().await?;
    let session = lock_session(&mut tx, subject)
        .await?
        .ok_or(Error::InvalidRefresh)?;
    let now = Timestamp::now().utc();
    let family = session.family();
    let pair = match family.present(claims.jti, users.policy, now) {
        Exchange::Keep => {
            touch(&mut tx, subject.sid, now).await?;
            TokenPair {
                access: users.signer.access(subject)?,
                refresh: None,
            }
        }
        Exchange::Repeat => {
            touch(&mut tx, subject.sid, now).await?;
            users
                .signer
                .pair(subject, family.current, session.refresh_issued_at)?
        }
        Exchange::Rotate => {
            let jti = Uuid::new_v4();
            let exchanged = family.exchange(claims.jti, users.policy, now);
            rotate(&mut tx, subject.sid, exchanged, jti, now).await?;
            users.signer.pair(subject, jti, now)?
        }
        Exchange::Theft => {
            end_session(&mut tx, subject).await?;
            tx.commit().await?;
            tracing::warn!(user = %subject.user, sid = %subject.sid, "an exchanged refresh token came back: session ended");
            return Err(Error::InvalidRefresh);
        }
    };
    tx.commit().await?;
    tracing::info!(user = %subject.user, rotated = pair.refresh.is_some(), "token refreshed");
    Ok(pair)
}
