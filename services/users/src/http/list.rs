//! `GET /api/users/`

use axum::{Json, extract::State};
use natter_auth::Caller;
use natter_protocol::UserId;
use natter_service::{BaseUrl, Page, Paged, Params};
use serde::Serialize;

use crate::{Users, account::username_key, error::Error};

#[derive(Serialize)]
pub struct Listed {
    id: UserId,
    username: String,
    personal_image: Option<String>,
}

pub async fn list(
    State(users): State<Users>,
    _: Caller,
    base: BaseUrl,
    params: Params,
    page: Page,
) -> Result<Json<Paged<Listed>>, Error> {
    let key = username_key(params.get("username").unwrap_or_default());
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
