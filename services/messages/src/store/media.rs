//! Which files there are, and whose.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use natter_protocol::{FriendshipId, MediaId, UserId, call::OwnFile, message::Media};
use uuid::Uuid;

use super::{Store, as_i64};
use crate::plan::KnownMedia;

/// The columns of a [`MediaRow`].
macro_rules! media_columns {
    () => {
        "id, owner, filename, content_type, size, sha256, friendship_id"
    };
}
pub(super) use media_columns;

#[derive(Debug, sqlx::FromRow)]
pub struct MediaRow {
    pub id: Uuid,
    owner: Uuid,
    filename: String,
    content_type: String,
    size: i64,
    sha256: String,
    friendship_id: Option<Uuid>,
}

#[derive(Debug, sqlx::FromRow)]
struct OwnFileRow {
    id: Uuid,
    filename: String,
    content_type: String,
    size: i64,
    created_at: DateTime<Utc>,
    friendship_id: Option<Uuid>,
}

impl From<OwnFileRow> for OwnFile {
    fn from(row: OwnFileRow) -> Self {
        Self {
            media: Media {
                id: MediaId(row.id),
                filename: row.filename,
                content_type: row.content_type,
                size: row.size.unsigned_abs(),
                file: None,
            },
            created_at: row.created_at.into(),
            channel: row.friendship_id.map(FriendshipId),
        }
    }
}

impl MediaRow {
    pub fn channel(&self) -> Option<FriendshipId> {
        self.friendship_id.map(FriendshipId)
    }

    pub fn known(self) -> KnownMedia {
        KnownMedia {
            owner: UserId(self.owner),
            is_sent: self.friendship_id.is_some(),
            sha256: self.sha256,
            media: Media {
                id: MediaId(self.id),
                filename: self.filename,
                content_type: self.content_type,
                size: self.size.unsigned_abs(),
                file: None,
            },
        }
    }
}

impl Store {
    /// An upload that is in the media store. It is swept after a day, unless it is sent.
    pub async fn add_upload(&self, upload: &KnownMedia) -> sqlx::Result<()> {
        sqlx::query(
            "INSERT INTO media (id, owner, filename, content_type, size, sha256)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(upload.media.id.0)
        .bind(upload.owner.0)
        .bind(&upload.media.filename)
        .bind(&upload.media.content_type)
        .bind(as_i64(upload.media.size))
        .bind(&upload.sha256)
        .execute(&self.0)
        .await?;
        Ok(())
    }

    /// A file that was not taken away.
    pub async fn media(&self, id: MediaId) -> sqlx::Result<Option<MediaRow>> {
        sqlx::query_as(concat!(
            "SELECT ",
            media_columns!(),
            " FROM media
             WHERE id = $1 AND NOT removed AND (expires_at IS NULL OR expires_at > now())"
        ))
        .bind(id.0)
        .fetch_optional(&self.0)
        .await
    }

    /// A user's files after an id, in the order of their ids.
    pub async fn files_of(
        &self,
        owner: UserId,
        after: Option<MediaId>,
        limit: i64,
    ) -> sqlx::Result<Vec<OwnFile>> {
        let rows: Vec<OwnFileRow> = sqlx::query_as(
            "SELECT id, filename, content_type, size, created_at, friendship_id FROM media
             WHERE owner = $1 AND id > $2 AND NOT removed
               AND (expires_at IS NULL OR expires_at > now())
             ORDER BY id LIMIT $3",
        )
        .bind(owner.0)
        .bind(after.map_or(Uuid::nil(), |id| id.0))
        .bind(limit)
        .fetch_all(&self.0)
        .await?;
        Ok(rows.into_iter().map(OwnFile::from).collect())
    }

    /// Which of these are known, without those whose files were removed: one that is there all the
    /// same came back, as with a power cut just after, or with a copy of the store.
    pub async fn known_media(&self, ids: &[Uuid]) -> sqlx::Result<HashSet<Uuid>> {
        let known = "SELECT id FROM media WHERE id = ANY($1) AND NOT removed";
        let known: Vec<Uuid> = sqlx::query_scalar(known)
            .bind(ids)
            .fetch_all(&self.0)
            .await?;
        Ok(known.into_iter().collect())
    }

    /// Whether there is any file.
    pub async fn has_media(&self) -> sqlx::Result<bool> {
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM media)")
            .fetch_one(&self.0)
            .await
    }

    /// Files that nothing needs any more: for long enough that no send is just taking them.
    pub async fn expired_media(&self, limit: i64) -> sqlx::Result<Vec<Uuid>> {
        sqlx::query_scalar(
            "SELECT id FROM media WHERE expires_at < now() - interval '1 minute'
             ORDER BY expires_at LIMIT $1",
        )
        .bind(limit)
        .fetch_all(&self.0)
        .await
    }

    /// Notes that a file was removed from the media store: the row of a file that was never sent is
    /// deleted, the row of a sent file is kept and marked as removed.
    pub async fn forget_media(&self, id: Uuid) -> sqlx::Result<()> {
        for statement in [
            "UPDATE media SET removed = true, expires_at = NULL
             WHERE id = $1 AND friendship_id IS NOT NULL",
            "DELETE FROM media WHERE id = $1 AND friendship_id IS NULL",
        ] {
            sqlx::query(statement).bind(id).execute(&self.0).await?;
        }
        Ok(())
    }
}
