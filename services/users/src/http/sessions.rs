//! `GET /api/users/sessions/` and `DELETE /api/users/sessions/<sid>/`

use axum::{Json, extract::State, http::StatusCode};
use natter_auth::Caller;
use natter_http::PathId;
use natter_protocol::{SessionId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{Users, error::Error, session::Subject};

/// One login on one device.
#[derive(Serialize, ToSchema)]
pub struct Session {
    sid: SessionId,
    created_at: Timestamp,
    last_used_at: Timestamp,
    user_agent: String,
    /// Whether this is the session of the request.
    current: bool,
}

/// One's own sessions
#[utoipa::path(
    get,
    path = "/api/users/sessions/",
    operation_id = "list_sessions",
    security(("bearer" = [])),
    responses((status = 200, description = "The sessions that have not ended, the last used first", body = Vec<Session>))
)]
pub async fn list(State(users): State<Users>, caller: Caller) -> Result<Json<Vec<Session>>, Error> {
    let sessions = users.store.sessions(caller.user).await?;
    let sessions = sessions.into_iter().map(|session| Session {
        sid: SessionId(session.sid),
        created_at: session.created_at.into(),
        last_used_at: session.last_used_at.into(),
        current: session.sid == caller.sid.0,
        user_agent: session.user_agent,
    });
    Ok(Json(sessions.collect()))
}

/// End a session
///
/// As logging out on that device does.
#[utoipa::path(
    delete,
    path = "/api/users/sessions/{sid}/",
    operation_id = "end_session",
    security(("bearer" = [])),
    params(("sid" = SessionId, Path, description = "The session to end: one of the caller's")),
    responses((status = 204, description = "The session has ended"))
)]
pub async fn end(
    State(users): State<Users>,
    caller: Caller,
    PathId(sid): PathId<SessionId>,
) -> Result<StatusCode, Error> {
    let subject = Subject {
        user: caller.user,
        sid: sid.ok_or(Error::SessionNotFound)?,
    };
    if !users.store.end_session(subject).await? {
        // Also for a session of another user: the caller may not learn that it exists.
        return Err(Error::SessionNotFound);
    }
    tracing::info!(user = %caller.user, "session ended");
    Ok(StatusCode::NO_CONTENT)
}
