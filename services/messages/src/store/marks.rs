//! The marks: up to which `seq` each user has received and seen a channel.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use natter_protocol::{
    FriendshipId, MessageId, UserId,
    call::{ChannelMarks, HowFar},
};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Store, as_i64};

/// How far a user has received and seen.
#[derive(Clone, Copy, Debug, Default, sqlx::FromRow)]
pub struct MarkSeqs {
    pub received_seq: i64,
    pub seen_seq: i64,
    pub updated_at: DateTime<Utc>,
}

/// One user's marks in a channel.
#[derive(Debug, sqlx::FromRow)]
pub struct MovedMark {
    friendship_id: Uuid,
    user_id: Uuid,
    received_seq: i64,
    seen_seq: i64,
}

impl MovedMark {
    pub fn key(&self) -> (FriendshipId, UserId) {
        (FriendshipId(self.friendship_id), UserId(self.user_id))
    }

    pub fn seqs(&self) -> HowFar {
        HowFar {
            received_seq: self.received_seq.unsigned_abs(),
            seen_seq: self.seen_seq.unsigned_abs(),
        }
    }
}

/// One user's marks in a channel, with the messages that they stand at.
#[derive(Debug, sqlx::FromRow)]
pub struct KnownMark {
    #[sqlx(flatten)]
    pub mark: MovedMark,
    pub received: Option<Uuid>,
    pub seen: Option<Uuid>,
}

/// The newest messages that a user has received and seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Newest {
    pub received: Option<MessageId>,
    pub seen: Option<MessageId>,
}

impl Store {
    pub async fn marks(&self, channel: FriendshipId, user: UserId) -> sqlx::Result<MarkSeqs> {
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

    /// The marks of both members of each channel, as `user` is told them; without the channels in
    /// which nobody has a mark.
    pub async fn marks_in(
        &self,
        user: UserId,
        channels: &[Uuid],
    ) -> sqlx::Result<HashMap<FriendshipId, ChannelMarks>> {
        let rows: Vec<MovedMark> = sqlx::query_as(
            "SELECT friendship_id, user_id, received_seq, seen_seq
             FROM marks WHERE friendship_id = ANY($1)",
        )
        .bind(channels)
        .fetch_all(&self.0)
        .await?;
        let mut all: HashMap<FriendshipId, ChannelMarks> = HashMap::new();
        for row in rows {
            let ((channel, of), seqs) = (row.key(), row.seqs());
            let marks = all.entry(channel).or_default();
            if of == user {
                (marks.received_seq, marks.seen_seq) = (seqs.received_seq, seqs.seen_seq);
            } else {
                marks.friend_received_seq = seqs.received_seq;
                marks.friend_seen_seq = seqs.seen_seq;
            }
        }
        Ok(all)
    }

    /// The marks of all members of some channels.
    pub async fn known_marks(&self, channels: &[Uuid]) -> sqlx::Result<Vec<KnownMark>> {
        sqlx::query_as(
            "SELECT marks.friendship_id, user_id, received_seq, seen_seq,
                    received.id AS received, seen.id AS seen
             FROM marks
             LEFT JOIN log received ON received.friendship_id = marks.friendship_id
                                   AND received.seq = received_seq AND received.kind = 0
             LEFT JOIN log seen ON seen.friendship_id = marks.friendship_id
                               AND seen.seq = seen_seq AND seen.kind = 0
             WHERE marks.friendship_id = ANY($1)",
        )
        .bind(channels)
        .fetch_all(&self.0)
        .await
    }

    /// The marks of some users, each in a channel.
    pub async fn marks_of(&self, users: &[(FriendshipId, UserId)]) -> sqlx::Result<Vec<MovedMark>> {
        let channels: Vec<Uuid> = users.iter().map(|(channel, _)| channel.0).collect();
        let users: Vec<Uuid> = users.iter().map(|(_, user)| user.0).collect();
        sqlx::query_as(
            "SELECT friendship_id, user_id, received_seq, seen_seq
             FROM unnest($1::uuid[], $2::uuid[]) AS asked (friendship_id, user_id)
             JOIN marks USING (friendship_id, user_id)",
        )
        .bind(channels)
        .bind(users)
        .fetch_all(&self.0)
        .await
    }
}

/// Moves marks forward, to messages that the log has: it may have been set back since they were
/// delivered, and have given their seqs to others.
pub async fn move_marks(
    db: &mut PgConnection,
    marks: &BTreeMap<(FriendshipId, UserId), Newest>,
) -> sqlx::Result<Vec<MovedMark>> {
    // In the order of their key, so that two replicas cannot wait for each other.
    let channels: Vec<Uuid> = marks.keys().map(|(channel, _)| channel.0).collect();
    let users: Vec<Uuid> = marks.keys().map(|(_, user)| user.0).collect();
    let seq = |message: Option<MessageId>| message.map(|id| as_i64(id.seq()));
    let id = |message: Option<MessageId>| message.map(|id| id.0);
    let received_seqs: Vec<Option<i64>> = marks.values().map(|mark| seq(mark.received)).collect();
    let received_ids: Vec<Option<Uuid>> = marks.values().map(|mark| id(mark.received)).collect();
    let seen_seqs: Vec<Option<i64>> = marks.values().map(|mark| seq(mark.seen)).collect();
    let seen_ids: Vec<Option<Uuid>> = marks.values().map(|mark| id(mark.seen)).collect();
    sqlx::query_as(
        "INSERT INTO marks (friendship_id, user_id, received_seq, seen_seq)
         SELECT new.friendship_id, new.user_id, greatest(received.seq, seen.seq),
                coalesce(seen.seq, 0)
         FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::uuid[], $5::bigint[], $6::uuid[])
              WITH ORDINALITY AS new (friendship_id, user_id, received_seq, received_id, seen_seq,
                                      seen_id, number)
         LEFT JOIN log received ON received.friendship_id = new.friendship_id
                               AND received.seq = new.received_seq
                               AND received.id = new.received_id
         LEFT JOIN log seen ON seen.friendship_id = new.friendship_id
                           AND seen.seq = new.seen_seq AND seen.id = new.seen_id
         WHERE received.seq IS NOT NULL OR seen.seq IS NOT NULL
         ORDER BY new.number
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
    .bind(&received_seqs)
    .bind(&received_ids)
    .bind(&seen_seqs)
    .bind(&seen_ids)
    .fetch_all(db)
    .await
}
