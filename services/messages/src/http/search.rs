//! `GET /api/messages/search/?q=`: over the caller's own conversations, best first.

use std::collections::HashMap;

use axum::{Json, extract::State};
use natter_auth::Caller;
use natter_service::{BaseUrl, Page, Paged, Params};

use super::item::{Item, items};
use crate::{Messages, error::Error};

/// The longest search text, in characters.
const MAX_QUERY_CHARS: usize = 200;

pub async fn search(
    State(messages): State<Messages>,
    caller: Caller,
    base: BaseUrl,
    params: Params,
    page: Page,
) -> Result<Json<Paged<Item>>, Error> {
    let query = params.get("q").map(str::trim).unwrap_or_default();
    if query.is_empty() || query.chars().count() > MAX_QUERY_CHARS {
        return Err(Error::InvalidQuery);
    }
    let (count, found) = messages
        .store
        .search(caller.user, query, page.limit(), page.offset())
        .await?;
    page.check(count)?;
    let ids: Vec<_> = found.iter().map(|(channel, _)| channel.0).collect();
    let channels: HashMap<_, _> = messages.store.channels(&ids).await?;
    let mut results = Vec::with_capacity(found.len());
    for (channel, seq) in found {
        let Some(channel) = channels.get(&channel) else {
            continue;
        };
        let rows = messages.store.messages(channel.id, seq, seq).await?;
        results.extend(items(&messages, channel, rows, &base).await?);
    }
    Ok(Json(page.of(count, results)))
}
