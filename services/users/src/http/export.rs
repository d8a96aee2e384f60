//! `GET /api/users/export/`

use axum::{
    body::Body,
    extract::State,
    http::{Method, header},
    response::{IntoResponse, Response},
};
use natter_auth::Caller;

use crate::{Users, error::Error};

/// Export everything that is stored about oneself
///
/// A ZIP archive: `account.json`, `sessions.json`, `friendships.json`, `marks.json`,
/// `conversations/<channel>.json` with each channel's log, `files.json`, and the files themselves
/// below `files/`. The archive is streamed while it is built: if the connection breaks, what was
/// received is incomplete.
#[utoipa::path(
    get,
    path = "/api/users/export/",
    security(("bearer" = [])),
    responses((status = 200, description = "The archive", content_type = "application/zip"))
)]
pub async fn export(
    State(users): State<Users>,
    caller: Caller,
    method: Method,
) -> Result<Response, Error> {
    let account = users.store.account(caller.user).await?;
    let account = account.ok_or(Error::AccountGone)?;
    let headers = [
        (header::CONTENT_TYPE, "application/zip"),
        (
            header::CONTENT_DISPOSITION,
            "attachment; filename=\"natter-export.zip\"",
        ),
        (header::CACHE_CONTROL, "no-store"),
    ];
    // Whoever asks for the head alone gets no archive made.
    if method == Method::HEAD {
        return Ok(headers.into_response());
    }
    let sessions = users.store.past_sessions(caller.user).await?;
    let archive = users.exports.start(account, sessions)?;
    tracing::info!(user = %caller.user, "export begun");
    Ok((headers, Body::from_stream(archive)).into_response())
}
