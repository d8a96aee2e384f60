//! `POST /api/users/logout/`

use axum::{Json, extract::State};
use natter_auth::Caller;
use natter_protocol::Timestamp;
use natter_service::{Fields, Filled};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Users,
    error::Error,
    session::{Exchange, Subject},
    store::{end_session, lock_session},
};

/// The session that ends.
#[derive(Deserialize, ToSchema)]
pub struct Refresh {
    #[schema(value_type = String, min_length = 1)]
    pub refresh: Filled,
}

/// That something was done.
#[derive(Serialize, ToSchema)]
pub struct Done {
    pub message: &'static str,
}

/// Log out
///
/// Ends the session of the refresh token: it never works again, its access tokens stop working
/// everywhere and its WebSockets are closed with 4001, within one second.
#[utoipa::path(
    post,
    path = "/api/users/logout/",
    security(("bearer" = [])),
    request_body(content((Refresh = "application/json"), (Refresh = "application/x-www-form-urlencoded"))),
    responses((status = 200, description = "The session has ended", body = Done))
)]
pub async fn logout(
    State(users): State<Users>,
    caller: Caller,
    fields: Fields,
) -> Result<Json<Done>, Error> {
    let sent: Refresh = fields.read()?;
    let refresh = sent.refresh.0.ok_or(Error::RefreshRequired)?;
    if users.verifier.access(&refresh).is_ok() {
        return Err(Error::InvalidToken);
    }
    let claims = users
        .verifier
        .refresh(&refresh)
        .map_err(|_| Error::InvalidRefresh)?;
    if claims.user_id != caller.user {
        return Err(Error::InvalidToken);
    }
    let subject = Subject::of(&claims);
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
    Ok(Json(Done {
        message: "Successfully logged out",
    }))
}
