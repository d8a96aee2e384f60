//! The exchange of a refresh token, over HTTP or for a gateway, and the end of its session.

use natter_auth::Claims;
use natter_protocol::{SessionId, Timestamp, call::TokenPair};
use uuid::Uuid;

use crate::{
    Users,
    error::Error,
    session::{Exchange, Subject},
    store::{end_session, lock_session, rotate, touch},
};

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
    let subject = Subject::of(&claims);
    let mut tx = users.store.begin().await?;
    let session = lock_session(&mut tx, subject)
        .await?
        .ok_or(Error::InvalidRefresh)?;
    let now = Timestamp::now().utc();
    let family = session.family();
    let pair = match family.present(claims.jti, claims.iat, users.policy, now) {
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
                .pair(subject, family.current, family.issued_at)?
        }
        Exchange::Rotate => {
            let jti = Uuid::new_v4();
            let issued_at = family.next_issued_at(now);
            let exchanged = family.exchange(claims.jti, users.policy, now);
            rotate(&mut tx, subject.sid, exchanged, jti, issued_at).await?;
            if claims.jti != family.current && users.policy.revoke_rotated {
                tracing::warn!(user = %subject.user, sid = %subject.sid, "a refresh token is newer than the database, which was set back: it is taken");
            }
            users.signer.pair(subject, jti, issued_at)?
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

/// Ends the session of a refresh token.
pub async fn log_out(users: &Users, refresh: &Claims) -> Result<(), Error> {
    let subject = Subject::of(refresh);
    let mut tx = users.store.begin().await?;
    let session = lock_session(&mut tx, subject)
        .await?
        .ok_or(Error::InvalidRefresh)?;
    let now = Timestamp::now().utc();
    let family = session.family();
    let exchange = family.present(refresh.jti, refresh.iat, users.policy, now);
    end_session(&mut tx, subject).await?;
    tx.commit().await?;
    // A refresh token that was exchanged before was probably stolen; the session ends all the same.
    if exchange == Exchange::Theft {
        tracing::warn!(user = %subject.user, "an exchanged refresh token came to logout");
        return Err(Error::InvalidRefresh);
    }
    tracing::info!(user = %subject.user, "logged out");
    Ok(())
}
