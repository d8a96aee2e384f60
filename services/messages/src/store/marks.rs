//! How far each user is.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use natter_protocol::{FriendshipId, MessageId, UserId};
use uuid::Uuid;

use super::{Store, as_i64};

/// How far a user has received and seen.
#[derive(Clone, Copy, Debug, Default, sqlx::FromRow)]
pub struct Marks {
    pub received_seq: i64,
    pub seen_seq: i64,
    pub updated_at: DateTime<Utc>,
}

/// A mark that moved.
#[derive(Debug, sqlx::FromRow)]
pub struct MovedMark {
    pub friendship_id: Uuid,
    pub user_id: Uuid,
    pub received_seq: i64,
    pub seen_seq: i64,
}

/// How far a mark should move.
#[derive(Clone, Copy, Debug)]
pub struct NewMark {
    pub received_seq: u64,
    pub seen_seq: u64,
}

impl Store {
    pub async fn marks(&self, channel: FriendshipId, user: UserId) -> sqlx::Result<Marks> {
        let marks = sqlx::query_as(
            "SELECT received_seq, seen_seq, updated_at FROM marks
             WHERE friendship_id = $1 AND user_id = $2",
        )
        .bind(channel.0)
        .bind(user.0)
        .fetch_optional(&self.0)
        .await?;
        Ok(marks.unwrap_or_default())
    }

    /// Which of the messages are there.
    pub async fn markable(
        &self,
        asked: &[(FriendshipId, MessageId)],
    ) -> sqlx::Result<Vec<(FriendshipId, MessageId)>> {
        let channels: Vec<Uuid> = asked.iter().map(|(channel, _)| channel.0).collect();
        let ids: Vec<Uuid> = asked.iter().map(|(_, id)| id.0).collect();
        let seqs: Vec<i64> = asked.iter().map(|(_, id)| as_i64(id.seq())).collect();
        let rows: Vec<(Uuid, Uuid)> = sqlx::query_as(
            "SELECT log.friendship_id, log.id
             FROM unnest($1::uuid[], $2::uuid[], $3::bigint[]) AS asked (friendship_id, id, seq)
             JOIN log USING (friendship_id, seq, id) WHERE log.kind = 0",
        )
        .bind(&channels)
        .bind(&ids)
        .bind(&seqs)
        .fetch_all(&self.0)
        .await?;
        Ok(rows
            .into_iter()
            .map(|(channel, id)| (FriendshipId(channel), MessageId(id)))
            .collect())
    }

    /// Moves marks forward; those that moved.
    pub async fn move_marks(
        &self,
        marks: &BTreeMap<(FriendshipId, UserId), NewMark>,
    ) -> sqlx::Result<Vec<MovedMark>> {
        // In the order of their key, so that two replicas cannot wait for each other.
        let channels: Vec<Uuid> = marks.keys().map(|(channel, _)| channel.0).collect();
        let users: Vec<Uuid> = marks.keys().map(|(_, user)| user.0).collect();
        let received: Vec<i64> = marks
            .values()
            .map(|mark| as_i64(mark.received_seq))
            .collect();
        let seen: Vec<i64> = marks.values().map(|mark| as_i64(mark.seen_seq)).collect();
        sqlx::query_as(
            "INSERT INTO marks (friendship_id, user_id, received_seq, seen_seq)
             SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[])
             ON CONFLICT (friendship_id, user_id) DO UPDATE SET
                 received_seq = greatest(marks.received_seq, excluded.received_seq),
                 seen_seq = greatest(marks.seen_seq, excluded.seen_seq),
                 updated_at = now()
             WHERE excluded.received_seq > marks.received_seq
                OR excluded.seen_seq > marks.seen_seq
             RETURNING friendship_id, user_id, received_seq, seen_seq",
        )
        .bind(&channels)
        .bind(&users)
        .bind(&received)
        .bind(&seen)
        .fetch_all(&self.0)
        .await
    }
}
