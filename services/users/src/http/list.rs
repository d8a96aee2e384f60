//! `GET /api/users/`

use axum::{Json, extract::State};
use natter_auth::Caller;
use natter_http::{BaseUrl, Page, PageParams, Paged, Params};
use natter_protocol::UserId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{Users, account::username_key, error::Error};

/// A user in a list, as everyone sees them.
#[derive(Serialize, ToSchema)]
pub struct Listed {
    id: UserId,
    username: String,
    personal_image: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Search {
    /// A part of the name, in any case; without it everybody is listed.
    username: Option<String>,
}

/// Find users
///
/// Ordered by username.
#[utoipa::path(
    get,
    path = "/api/users/",
    operation_id = "list_users",
    security(("bearer" = [])),
    params(Search, PageParams),
    responses((status = 200, description = "A page of users", body = Paged<Listed>))
)]
pub async fn list(
    State(users): State<Users>,
    _: Caller,
    base: BaseUrl,
    params: Params,
    page: Page,
) -> Result<Json<Paged<Listed>>, Error> {
    let sent: Search = params.read()?;
    let key = username_key(&sent.username.unwrap_or_default());
    let count = users.store.count(&key).await?;
    page.check(count)?;
    let accounts = users
        .store
        .search(&key, page.limit(), page.offset())
        .await?;
    let results = accounts
        .into_iter()
        .map(|account| Listed {
            id: UserId(account.id),
            personal_image: super::image_url(&account, &base),
            username: account.username,
        })
        .collect();
    Ok(Json(page.of(count, results)))
}
