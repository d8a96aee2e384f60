//! Finding messages by their words.

use natter_protocol::{FriendshipId, UserId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Store, as_i64};

/// Of more matches than these only the newest are ranked and counted: a word that stands in every
/// message of a long conversation costs no more than this.
pub const MAX_MATCHES: i64 = 10_000;

impl Store {
    /// How many messages match, and where those of a page are, best first.
    pub async fn search(
        &self,
        user: UserId,
        query: &str,
        limit: u64,
        offset: u64,
    ) -> sqlx::Result<(u64, Vec<(FriendshipId, u64)>)> {
        // A message is found in its present wording: its own, or that of its newest edit.
        let rows: Vec<(Uuid, i64, i64)> = sqlx::query_as(
            "WITH matches AS (
                 SELECT friendship_id, seq, target_seq, at, content FROM log
                 WHERE friendship_id = ANY(ARRAY(SELECT friendship_id FROM channels
                                                 WHERE from_user = $1 OR to_user = $1))
                   AND kind < 2
                   AND to_tsvector('simple', content) @@ websearch_to_tsquery('simple', $2)
                 ORDER BY at DESC LIMIT $5
             )
             SELECT message.friendship_id, message.seq, count(*) OVER ()
             FROM matches
             JOIN log message ON message.friendship_id = matches.friendship_id
                             AND message.seq = coalesce(matches.target_seq, matches.seq)
                             AND coalesce(message.edit_seq, message.seq) = matches.seq
                             AND NOT message.deleted
             ORDER BY ts_rank(to_tsvector('simple', matches.content),
                              websearch_to_tsquery('simple', $2)) DESC,
                      matches.at DESC, message.friendship_id, message.seq DESC
             LIMIT $3 OFFSET $4",
        )
        .bind(user.0)
        .bind(query)
        .bind(as_i64(limit))
        .bind(as_i64(offset))
        .bind(MAX_MATCHES)
        .fetch_all(&self.0)
        .await?;
        let count = rows.first().map_or(0, |(_, _, count)| count.unsigned_abs());
        let found = rows
            .into_iter()
            .map(|(channel, seq, _)| (FriendshipId(channel), seq.unsigned_abs()))
            .collect();
        Ok((count, found))
    }
}

/// Merges the words of new messages into the index; a search finds them before too.
pub async fn merge_words(db: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query("SELECT merge_words()").execute(db).await?;
    Ok(())
}
