//! A user's conversations.

use std::collections::HashSet;

use natter_protocol::{FriendshipId, UserId};
use uuid::Uuid;

use super::{ChannelRow, Store, as_i64, channel_columns};
use crate::channel::Channel;

/// Those that are shown: open, or with messages.
const SHOWN: &str = "(from_user = $1 OR to_user = $1) AND (is_open OR messages > 0)";

impl Store {
    /// The channels of a user that are open as far as is known here.
    pub async fn open_channels(&self, user: UserId) -> sqlx::Result<HashSet<FriendshipId>> {
        let ids: Vec<Uuid> = sqlx::query_scalar(
            "SELECT friendship_id FROM channels
             WHERE (from_user = $1 OR to_user = $1) AND is_open",
        )
        .bind(user.0)
        .fetch_all(&self.0)
        .await?;
        Ok(ids.into_iter().map(FriendshipId).collect())
    }

    pub async fn count_conversations(&self, user: UserId) -> sqlx::Result<u64> {
        let statement = format!("SELECT count(*) FROM channels WHERE {SHOWN}");
        let count: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(statement))
            .bind(user.0)
            .fetch_one(&self.0)
            .await?;
        Ok(count.unsigned_abs())
    }

    /// Newest activity first; a conversation without messages counts by when it was made.
    pub async fn conversations(
        &self,
        user: UserId,
        limit: u64,
        offset: u64,
    ) -> sqlx::Result<Vec<Channel>> {
        let columns = channel_columns!();
        let statement = format!(
            "SELECT {columns} FROM channels WHERE {SHOWN}
             ORDER BY greatest(last_at, created_at) DESC, friendship_id LIMIT $2 OFFSET $3"
        );
        let rows: Vec<ChannelRow> = sqlx::query_as(sqlx::AssertSqlSafe(statement))
            .bind(user.0)
            .bind(as_i64(limit))
            .bind(as_i64(offset))
            .fetch_all(&self.0)
            .await?;
        Ok(rows.into_iter().map(Channel::from).collect())
    }

    /// How many messages the other side has sent after a seq, without those that were deleted.
    pub async fn messages_of_friend_after(
        &self,
        channel: &Channel,
        user: UserId,
        seq: u64,
    ) -> sqlx::Result<u64> {
        let of_friend = |all: u64, from: u64| {
            if channel.members[0] == user {
                all - from
            } else {
                from
            }
        };
        let before: Option<(i64, i64)> = sqlx::query_as(
            "SELECT position, from_position FROM log WHERE friendship_id = $1 AND seq = $2",
        )
        .bind(channel.id.0)
        .bind(as_i64(seq))
        .fetch_optional(&self.0)
        .await?;
        let (all, from) = before.unwrap_or_default();
        let total = of_friend(channel.messages, channel.from_messages);
        let sent = total.saturating_sub(of_friend(all.unsigned_abs(), from.unsigned_abs()));
        if sent == 0 {
            return Ok(0);
        }
        // As many rows are read as were deleted unseen, and no others.
        let deleted: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM log
             WHERE friendship_id = $1 AND seq > $2 AND deleted AND kind = 0 AND sender <> $3",
        )
        .bind(channel.id.0)
        .bind(as_i64(seq))
        .bind(user.0)
        .fetch_one(&self.0)
        .await?;
        Ok(sent.saturating_sub(deleted.unsigned_abs()))
    }
}
