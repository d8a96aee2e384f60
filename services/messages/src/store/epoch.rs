//! The epoch of the logs, and the database that it was last compared with.

use natter_protocol::{FriendshipId, MessageId};
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use super::{Store, as_i64};

/// The epoch, compared with the database as it is.
#[derive(Debug, sqlx::FromRow)]
pub struct LogEpoch {
    pub epoch: Uuid,
    pub is_same_database: bool,
    pub forgotten_event: Option<Uuid>,
}

/// The identity of the database: a promoted standby, and a recovery to a point in time, each have a
/// timeline of their own, with which the name of the current WAL file begins.
const HERE: &str = "
    (SELECT system_identifier,
            ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer AS timeline
     FROM pg_control_system()) AS here";

impl Store {
    pub async fn epoch(&self) -> sqlx::Result<Uuid> {
        sqlx::query_scalar("SELECT epoch FROM log_epoch")
            .fetch_one(&self.0)
            .await
    }
}

pub async fn log_epoch(db: &mut PgConnection) -> sqlx::Result<LogEpoch> {
    sqlx::query_as(AssertSqlSafe(format!(
        "SELECT epoch, forgotten_event,
                (known.system_identifier, known.timeline) = (here.system_identifier, here.timeline)
                AS is_same_database
         FROM log_epoch AS known, {HERE}"
    )))
    .fetch_one(db)
    .await
}

/// Replaces the epoch `before` by a new one; false if another replica has done so already.
pub async fn begin_epoch(
    db: &mut PgConnection,
    before: Uuid,
    forgotten_event: Option<Uuid>,
) -> sqlx::Result<bool> {
    let done = sqlx::query(AssertSqlSafe(format!(
        "UPDATE log_epoch SET
             epoch = gen_random_uuid(),
             system_identifier = here.system_identifier,
             timeline = here.timeline,
             forgotten_event = coalesce($2, forgotten_event)
         FROM {HERE}
         WHERE epoch = $1"
    )))
    .bind(before)
    .bind(forgotten_event)
    .execute(db)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Whether the log of a channel has this entry at this `seq`.
pub async fn has_entry(
    db: &mut PgConnection,
    channel: FriendshipId,
    seq: u64,
    id: MessageId,
) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM log WHERE friendship_id = $1 AND seq = $2 AND id = $3)",
    )
    .bind(channel.0)
    .bind(as_i64(seq))
    .bind(id.0)
    .fetch_one(db)
    .await
}
