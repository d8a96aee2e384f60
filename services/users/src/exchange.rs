//! The exchange of a refresh token, over HTTP or for a gateway.

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
