//! The search table, and what is read of the log for it.

use chrono::{DateTime, Utc};
use futures_util::stream::BoxStream;
use natter_protocol::{FriendshipId, UserId, message::Kind};
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use super::{Store, as_i64, log::kind_of};

/// The advisory lock of whoever takes the logs over: one replica at a time.
const LOCK: i64 = 0x6e61_7474_6572_0007;

/// A text that may match, in a message's present wording.
#[derive(sqlx::FromRow)]
pub struct Candidate {
    friendship_id: Uuid,
    seq: i64,
    pub at: DateTime<Utc>,
    pub content: String,
}

impl Candidate {
    pub fn channel(&self) -> FriendshipId {
        FriendshipId(self.friendship_id)
    }

    /// The `seq` of the message.
    pub fn seq(&self) -> u64 {
        self.seq.unsigned_abs()
    }
}

/// A channel that may be searched.
#[derive(sqlx::FromRow)]
pub struct SearchedChannel {
    friendship_id: Uuid,
    last_seq: i64,
    /// How far its log was taken over.
    searchable_seq: i64,
}

impl SearchedChannel {
    pub fn id(&self) -> FriendshipId {
        FriendshipId(self.friendship_id)
    }

    pub fn last_seq(&self) -> u64 {
        self.last_seq.unsigned_abs()
    }

    pub fn is_behind(&self) -> bool {
        self.searchable_seq < self.last_seq
    }
}

impl Store {
    /// A user's channels, newest activity first.
    pub async fn searched_channels(&self, user: UserId) -> sqlx::Result<Vec<SearchedChannel>> {
        sqlx::query_as(
            "SELECT friendship_id, last_seq, coalesce(searchable.seq, 0) AS searchable_seq
             FROM channels LEFT JOIN searchable USING (friendship_id)
             WHERE (from_user = $1 OR to_user = $1) AND last_seq > 0
             ORDER BY last_at DESC, friendship_id",
        )
        .bind(user.0)
        .fetch_all(&self.0)
        .await
    }

    /// The messages that have all these grams, in any of these slices.
    pub fn candidates<'a>(
        &'a self,
        grams: &'a [i32],
        slices: &'a [i32],
    ) -> BoxStream<'a, sqlx::Result<Candidate>> {
        let found = "(SELECT friendship_id, seq FROM search
                      WHERE grams @> $1 AND grams && $2) AS found";
        sqlx::query_as(AssertSqlSafe(candidates(found)))
            .bind(grams)
            .bind(slices)
            .fetch(&self.0)
    }

    /// The entries that were not taken over yet, at most the newest `limit` of each channel.
    pub fn tails(
        &self,
        channels: &[&SearchedChannel],
        limit: usize,
    ) -> BoxStream<'_, sqlx::Result<Candidate>> {
        let found = "(SELECT channel.friendship_id, newest.seq
                      FROM unnest($1::uuid[], $2::bigint[]) AS channel (friendship_id, after_seq),
                           LATERAL (SELECT seq FROM log
                                    WHERE log.friendship_id = channel.friendship_id
                                      AND log.seq > channel.after_seq
                                    ORDER BY seq DESC LIMIT $3) AS newest) AS found";
        let ids: Vec<Uuid> = channels
            .iter()
            .map(|channel| channel.friendship_id)
            .collect();
        let seqs: Vec<i64> = channels
            .iter()
            .map(|channel| channel.searchable_seq)
            .collect();
        sqlx::query_as(AssertSqlSafe(candidates(found)))
            .bind(ids)
            .bind(seqs)
            .bind(as_i64(limit as u64))
            .fetch(&self.0)
    }
}

/// A message is found in its present wording: its own, or that of its newest edit.
fn candidates(found: &str) -> String {
    format!(
        "SELECT message.friendship_id, message.seq, message.at, entry.content
         FROM {found}
         JOIN log entry USING (friendship_id, seq)
         JOIN log message ON message.friendship_id = entry.friendship_id
                         AND message.seq = coalesce(entry.target_seq, entry.seq)
                         AND coalesce(message.edit_seq, message.seq) = entry.seq
                         AND NOT message.deleted
         WHERE entry.kind < 2"
    )
}

/// An entry that was not taken over yet.
#[derive(sqlx::FromRow)]
pub struct Unsearched {
    pub friendship_id: Uuid,
    pub seq: i64,
    pub content: String,
    kind: i16,
    target_seq: Option<i64>,
    /// How far the channel's log was taken over when this was read.
    after_seq: i64,
}

impl Unsearched {
    pub fn kind(&self) -> Kind {
        kind_of(self.kind)
    }
}

/// Takes the lock for taking logs over, until the transaction ends; false if another has it.
pub async fn lock_search(db: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1)")
        .bind(LOCK)
        .fetch_one(db)
        .await
}

/// The next channels after this one, in the order of their ids, with whether their logs were not
/// wholly taken over.
pub async fn compare(
    db: &mut PgConnection,
    after: Uuid,
    limit: usize,
) -> sqlx::Result<Vec<(Uuid, bool)>> {
    sqlx::query_as(
        "SELECT friendship_id, last_seq > coalesce(searchable.seq, 0)
         FROM (SELECT friendship_id, last_seq FROM channels
               WHERE friendship_id > $1 ORDER BY friendship_id LIMIT $2) AS channel
         LEFT JOIN searchable USING (friendship_id)
         ORDER BY friendship_id",
    )
    .bind(after)
    .bind(as_i64(limit as u64))
    .fetch_all(db)
    .await
}

/// The first entries of each of these channels that were not taken over, at most `limit` of each,
/// ordered by channel and seq.
pub async fn unsearched(
    db: &mut PgConnection,
    channels: &[Uuid],
    limit: usize,
) -> sqlx::Result<Vec<Unsearched>> {
    sqlx::query_as(
        "SELECT entry.friendship_id, entry.seq, entry.kind, entry.content, entry.target_seq,
                coalesce(searchable.seq, 0) AS after_seq
         FROM unnest($1::uuid[]) AS channel (friendship_id)
         LEFT JOIN searchable USING (friendship_id),
         LATERAL (SELECT friendship_id, seq, kind, content, target_seq FROM log
                  WHERE log.friendship_id = channel.friendship_id
                    AND log.seq > coalesce(searchable.seq, 0)
                  ORDER BY log.seq LIMIT $2) AS entry
         ORDER BY entry.friendship_id, entry.seq",
    )
    .bind(channels)
    .bind(as_i64(limit as u64))
    .fetch_all(db)
    .await
}

/// What is to be stored of entries that were read, as columns.
#[derive(Default)]
pub struct Searched {
    channels: Vec<Uuid>,
    seqs: Vec<i64>,
    /// The grams of all entries, one after the other, and where those of each entry end.
    grams: Vec<i32>,
    ends: Vec<i32>,
    /// Messages that were deleted, by channel and seq.
    deleted: (Vec<Uuid>, Vec<i64>),
    /// The channels, with the seq from which and the one up to which their logs are taken over.
    ups: (Vec<Uuid>, Vec<i64>, Vec<i64>),
}

impl Searched {
    pub fn add(&mut self, entry: &Unsearched, grams: &[i32]) {
        self.channels.push(entry.friendship_id);
        self.seqs.push(entry.seq);
        self.grams.extend(grams);
        self.ends
            .push(i32::try_from(self.grams.len()).unwrap_or(i32::MAX));
    }

    /// Removes the message that this entry deletes, and its edits, from the search table.
    pub fn remove(&mut self, deletion: &Unsearched) {
        if let Some(target) = deletion.target_seq {
            self.deleted.0.push(deletion.friendship_id);
            self.deleted.1.push(target);
        }
    }

    /// The last entry of its channel that is taken over.
    pub fn up_to(&mut self, last: &Unsearched) {
        self.ups.0.push(last.friendship_id);
        self.ups.1.push(last.after_seq);
        self.ups.2.push(last.seq);
    }

    /// Stores the rows of those channels of which nobody has taken over anything since they were
    /// read; returns how many rows were added, and the other channels. The caller holds the lock of
    /// [`lock_search`].
    pub async fn store(&self, db: &mut PgConnection) -> sqlx::Result<(usize, Vec<Uuid>)> {
        let moved: Vec<Uuid> = sqlx::query_scalar(
            "INSERT INTO searchable (friendship_id, seq)
             SELECT channel.friendship_id, channel.seq
             FROM unnest($1::uuid[], $2::bigint[], $3::bigint[])
                      AS channel (friendship_id, after_seq, seq)
             LEFT JOIN searchable USING (friendship_id)
             WHERE coalesce(searchable.seq, 0) = channel.after_seq
             ON CONFLICT (friendship_id) DO UPDATE SET seq = excluded.seq
             RETURNING friendship_id",
        )
        .bind(&self.ups.0)
        .bind(&self.ups.1)
        .bind(&self.ups.2)
        .fetch_all(&mut *db)
        .await?;
        let mut rows = 0;
        if !self.seqs.is_empty() {
            let inserted = sqlx::query(
                "INSERT INTO search (friendship_id, seq, grams)
                 SELECT friendship_id, seq, ($4::integer[])[first:last]
                 FROM (SELECT friendship_id, seq, last,
                              coalesce(lag(last) OVER (ORDER BY number), 0) + 1 AS first
                       FROM unnest($1::uuid[], $2::bigint[], $3::integer[]) WITH ORDINALITY
                            AS entry (friendship_id, seq, last, number)) AS entries
                 WHERE friendship_id = ANY($5)
                 ON CONFLICT DO NOTHING",
            )
            .bind(&self.channels)
            .bind(&self.seqs)
            .bind(&self.ends)
            .bind(&self.grams)
            .bind(&moved)
            .execute(&mut *db)
            .await?;
            rows = usize::try_from(inserted.rows_affected()).unwrap_or(usize::MAX);
        }
        if !self.deleted.0.is_empty() {
            sqlx::query(
                "WITH RECURSIVE versions AS (
                     SELECT log.friendship_id, log.seq, log.edit_seq
                     FROM unnest($1::uuid[], $2::bigint[]) AS deleted (friendship_id, seq)
                     JOIN log USING (friendship_id, seq)
                     UNION ALL
                     SELECT log.friendship_id, log.seq, log.edit_seq
                     FROM versions
                     JOIN log ON log.friendship_id = versions.friendship_id
                             AND log.seq = versions.edit_seq
                 )
                 DELETE FROM search USING versions
                 WHERE search.friendship_id = versions.friendship_id
                   AND search.seq = versions.seq",
            )
            .bind(&self.deleted.0)
            .bind(&self.deleted.1)
            .execute(db)
            .await?;
        }
        let overtaken = self.ups.0.iter().filter(|one| !moved.contains(one));
        Ok((rows, overtaken.copied().collect()))
    }
}

/// Merges the pending list into the GIN index. A search finds rows in the pending list too, but
/// scans all of it.
pub async fn merge_words(db: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query("SELECT merge_words()").execute(db).await?;
    Ok(())
}
