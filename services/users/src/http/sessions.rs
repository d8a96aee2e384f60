//! `GET /api/users/sessions/` and `DELETE /api/users/sessions/<sid>/`

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use natter_auth::Caller;
use natter_protocol::{SessionId, Timestamp};
use serde::Serialize;

use crate::{
    Users,
    error::Error,
    store::{end_session, lock_session},
    token::Subject,
};

#[derive(Serialize)]
pub struct Session {
    sid: SessionId,
    created_at: Timestamp,
    last_used_at: Timestamp,
    user_agent: String,
    current: bool,
}

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

pub async fn end(
    State(users): State<Users>,
    caller: Caller,
    Path(sid): Path<String>,
) -> Result<StatusCode, Error> {
    let subject = Subject {
        user: caller.user,
        sid: sid.parse().map_err(|_| Error::SessionNotFound)?,
    };
    let mut tx = users.store.begin().await?;
    // Also for another's: nobody is told that it exists.
    lock_session(&mut tx, subject)
        .await?
        .ok_or(Error::SessionNotFound)?;
    end_session(&mut tx, subject).await?;
    tx.commit().await?;
    tracing::info!(user = %caller.user, "session ended");
    Ok(StatusCode::NO_CONTENT)
}
