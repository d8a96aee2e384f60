//! `POST /api/users/logout/`

use axum::{Json, extract::State};
use natter_auth::Caller;
use natter_protocol::Timestamp;
use natter_service::Fields;
use serde_json::{Value, json};

use crate::{
    Users,
    error::Error,
    session::Exchange,
    store::{end_session, lock_session},
    token::Subject,
};

pub async fn logout(
    State(users): State<Users>,
    caller: Caller,
    fields: Fields,
) -> Result<Json<Value>, Error> {
    let refresh = fields.text("refresh").ok_or(Error::RefreshRequired)?;
    if users.verifier.access(refresh).is_ok() {
        return Err(Error::InvalidToken);
    }
    let claims = users
        .verifier
        .refresh(refresh)
        .map_err(|_| Error::InvalidRefresh)?;
    if claims.user_id != caller.user {
        return Err(Error::InvalidToken);
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
    let exchange = session.family().present(claims.jti, users.policy, now);
    end_session(&mut tx, subject).await?;
    tx.commit().await?;
    // One that was exchanged before is somebody's stolen one; the session ends all the same.
    if exchange == Exchange::Theft {
        tracing::warn!(user = %caller.user, "an exchanged refresh token came to logout");
        return Err(Error::InvalidRefresh);
    }
    tracing::info!(user = %caller.user, "logged out");
    Ok(Json(json!({"message": "Successfully logged out"})))
}
