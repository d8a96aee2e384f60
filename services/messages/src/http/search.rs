//! `GET /api/messages/search/?q=`: over the caller's own conversations, best first.

use std::collections::HashMap;

use axum::{Json, extract::State};
use natter_auth::Caller;
use natter_http::{BaseUrl, Page, PageParams, Paged, Params};
use serde::Deserialize;
use utoipa::IntoParams;

use super::item::{Item, items_with, marks_of};
use crate::{
    Messages,
    error::Error,
    search::{self, Query},
};

/// The longest search text, in characters, and the most alternatives.
const MAX_QUERY_CHARS: usize = 1_000;
const MAX_CLAUSES: usize = 8;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Search {
    /// Terms that must all occur in a message. A term is also found inside words if its first and last
    /// word have at least three letters; in scripts without spaces any part is found. `"…"` finds whole
    /// words in that order, `-term` excludes messages with the term, `or` separates at most 8
    /// alternatives. Case, width, accents and punctuation are ignored.
    #[param(min_length = 1, max_length = 1_000)]
    q: String,
}

/// Search one's own conversations
///
/// Matches of whole words come before matches of parts, newer before older; at most 10,000 matches
/// are returned, chosen from the newest messages of each conversation. A search examines at most
/// 100,000 candidate messages. A message can be found as soon as it is acknowledged.
#[utoipa::path(
    get,
    path = "/api/messages/search/",
    operation_id = "search_messages",
    security(("bearer" = [])),
    params(Search, PageParams),
    responses((status = 200, description = "A page of messages", body = Paged<Item>))
)]
pub async fn search(
    State(messages): State<Messages>,
    caller: Caller,
    base: BaseUrl,
    params: Params,
    page: Page,
) -> Result<Json<Paged<Item>>, Error> {
    let Search { q } = params.read()?;
    if q.is_empty() || q.chars().count() > MAX_QUERY_CHARS {
        return Err(Error::InvalidQuery);
    }
    let query = Query::parse(&q);
    if query.0.len() > MAX_CLAUSES {
        return Err(Error::InvalidQuery);
    }
    let (store, user) = (&messages.store, caller.user);
    let (count, found) = search::search(store, user, &query, page.limit(), page.offset()).await?;
    page.check(count)?;
    let ids: Vec<_> = found.iter().map(|(channel, _)| channel.0).collect();
    let channels: HashMap<_, _> = messages.store.channels(&ids).await?;
    // The marks are read once for each channel, not for each result.
    let mut marks = HashMap::with_capacity(channels.len());
    for (id, channel) in &channels {
        marks.insert(*id, marks_of(&messages, channel).await?);
    }
    let mut results = Vec::with_capacity(found.len());
    for (channel, seq) in found {
        let (Some(channel), Some(marks)) = (channels.get(&channel), marks.get(&channel)) else {
            continue;
        };
        let rows = messages.store.messages(channel.id, seq, seq).await?;
        results.extend(items_with(marks, channel, &rows, &base));
    }
    Ok(Json(page.of(count, results)))
}
