//! `POST /api/users/logout/`

use axum::{Json, extract::State};
use natter_auth::Caller;
use natter_http::{Fields, Filled};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Users, error::Error, exchange::log_out};

/// The refresh token of the session to end.
#[derive(Deserialize, ToSchema)]
pub struct Refresh {
    #[schema(value_type = String, min_length = 1)]
    pub refresh: Filled,
}

/// Confirms what was done.
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
    log_out(&users, &claims).await?;
    Ok(Json(Done {
        message: "Successfully logged out",
    }))
}
