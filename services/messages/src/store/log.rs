//! Reading the log.

use chrono::{DateTime, Utc};
use natter_protocol::{
    FriendshipId, MessageId, Timestamp, UserId,
    event::{LogEvent, LogTag, VERSION},
    message::{Kind, Media, Message},
};
use sqlx::types::Json;
use uuid::Uuid;

use super::{Store, as_i64};
use crate::{channel::Channel, plan::Target};

/// An entry joined with the message that it is about (itself, for a message) and with that
/// message's newest edit.
#[derive(Debug, sqlx::FromRow)]
pub struct LogRow {
    seq: i64,
    id: Uuid,
    kind: i16,
    at: DateTime<Utc>,
    content: String,
    message_id: Uuid,
    message_seq: i64,
    message_at: DateTime<Utc>,
    message_edit_seq: Option<i64>,
    sender: Uuid,
    client_id: Option<String>,
    reply_to: Option<Uuid>,
    media: Option<Json<Vec<Media>>>,
    deleted: bool,
    edited_content: Option<String>,
    edited_at: Option<DateTime<Utc>>,
}

/// The columns of a [`LogRow`]: `entry` from the log, `message` what it is about, `edit` its
/// newest edit.
pub(super) const LOG_ROW: &str = "
    SELECT entry.seq, entry.id, entry.kind, entry.at, entry.content,
           message.id AS message_id, message.seq AS message_seq, message.at AS message_at,
           message.edit_seq AS message_edit_seq, message.sender, message.client_id,
           message.reply_to, message.media, message.deleted,
           edit.content AS edited_content, edit.at AS edited_at
    FROM log entry
    JOIN log message ON message.friendship_id = entry.friendship_id
                    AND message.seq = coalesce(entry.target_seq, entry.seq)
    LEFT JOIN log edit ON edit.friendship_id = message.friendship_id
                      AND edit.seq = message.edit_seq";

impl LogRow {
    pub fn seq(&self) -> u64 {
        self.seq.unsigned_abs()
    }

    /// The message as a target: what a batch edits, deletes or replies to.
    pub fn target(&self, friendship: FriendshipId) -> Target {
        Target {
            seq: self.message_seq.unsigned_abs(),
            edit_seq: self.message_edit_seq.map(i64::unsigned_abs),
            message: self.message(friendship),
        }
    }

    /// The message in its present state.
    pub fn message(&self, friendship: FriendshipId) -> Message {
        Message {
            id: MessageId(self.message_id),
            friendship,
            sender: UserId(self.sender),
            content: match &self.edited_content {
                Some(edited) => edited.clone(),
                None => self.content.clone(),
            },
            media: self
                .media
                .as_ref()
                .map(|media| media.0.clone())
                .unwrap_or_default(),
            created_at: self.message_at.into(),
            client_id: self.client_id.clone(),
            reply_to: self.reply_to.map(MessageId),
            edited_at: self.edited_at.map(Timestamp::from),
            deleted: self.deleted,
        }
    }

    /// The entry as it was published, but for content that was deleted since.
    fn event(&self, channel: &Channel) -> LogEvent {
        let kind = kind_of(self.kind);
        LogEvent {
            id: MessageId(self.id),
            tag: LogTag::Log,
            time: self.at.into(),
            version: VERSION,
            channel: channel.id,
            seq: self.seq(),
            kind,
            message: Message {
                content: self.content.clone(),
                edited_at: match kind {
                    Kind::Edited => Some(self.at.into()),
                    Kind::Deleted => self.edited_at.map(Timestamp::from),
                    Kind::Message | Kind::Unknown => None,
                },
                ..self.message(channel.id)
            },
            members: channel.members,
        }
    }
}

impl Store {
    /// The log after a seq, oldest first.
    pub async fn after(
        &self,
        channel: &Channel,
        after_seq: u64,
        limit: i64,
    ) -> sqlx::Result<Vec<LogEvent>> {
        let rows: Vec<LogRow> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
            "{LOG_ROW} WHERE entry.friendship_id = $1 AND entry.seq > $2
             ORDER BY entry.seq LIMIT $3"
        )))
        .bind(channel.id.0)
        .bind(as_i64(after_seq))
        .bind(limit)
        .fetch_all(&self.0)
        .await?;
        Ok(rows.iter().map(|row| row.event(channel)).collect())
    }

    /// The messages from one seq to another, in their present state, oldest first.
    pub async fn messages(
        &self,
        channel: FriendshipId,
        first_seq: u64,
        last_seq: u64,
    ) -> sqlx::Result<Vec<LogRow>> {
        sqlx::query_as(sqlx::AssertSqlSafe(format!(
            "{LOG_ROW} WHERE entry.friendship_id = $1 AND entry.seq BETWEEN $2 AND $3
                 AND entry.kind = 0
             ORDER BY entry.seq"
        )))
        .bind(channel.0)
        .bind(as_i64(first_seq))
        .bind(as_i64(last_seq))
        .fetch_all(&self.0)
        .await
    }

    /// How many of the entries up to a seq are messages.
    pub async fn messages_up_to(&self, channel: &Channel, seq: u64) -> sqlx::Result<u64> {
        if seq >= channel.last_seq {
            return Ok(channel.messages);
        }
        let position: Option<i64> =
            sqlx::query_scalar("SELECT position FROM log WHERE friendship_id = $1 AND seq = $2")
                .bind(channel.id.0)
                .bind(as_i64(seq))
                .fetch_optional(&self.0)
                .await?;
        Ok(position.unwrap_or_default().unsigned_abs())
    }

    /// The seq of the message at a position. Edits and deletions may lie before it, so it is at
    /// least the position, and at most the position plus their number.
    pub async fn seq_of_position(&self, channel: &Channel, position: u64) -> sqlx::Result<u64> {
        let high = position + (channel.last_seq - channel.messages);
        if high == position {
            return Ok(position);
        }
        let seq: i64 = sqlx::query_scalar("SELECT seq_of_position($1, $2, $2, $3)")
            .bind(channel.id.0)
            .bind(as_i64(position))
            .bind(as_i64(high))
            .fetch_one(&self.0)
            .await?;
        Ok(seq.unsigned_abs())
    }

    /// The seq of the first entry that is not earlier than a moment; one past the end where all are
    /// earlier.
    pub async fn seq_of_time(&self, channel: &Channel, at: DateTime<Utc>) -> sqlx::Result<u64> {
        let seq: i64 = sqlx::query_scalar("SELECT seq_of_time($1, $2, 1, $3)")
            .bind(channel.id.0)
            .bind(at)
            .bind(as_i64(channel.last_seq + 1))
            .fetch_one(&self.0)
            .await?;
        Ok(seq.unsigned_abs())
    }

    /// Whether the channel has this message.
    pub async fn has_message(&self, channel: FriendshipId, id: MessageId) -> sqlx::Result<bool> {
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM log
                 WHERE friendship_id = $1 AND seq = $2 AND id = $3 AND kind = 0)",
        )
        .bind(channel.0)
        .bind(as_i64(id.seq()))
        .bind(id.0)
        .fetch_one(&self.0)
        .await
    }
}

pub(super) fn kind_code(kind: Kind) -> i16 {
    match kind {
        Kind::Message => 0,
        Kind::Edited => 1,
        Kind::Deleted => 2,
        Kind::Unknown => -1,
    }
}

pub(super) fn kind_of(code: i16) -> Kind {
    match code {
        0 => Kind::Message,
        1 => Kind::Edited,
        2 => Kind::Deleted,
        _ => Kind::Unknown,
    }
}
