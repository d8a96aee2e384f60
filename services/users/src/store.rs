//! All SQL of the schema `users`.

use std::time::Duration;

use chrono::{DateTime, Utc};
use natter_outbox as outbox;
use natter_pg::violated_constraint;
use natter_protocol::{
    SessionId, Timestamp, UserId,
    event::{Event, RevokedSession, UserEvent, UserNotice, UserProfile},
    profile::{ProfileChange, ProfileFields},
    subject,
};
use sqlx::{FromRow, PgConnection, PgPool, Postgres, Row, Transaction, postgres::PgRow};
use uuid::Uuid;

use crate::{
    account::{Username, image_path},
    error::Error,
    session::{Family, Subject},
};

/// How many sessions a user may have: a login ends those that were used longest ago.
const MAX_SESSIONS: i64 = 1_000;
/// How many sessions one login ends at most: it is to be answered soon.
const MAX_ENDED_BY_LOGIN: i64 = 1_000;
/// How many sessions' events one statement writes.
const ENDED_TOGETHER: usize = 1_000;
/// Serialises the making of the first signing key.
const SIGNING_KEY_LOCK: i64 = 0x6e61_7474_6572_0001;

#[derive(Clone)]
pub struct Store(PgPool);

/// The columns of an [`Account`].
macro_rules! columns {
    () => {
        "id, username, email, first_name, last_name, image, created_at"
    };
}

#[derive(Clone, Debug)]
pub struct Account {
    pub id: Uuid,
    pub username: String,
    pub email: String,
    pub fields: ProfileFields,
    pub image: Option<String>,
    pub created_at: DateTime<Utc>,
}

impl FromRow<'_, PgRow> for Account {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.try_get("id")?,
            username: row.try_get("username")?,
            email: row.try_get("email")?,
            fields: ProfileFields {
                first_name: row.try_get("first_name")?,
                last_name: row.try_get("last_name")?,
            },
            image: row.try_get("image")?,
            created_at: row.try_get("created_at")?,
        })
    }
}

#[derive(Debug, sqlx::FromRow)]
pub struct StoredPassword {
    pub id: Uuid,
    pub password_hash: String,
}

pub struct NewAccount<'a> {
    pub username: Username,
    pub email: &'a str,
    pub password_hash: String,
    pub fields: ProfileFields,
    pub image: Option<String>,
}

/// A login that was just made, with the refresh token that counts.
#[derive(Clone, Copy, Debug)]
pub struct NewSession {
    pub subject: Subject,
    pub jti: Uuid,
    pub issued_at: DateTime<Utc>,
}

/// A live session, locked for the transaction.
#[derive(Debug, sqlx::FromRow)]
pub struct LiveSession {
    refresh_jti: Uuid,
    refresh_issued_at: DateTime<Utc>,
    /// The newest exchanged refresh token, in the column that the previous version writes.
    previous_jti: Option<Uuid>,
    rotated_at: Option<DateTime<Utc>>,
    exchanged_jtis: Vec<Uuid>,
    exchanged_at: Vec<DateTime<Utc>>,
}

impl LiveSession {
    pub fn family(&self) -> Family {
        let jtis = self.exchanged_jtis.iter().copied();
        let previous = self.previous_jti.zip(self.rotated_at);
        let previous = previous.filter(|(jti, _)| !self.exchanged_jtis.contains(jti));
        Family {
            current: self.refresh_jti,
            issued_at: self.refresh_issued_at,
            exchanged: jtis
                .zip(self.exchanged_at.iter().copied())
                .chain(previous)
                .collect(),
        }
    }
}

#[derive(Debug, sqlx::FromRow)]
pub struct SessionRow {
    pub sid: Uuid,
    pub created_at: DateTime<Utc>,
    pub last_used_at: DateTime<Utc>,
    pub user_agent: String,
}

/// A session, ended or not.
#[derive(Debug, sqlx::FromRow)]
pub struct PastSession {
    pub sid: Uuid,
    pub created_at: DateTime<Utc>,
    pub last_used_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
    pub user_agent: String,
}

#[derive(Debug, sqlx::FromRow)]
pub struct SigningKey {
    pub kid: String,
    pub pkcs8: Vec<u8>,
}

/// Adds a key that signs after this time, beside those that there are. Where there are none yet,
/// adds nothing and returns false.
pub async fn add_signing_key(
    db: &mut PgConnection,
    key: SigningKey,
    after: Duration,
) -> sqlx::Result<bool> {
    let added = sqlx::query(
        "INSERT INTO signing_keys (kid, pkcs8, signs_from)
         SELECT $1, $2, now() + make_interval(secs => $3)
         WHERE EXISTS (SELECT FROM signing_keys)",
    )
    .bind(key.kid)
    .bind(key.pkcs8)
    .bind(after.as_secs_f64())
    .execute(db)
    .await?;
    Ok(added.rows_affected() > 0)
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

    /// Stores `first` if there are no keys yet.
    pub async fn keep_first_key(&self, first: SigningKey) -> sqlx::Result<()> {
        let mut tx = self.0.begin().await?;
        sqlx::query("SELECT pg_advisory_xact_lock($1)")
            .bind(SIGNING_KEY_LOCK)
            .execute(&mut *tx)
            .await?;
        sqlx::query(
            "INSERT INTO signing_keys (kid, pkcs8)
             SELECT $1, $2 WHERE NOT EXISTS (SELECT FROM signing_keys)",
        )
        .bind(first.kid)
        .bind(first.pkcs8)
        .execute(&mut *tx)
        .await?;
        tx.commit().await
    }

    /// Every key that verifies tokens; the first is the one that signs.
    pub async fn signing_keys(&self) -> sqlx::Result<Vec<SigningKey>> {
        sqlx::query_as(
            "SELECT kid, pkcs8 FROM signing_keys
             ORDER BY signs_from <= now() DESC, signs_from DESC, created_at DESC, kid",
        )
        .fetch_all(&self.0)
        .await
    }

    /// Deletes the keys that others replaced longer ago than `life`.
    pub async fn forget_keys(&self, life: Duration) -> sqlx::Result<()> {
        sqlx::query(
            "DELETE FROM signing_keys AS old WHERE EXISTS (
                 SELECT FROM signing_keys AS newer
                 WHERE newer.signs_from > old.signs_from
                   AND newer.signs_from < now() - make_interval(secs => $1)
             )",
        )
        .bind(life.as_secs_f64())
        .execute(&self.0)
        .await?;
        Ok(())
    }

    /// Makes the account and its first session.
    pub async fn sign_up(
        &self,
        new: NewAccount<'_>,
        user_agent: &str,
    ) -> Result<NewSession, Error> {
        let mut tx = self.0.begin().await?;
        let account: Account = sqlx::query_as(concat!(
            "INSERT INTO accounts
                 (id, username, username_key, email, password_hash, first_name, last_name, image)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             RETURNING ",
            columns!()
        ))
        .bind(Uuid::now_v7())
        .bind(new.username.as_str())
        .bind(new.username.key())
        .bind(new.email)
        .bind(new.password_hash)
        .bind(new.fields.first_name)
        .bind(new.fields.last_name)
        .bind(new.image)
        .fetch_one(&mut *tx)
        .await
        .map_err(|error| match violated_constraint(&error) {
            Some("accounts_username_key") => Error::UsernameTaken,
            _ => error.into(),
        })?;
        name_image(&mut tx, account.image.as_deref()).await?;
        let user = profile(&account);
        push(&mut tx, user.id, UserEvent::Registered { user }).await?;
        let session = log_in(&mut tx, UserId(account.id), user_agent).await?;
        tx.commit().await?;
        Ok(session)
    }

    pub async fn credentials(&self, username_key: &str) -> sqlx::Result<Option<StoredPassword>> {
        sqlx::query_as("SELECT id, password_hash FROM accounts WHERE username_key = $1")
            .bind(username_key)
            .fetch_optional(&self.0)
            .await
    }

    /// Starts a session, if the account is still there and its password still the one that was
    /// checked. Ends those whose refresh token is from before `expired`, and those of which there
    /// are too many.
    pub async fn log_in(
        &self,
        checked: &StoredPassword,
        user_agent: &str,
        expired: DateTime<Utc>,
    ) -> sqlx::Result<Option<NewSession>> {
        let mut tx = self.0.begin().await?;
        let same: Option<i32> = sqlx::query_scalar(
            "SELECT 1 FROM accounts WHERE id = $1 AND password_hash = $2 FOR SHARE",
        )
        .bind(checked.id)
        .bind(&checked.password_hash)
        .fetch_optional(&mut *tx)
        .await?;
        if same.is_none() {
            return Ok(None);
        }
        let user = UserId(checked.id);
        make_room(&mut tx, user, expired).await?;
        let session = log_in(&mut tx, user, user_agent).await?;
        tx.commit().await?;
        Ok(Some(session))
    }

    /// Ends a session; returns whether it was this user's and had not ended.
    pub async fn end_session(&self, subject: Subject) -> sqlx::Result<bool> {
        let mut tx = self.0.begin().await?;
        if lock_session(&mut tx, subject).await?.is_none() {
            return Ok(false);
        }
        end_session(&mut tx, subject).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Sets a new password and ends every session but the `kept` one, if the old password is still
    /// the one that was checked; returns whether it was.
    pub async fn change_password(
        &self,
        checked: &StoredPassword,
        hash: &str,
        kept: SessionId,
    ) -> sqlx::Result<bool> {
        let mut tx = self.0.begin().await?;
        let set = sqlx::query(
            "UPDATE accounts SET password_hash = $3 WHERE id = $1 AND password_hash = $2",
        )
        .bind(checked.id)
        .bind(&checked.password_hash)
        .bind(hash)
        .execute(&mut *tx)
        .await?;
        if set.rows_affected() == 0 {
            return Ok(false);
        }
        end_sessions(&mut tx, UserId(checked.id), Some(kept)).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Notes an image that is about to be put into the media store.
    pub async fn expect_image(&self, name: &str) -> sqlx::Result<()> {
        sqlx::query("INSERT INTO images (name) VALUES ($1)")
            .bind(name)
            .execute(&self.0)
            .await?;
        Ok(())
    }

    /// Images that no account names.
    pub async fn expired_images(&self, limit: i64) -> sqlx::Result<Vec<String>> {
        sqlx::query_scalar(
            "SELECT name FROM images WHERE expires_at < now() ORDER BY expires_at LIMIT $1",
        )
        .bind(limit)
        .fetch_all(&self.0)
        .await
    }

    pub async fn forget_image(&self, name: &str) -> sqlx::Result<()> {
        sqlx::query("DELETE FROM images WHERE name = $1 AND expires_at < now()")
            .bind(name)
            .execute(&self.0)
            .await?;
        Ok(())
    }

    pub async fn account(&self, user: UserId) -> sqlx::Result<Option<Account>> {
        sqlx::query_as(concat!(
            "SELECT ",
            columns!(),
            " FROM accounts WHERE id = $1"
        ))
        .bind(user.0)
        .fetch_optional(&self.0)
        .await
    }

    pub async fn accounts(&self, users: &[Uuid]) -> sqlx::Result<Vec<Account>> {
        let statement = concat!("SELECT ", columns!(), " FROM accounts WHERE id = ANY($1)");
        sqlx::query_as(statement)
            .bind(users)
            .fetch_all(&self.0)
            .await
    }

    /// Changes a profile, and its picture where `image` says so.
    pub async fn change_profile(
        &self,
        user: UserId,
        change: ProfileChange,
        image: Option<Option<String>>,
    ) -> Result<Account, Error> {
        let mut tx = self.0.begin().await?;
        let previous: Option<Account> = sqlx::query_as(concat!(
            "SELECT ",
            columns!(),
            " FROM accounts WHERE id = $1 FOR UPDATE"
        ))
        .bind(user.0)
        .fetch_optional(&mut *tx)
        .await?;
        let previous = previous.ok_or(Error::AccountGone)?;
        let changes_image = image.is_some();
        let account: Account = sqlx::query_as(concat!(
            "UPDATE accounts SET
                 first_name = coalesce($2, first_name),
                 last_name = coalesce($3, last_name),
                 image = CASE WHEN $4 THEN $5 ELSE image END
             WHERE id = $1
             RETURNING ",
            columns!()
        ))
        .bind(user.0)
        .bind(change.first_name)
        .bind(change.last_name)
        .bind(changes_image)
        .bind(image.flatten())
        .fetch_one(&mut *tx)
        .await?;
        if changes_image {
            name_image(&mut tx, account.image.as_deref()).await?;
            unname_image(&mut tx, previous.image.as_deref()).await?;
        }
        let changed = profile(&account);
        if changed != profile(&previous) {
            push(&mut tx, user, UserEvent::ProfileChanged { user: changed }).await?;
        }
        tx.commit().await?;
        Ok(account)
    }

    /// The live sessions of a user, the last used first.
    pub async fn sessions(&self, user: UserId) -> sqlx::Result<Vec<SessionRow>> {
        sqlx::query_as(
            "SELECT sid, created_at, last_used_at, user_agent FROM sessions
             WHERE user_id = $1 AND ended_at IS NULL ORDER BY last_used_at DESC, sid",
        )
        .bind(user.0)
        .fetch_all(&self.0)
        .await
    }

    /// All sessions of a user, also those that have ended.
    pub async fn past_sessions(&self, user: UserId) -> sqlx::Result<Vec<PastSession>> {
        sqlx::query_as(
            "SELECT sid, created_at, last_used_at, ended_at, user_agent FROM sessions
             WHERE user_id = $1 ORDER BY created_at, sid",
        )
        .bind(user.0)
        .fetch_all(&self.0)
        .await
    }

    /// Deletes an account with its sessions. The other services learn it from the event that
    /// commits with it.
    pub async fn delete_account(&self, user: UserId) -> Result<(), Error> {
        let mut tx = self.0.begin().await?;
        // From here on nobody logs in.
        let image: Option<Option<String>> =
            sqlx::query_scalar("SELECT image FROM accounts WHERE id = $1 FOR UPDATE")
                .bind(user.0)
                .fetch_optional(&mut *tx)
                .await?;
        let image = image.ok_or(Error::AccountGone)?;
        end_sessions(&mut tx, user, None).await?;
        sqlx::query("DELETE FROM accounts WHERE id = $1")
            .bind(user.0)
            .execute(&mut *tx)
            .await?;
        unname_image(&mut tx, image.as_deref()).await?;
        push(&mut tx, user, UserEvent::Deleted { user }).await?;
        tx.commit().await?;
        Ok(())
    }

    /// How many usernames contain the key.
    pub async fn count(&self, username_key: &str) -> sqlx::Result<u64> {
        let count: i64 =
            sqlx::query_scalar("SELECT count(*) FROM accounts WHERE username_key LIKE $1")
                .bind(containing(username_key))
                .fetch_one(&self.0)
                .await?;
        Ok(count.unsigned_abs())
    }

    /// Those whose username contains the key, by username.
    pub async fn search(
        &self,
        username_key: &str,
        limit: u64,
        offset: u64,
    ) -> sqlx::Result<Vec<Account>> {
        sqlx::query_as(concat!(
            "SELECT ",
            columns!(),
            " FROM accounts WHERE username_key LIKE $1
             ORDER BY username_key LIMIT $2 OFFSET $3"
        ))
        .bind(containing(username_key))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .bind(i64::try_from(offset).unwrap_or(i64::MAX))
        .fetch_all(&self.0)
        .await
    }
}

/// The pattern of texts that contain `part`.
fn containing(part: &str) -> String {
    let mut pattern = String::from("%");
    for c in part.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern + "%"
}

async fn log_in(tx: &mut PgConnection, user: UserId, user_agent: &str) -> sqlx::Result<NewSession> {
    let session = NewSession {
        subject: Subject {
            user,
            sid: SessionId(Uuid::new_v4()),
        },
        jti: Uuid::new_v4(),
        issued_at: Timestamp::now().utc(),
    };
    sqlx::query(
        "INSERT INTO sessions (sid, user_id, user_agent, refresh_jti, refresh_issued_at)
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(session.subject.sid.0)
    .bind(user.0)
    .bind(user_agent)
    .bind(session.jti)
    .bind(session.issued_at)
    .execute(tx)
    .await?;
    Ok(session)
}

/// The session, if it is this user's and has not ended. Locked until the transaction ends.
pub async fn lock_session(
    tx: &mut PgConnection,
    subject: Subject,
) -> sqlx::Result<Option<LiveSession>> {
    sqlx::query_as(
        "SELECT refresh_jti, refresh_issued_at, previous_jti, rotated_at, exchanged_jtis, exchanged_at
         FROM sessions
         WHERE sid = $1 AND user_id = $2 AND ended_at IS NULL FOR UPDATE",
    )
    .bind(subject.sid.0)
    .bind(subject.user.0)
    .fetch_optional(tx)
    .await
}

/// Gives the session a new refresh token in place of the first of the `exchanged`.
pub async fn rotate(
    tx: &mut PgConnection,
    sid: SessionId,
    exchanged: Vec<(Uuid, DateTime<Utc>)>,
    jti: Uuid,
    issued_at: DateTime<Utc>,
) -> sqlx::Result<()> {
    let (jtis, times): (Vec<Uuid>, Vec<DateTime<Utc>>) = exchanged.into_iter().unzip();
    sqlx::query(
        "UPDATE sessions SET refresh_jti = $2, refresh_issued_at = $3, last_used_at = $3,
             exchanged_jtis = $4, exchanged_at = $5, previous_jti = $4[1], rotated_at = $5[1]
         WHERE sid = $1",
    )
    .bind(sid.0)
    .bind(jti)
    .bind(issued_at)
    .bind(jtis)
    .bind(times)
    .execute(tx)
    .await?;
    Ok(())
}

/// An account names this image from now on.
async fn name_image(tx: &mut PgConnection, name: Option<&str>) -> sqlx::Result<()> {
    sqlx::query("UPDATE images SET expires_at = NULL WHERE name = $1")
        .bind(name)
        .execute(tx)
        .await?;
    Ok(())
}

/// No account names this image any more.
async fn unname_image(tx: &mut PgConnection, name: Option<&str>) -> sqlx::Result<()> {
    sqlx::query("UPDATE images SET expires_at = now() WHERE name = $1")
        .bind(name)
        .execute(tx)
        .await?;
    Ok(())
}

/// The session was used.
pub async fn touch(tx: &mut PgConnection, sid: SessionId, now: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query("UPDATE sessions SET last_used_at = $2 WHERE sid = $1")
        .bind(sid.0)
        .bind(now)
        .execute(tx)
        .await?;
    Ok(())
}

/// Ends a live session.
pub async fn end_session(tx: &mut PgConnection, subject: Subject) -> sqlx::Result<()> {
    let Subject { user, sid } = subject;
    let ended = sqlx::query_scalar(
        "UPDATE sessions SET ended_at = now() WHERE sid = $1 AND ended_at IS NULL RETURNING sid",
    )
    .bind(sid.0)
    .fetch_all(&mut *tx)
    .await?;
    tell_ended(tx, user, &ended).await
}

/// Ends every live session of a user but the `kept` one. The caller holds the lock of the account:
/// two who lock its sessions at the same time could wait for each other.
async fn end_sessions(
    tx: &mut PgConnection,
    user: UserId,
    kept: Option<SessionId>,
) -> sqlx::Result<()> {
    let ended: Vec<Uuid> = sqlx::query_scalar(
        "UPDATE sessions SET ended_at = now()
         WHERE user_id = $1 AND ended_at IS NULL AND sid IS DISTINCT FROM $2
         RETURNING sid",
    )
    .bind(user.0)
    .bind(kept.map(|kept| kept.0))
    .fetch_all(&mut *tx)
    .await?;
    tell_ended(tx, user, &ended).await
}

/// Makes room for one more session of a user: ends those whose refresh token is from before
/// `expired`, and of the others those that were used longest ago. One that is locked stays: it is
/// being used, or ended by another login.
async fn make_room(
    tx: &mut PgConnection,
    user: UserId,
    expired: DateTime<Utc>,
) -> sqlx::Result<()> {
    let ended: Vec<Uuid> = sqlx::query_scalar(
        "UPDATE sessions SET ended_at = now() WHERE sid IN (
             SELECT sid FROM sessions
             WHERE user_id = $1 AND ended_at IS NULL AND (refresh_issued_at < $2 OR sid IN (
                 SELECT sid FROM sessions
                 WHERE user_id = $1 AND ended_at IS NULL AND refresh_issued_at >= $2
                 ORDER BY last_used_at DESC, sid OFFSET $3))
             LIMIT $4 FOR UPDATE SKIP LOCKED)
         RETURNING sid",
    )
    .bind(user.0)
    .bind(expired)
    .bind(MAX_SESSIONS - 1)
    .bind(MAX_ENDED_BY_LOGIN)
    .fetch_all(&mut *tx)
    .await?;
    tell_ended(tx, user, &ended).await
}

/// The events of sessions that have ended, their entries in the bucket and their notices go out
/// with the commit.
async fn tell_ended(tx: &mut PgConnection, user: UserId, ended: &[Uuid]) -> sqlx::Result<()> {
    let entry = RevokedSession {
        user,
        revoked_at: Timestamp::now(),
    };
    for some in ended.chunks(ENDED_TOGETHER) {
        let mut batch = outbox::Batch::default();
        for sid in some.iter().copied().map(SessionId) {
            // The bucket's entry, on which services act; the notice to gateways; the event for
            // others.
            batch.push(Uuid::now_v7(), natter_bus::put_subject(sid), &entry)?;
            let notice = Event::new(UserNotice::SessionEnded { sid });
            batch.push_notice(notice.id, subject::notify_user(user), &notice)?;
            let event = UserEvent::SessionRevoked { user, sid };
            let subject = subject::user_event(user, event.name());
            let event = Event::new(event);
            batch.push(event.id, subject, &event)?;
        }
        batch.insert(tx).await?;
    }
    Ok(())
}

async fn push(tx: &mut PgConnection, user: UserId, event: UserEvent) -> sqlx::Result<()> {
    let subject = subject::user_event(user, event.name());
    let event = Event::new(event);
    outbox::push(tx, event.id, &subject, &event).await
}

fn profile(account: &Account) -> UserProfile {
    UserProfile {
        id: UserId(account.id),
        username: account.username.clone(),
        fields: account.fields.clone(),
        personal_image: account.image.as_deref().map(image_path),
    }
}
