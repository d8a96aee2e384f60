//! `GET /api/messages/conversations/`: every open channel and every closed one with messages,
//! newest activity first.

use std::collections::{HashMap, HashSet};

use axum::{Json, extract::State};
use futures_util::future::try_join_all;
use natter_auth::Caller;
use natter_http::{BaseUrl, Page, PageParams, Paged};
use natter_protocol::{
    FriendshipId, UserId,
    call::{GetFriendship, GetUsers},
    friendship::{Friendship, UserCard},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::item::{Item, items_with, marks_for, marks_of};
use crate::{Messages, channel::Channel, error::Error};

/// A channel as the caller sees it.
#[derive(Serialize, ToSchema)]
pub struct Conversation {
    friendship: Friendship<UserCard>,
    last_message: Option<Item>,
    /// How many messages of the friend the caller has not seen yet.
    unread: u64,
    received_seq: u64,
    seen_seq: u64,
    friend_received_seq: u64,
    friend_seen_seq: u64,
}

/// List one's own conversations
///
/// Every open channel and every closed one with messages, newest activity first.
#[utoipa::path(
    get,
    path = "/api/messages/conversations/",
    operation_id = "list_conversations",
    security(("bearer" = [])),
    params(PageParams),
    responses((status = 200, description = "A page of conversations", body = Paged<Conversation>))
)]
pub async fn conversations(
    State(messages): State<Messages>,
    caller: Caller,
    base: BaseUrl,
    page: Page,
) -> Result<Json<Paged<Conversation>>, Error> {
    catch_up(&messages, caller.user).await?;
    let count = messages.store.count_conversations(caller.user).await?;
    page.check(count)?;
    let channels = messages
        .store
        .conversations(caller.user, page.limit(), page.offset())
        .await?;
    let friendships = friendships(&messages, &channels, &base).await?;
    let mut results = Vec::with_capacity(channels.len());
    for (channel, friendship) in channels.iter().zip(friendships) {
        let Some(friendship) = friendship else {
            continue;
        };
        results.push(conversation(&messages, caller.user, channel, friendship, &base).await?);
    }
    Ok(Json(page.of(count, results)))
}

/// The projection may be a moment behind the friendships service: a channel that is open for only
/// one of the two is read from that service again.
async fn catch_up(messages: &Messages, user: UserId) -> Result<(), Error> {
    let open = messages.bus.list_channels(user, false).await?;
    let open: HashSet<FriendshipId> = open.iter().map(|one| one.channel).collect();
    let known = messages.store.open_channels(user).await?;
    let differ = open.symmetric_difference(&known);
    try_join_all(differ.map(|id| messages.channels.refresh(*id))).await?;
    Ok(())
}

async fn conversation(
    messages: &Messages,
    user: UserId,
    channel: &Channel,
    friendship: Friendship<UserCard>,
    base: &BaseUrl,
) -> Result<Conversation, Error> {
    let store = &messages.store;
    let marks = marks_of(messages, channel).await?;
    let own = marks_for(&marks, user);
    let friend = marks_for(&marks, channel.friend_of(user));
    let last = match channel.messages {
        0 => Vec::new(),
        newest => {
            let seq = store.seq_of_position(channel, newest).await?;
            store.messages(channel.id, seq, seq).await?
        }
    };
    let seen_seq = own.seen_seq.unsigned_abs();
    Ok(Conversation {
        friendship,
        last_message: items_with(&marks, channel, &last, base).pop(),
        unread: store
            .messages_of_friend_after(channel, user, seen_seq)
            .await?,
        received_seq: own.received_seq.unsigned_abs(),
        seen_seq,
        friend_received_seq: friend.received_seq.unsigned_abs(),
        friend_seen_seq: friend.seen_seq.unsigned_abs(),
    })
}

/// The friendships of the channels with their users' cards, in the same order.
async fn friendships(
    messages: &Messages,
    channels: &[Channel],
    base: &BaseUrl,
) -> Result<Vec<Option<Friendship<UserCard>>>, Error> {
    let calls = channels.iter().map(|channel| GetFriendship {
        friendship: channel.id,
    });
    let calls = calls.map(|call| async move { messages.bus.call(&call).await });
    let states = try_join_all(calls).await?;
    let mut users: Vec<UserId> = channels
        .iter()
        .flat_map(|channel| channel.members)
        .collect();
    users.sort_unstable();
    users.dedup();
    // At most a page of friends and the caller: below the call's limit.
    let cards = if users.is_empty() {
        Vec::new()
    } else {
        messages.bus.call(&GetUsers { users }).await?
    };
    let cards: HashMap<UserId, UserCard> = cards
        .into_iter()
        .map(|card| (card.id, card.at(&base.0)))
        .collect();
    Ok(states
        .into_iter()
        .map(|state| Some(state?.friendship.map_users(|id| UserCard::of(id, &cards))))
        .collect())
}
