//! All SQL of the schema `friendships`.

use chrono::{DateTime, Utc};
use natter_outbox as outbox;
use natter_protocol::{
    FriendshipId, UserId,
    event::{Event, FriendshipEvent, FriendshipState, UserNotice},
    friendship::{Friendship, Status, UserCard},
    subject,
};
use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use uuid::Uuid;

use crate::friendship::Statuses;

#[derive(Clone)]
pub struct Store(PgPool);

/// The ids of all friendships.
pub const FRIENDSHIPS: &str = "SELECT id FROM friendships";

/// The columns of a [`Row`].
macro_rules! columns {
    () => {
        "id, from_user, to_user, status_from_user, status_to_user, date_created, revision"
    };
}

#[derive(Debug, sqlx::FromRow)]
struct Row {
    id: Uuid,
    from_user: Uuid,
    to_user: Uuid,
    status_from_user: String,
    status_to_user: String,
    date_created: DateTime<Utc>,
    revision: i32,
}

impl TryFrom<Row> for FriendshipState {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        let status = |text: &str| {
            let status = text.parse::<Status>();
            status.map_err(|error| sqlx::Error::Decode(format!("{error}: {text}").into()))
        };
        let statuses = Statuses {
            from: status(&row.status_from_user)?,
            to: status(&row.status_to_user)?,
        };
        Ok(Self {
            friendship: Friendship {
                id: FriendshipId(row.id),
                from_user: UserId(row.from_user),
                to_user: UserId(row.to_user),
                status_from_user: statuses.from,
                status_to_user: statuses.to,
                date_created: row.date_created.into(),
                is_open: statuses.is_open(),
                revision: row.revision,
            },
            revision: row.revision,
        })
    }
}

impl Store {
    pub fn new(pool: PgPool) -> Self {
        Self(pool)
    }

    pub fn pool(&self) -> PgPool {
        self.0.clone()
    }

    pub async fn begin(&self) -> sqlx::Result<Transaction<'static, Postgres>> {
        self.0.begin().await
    }

    /// The friendships of a user after an id, in the order of their ids.
    pub async fn of_user_after(
        &self,
        user: UserId,
        after: Option<FriendshipId>,
        limit: i64,
    ) -> sqlx::Result<Vec<Friendship>> {
        let rows: Vec<Row> = sqlx::query_as(concat!(
            "SELECT ",
            columns!(),
            " FROM friendships WHERE from_user = $1 AND id > $2",
            " UNION ALL SELECT ",
            columns!(),
            " FROM friendships WHERE to_user = $1 AND id > $2 ORDER BY id LIMIT $3"
        ))
        .bind(user.0)
        .bind(after.map_or(Uuid::nil(), |id| id.0))
        .bind(limit)
        .fetch_all(&self.0)
        .await?;
        rows.into_iter()
            .map(|row| Ok(FriendshipState::try_from(row)?.friendship))
            .collect()
    }

    /// All friendships of a user, oldest first.
    pub async fn of_user(&self, user: UserId) -> sqlx::Result<Vec<Friendship>> {
        let rows: Vec<Row> = sqlx::query_as(concat!(
            "SELECT ",
            columns!(),
            " FROM friendships WHERE from_user = $1",
            " UNION ALL SELECT ",
            columns!(),
            " FROM friendships WHERE to_user = $1 ORDER BY date_created, id"
        ))
        .bind(user.0)
        .fetch_all(&self.0)
        .await?;
        rows.into_iter()
            .map(|row| FriendshipState::try_from(row).map(|state| state.friendship))
            .collect()
    }

    pub async fn get(&self, id: FriendshipId) -> sqlx::Result<Option<FriendshipState>> {
        let statement = concat!("SELECT ", columns!(), " FROM friendships WHERE id = $1");
        let row: Option<Row> = sqlx::query_as(statement)
            .bind(id.0)
            .fetch_optional(&self.0)
            .await?;
        row.map(FriendshipState::try_from).transpose()
    }
}

/// After how many seconds a user may ask for a friendship again; `None` if that is allowed now.
/// Each limit is a number of requests and a number of seconds. All replicas count together, by the
/// rows; requests of one user at the same time wait for each other.
pub async fn seconds_until_allowed(
    tx: &mut PgConnection,
    user: UserId,
    limits: &[(u32, u32)],
) -> sqlx::Result<Option<u32>> {
    if limits.is_empty() {
        return Ok(None);
    }
    // Seed 1: the locks of `is_gone` and `note_gone` have seed 0, and two users who ask each other
    // at once would each hold their own and wait for the other's.
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1::text, 1))")
        .bind(user.0)
        .execute(&mut *tx)
        .await?;
    for (allowed, within_seconds) in limits {
        let left: Option<f64> = sqlx::query_scalar(
            "SELECT $3 - extract(epoch FROM clock_timestamp() - date_created)::float8
             FROM friendships WHERE from_user = $1
             ORDER BY date_created DESC OFFSET $2 LIMIT 1",
        )
        .bind(user.0)
        .bind(i64::from(*allowed) - 1)
        .bind(f64::from(*within_seconds))
        .fetch_optional(&mut *tx)
        .await?;
        if let Some(left) = left.filter(|left| *left > 0.0) {
            // Rounded up: by then it is allowed.
            return Ok(Some(left.ceil().min(f64::from(*within_seconds)) as u32));
        }
    }
    Ok(None)
}

/// Adds a friendship; `None` when the pair has one, whoever asked.
pub async fn insert(
    tx: &mut PgConnection,
    from: UserId,
    to: UserId,
    status: Status,
) -> sqlx::Result<Option<FriendshipState>> {
    let row: Option<Row> = sqlx::query_as(concat!(
        "INSERT INTO friendships (id, from_user, to_user, status_from_user, status_to_user)
         VALUES ($1, $2, $3, $4, 'pending')
         ON CONFLICT (least(from_user, to_user), greatest(from_user, to_user)) DO NOTHING
         RETURNING ",
        columns!()
    ))
    .bind(Uuid::now_v7())
    .bind(from.0)
    .bind(to.0)
    .bind(status.as_str())
    .fetch_optional(&mut *tx)
    .await?;
    row.map(FriendshipState::try_from).transpose()
}

/// Notes that a user is gone (the account was deleted). When this returns, every transaction that
/// was just befriending the user has ended, and none befriends the user afterwards ([`is_gone`]).
pub async fn note_gone(store: &Store, user: UserId) -> sqlx::Result<()> {
    let mut tx = store.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1::text, 0))")
        .bind(user.0)
        .execute(&mut *tx)
        .await?;
    sqlx::query("INSERT INTO gone_users (user_id) VALUES ($1) ON CONFLICT DO NOTHING")
        .bind(user.0)
        .execute(&mut *tx)
        .await?;
    tx.commit().await
}

/// Whether one of the users is gone. If not, [`note_gone`] waits until this transaction has ended.
pub async fn is_gone(tx: &mut PgConnection, mut users: [UserId; 2]) -> sqlx::Result<bool> {
    users.sort_unstable();
    for user in users {
        sqlx::query("SELECT pg_advisory_xact_lock_shared(hashtextextended($1::text, 0))")
            .bind(user.0)
            .execute(&mut *tx)
            .await?;
    }
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM gone_users WHERE user_id = ANY($1))")
        .bind(users.map(|user| user.0))
        .fetch_one(&mut *tx)
        .await
}

/// The friendship, locked until the transaction ends.
pub async fn lock(
    tx: &mut PgConnection,
    id: FriendshipId,
) -> sqlx::Result<Option<FriendshipState>> {
    let statement = concat!(
        "SELECT ",
        columns!(),
        " FROM friendships WHERE id = $1 FOR UPDATE"
    );
    let row: Option<Row> = sqlx::query_as(statement)
        .bind(id.0)
        .fetch_optional(&mut *tx)
        .await?;
    row.map(FriendshipState::try_from).transpose()
}

pub async fn set_statuses(
    tx: &mut PgConnection,
    id: FriendshipId,
    statuses: Statuses,
) -> sqlx::Result<FriendshipState> {
    let row: Row = sqlx::query_as(concat!(
        "UPDATE friendships
         SET status_from_user = $2, status_to_user = $3, revision = revision + 1
         WHERE id = $1 RETURNING ",
        columns!()
    ))
    .bind(id.0)
    .bind(statuses.from.as_str())
    .bind(statuses.to.as_str())
    .fetch_one(&mut *tx)
    .await?;
    row.try_into()
}

/// Adds the event of a change, and the notices to both users' connections.
pub async fn announce(
    tx: &mut PgConnection,
    event: FriendshipEvent,
    shown: &Friendship<UserCard>,
) -> sqlx::Result<()> {
    // The event that other services act on, then the notices to clients.
    let subject = subject::friendship_event(shown.id, event.name());
    let event = Event::new(event);
    outbox::push(tx, event.id, &subject, &event).await?;
    for user in [shown.from_user.id, shown.to_user.id] {
        let notice = Event::new(UserNotice::FriendshipUpdate {
            friendship: Box::new(shown.clone()),
        });
        outbox::push_notice(tx, notice.id, &subject::notify_user(user), &notice).await?;
    }
    Ok(())
}
