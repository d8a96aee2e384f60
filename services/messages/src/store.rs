//! All SQL of the schema `messages`.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use natter_protocol::{
    FriendshipId, MessageId, Timestamp, UserId,
    call::{Send, SendWhat, Stored},
    event::{FriendshipState, LogEvent, LogTag, VERSION},
    message::{Kind, Message},
};
use sqlx::{PgPool, Postgres, Transaction};
use uuid::Uuid;

use crate::{
    channel::Channel,
    plan::{ClientKey, Entry, Facts, Known, Target},
};

#[derive(Clone)]
pub struct Store(PgPool);

#[derive(Debug, sqlx::FromRow)]
struct ChannelRow {
    friendship_id: Uuid,
    from_user: Uuid,
    to_user: Uuid,
    is_open: bool,
    last_seq: i64,
    messages: i64,
    last_at: DateTime<Utc>,
}

impl From<ChannelRow> for Channel {
    fn from(row: ChannelRow) -> Self {
        Self {
            id: FriendshipId(row.friendship_id),
            members: [UserId(row.from_user), UserId(row.to_user)],
            is_open: row.is_open,
            last_seq: row.last_seq.unsigned_abs(),
            messages: row.messages.unsigned_abs(),
            last_at: row.last_at.into(),
        }
    }
}

const CHANNEL: &str =
    "SELECT friendship_id, from_user, to_user, is_open, last_seq, messages, last_at
     FROM channels WHERE friendship_id = $1";

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
    deleted: bool,
    edited_content: Option<String>,
    edited_at: Option<DateTime<Utc>>,
}

/// The columns of a [`LogRow`]: `entry` from the log, `message` what it is about, `edit` its
/// newest edit.
const LOG_ROW: &str = "
    SELECT entry.seq, entry.id, entry.kind, entry.at, entry.content,
           message.id AS message_id, message.seq AS message_seq, message.at AS message_at,
           message.edit_seq AS message_edit_seq, message.sender, message.client_id,
           message.reply_to, message.deleted,
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
            media: Vec::new(),
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
                edited_at: (kind == Kind::Edited).then(|| self.at.into()),
                ..self.message(channel.id)
            },
            members: channel.members,
        }
    }
}

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

/// A committed batch that the stream may not have yet.
#[derive(Debug, sqlx::FromRow)]
pub struct OutboxRow {
    pub id: i64,
    pub channels: Vec<Uuid>,
    pub first_seqs: Vec<i64>,
    pub last_seqs: Vec<i64>,
}

impl Store {
    pub fn new(pool: PgPool) -> Self {
        Self(pool)
    }

    pub async fn begin(&self) -> sqlx::Result<Transaction<'static, Postgres>> {
        self.0.begin().await
    }

    pub async fn channel(&self, id: FriendshipId) -> sqlx::Result<Option<Channel>> {
        let row: Option<ChannelRow> = sqlx::query_as(CHANNEL)
            .bind(id.0)
            .fetch_optional(&self.0)
            .await?;
        Ok(row.map(Channel::from))
    }

    /// Takes over a friendship's state, unless a newer one is known.
    pub async fn project(&self, state: &FriendshipState) -> sqlx::Result<()> {
        let friendship = &state.friendship;
        sqlx::query(
            "INSERT INTO channels (friendship_id, from_user, to_user, is_open, revision)
             VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (friendship_id) DO UPDATE
             SET is_open = excluded.is_open, revision = excluded.revision
             WHERE channels.revision < excluded.revision",
        )
        .bind(friendship.id.0)
        .bind(friendship.from_user.0)
        .bind(friendship.to_user.0)
        .bind(friendship.is_open)
        .bind(state.revision)
        .execute(&self.0)
        .await?;
        Ok(())
    }

    pub async fn heads(&self, channels: &[Uuid]) -> sqlx::Result<HashMap<FriendshipId, u64>> {
        let rows: Vec<(Uuid, i64)> = sqlx::query_as(
            "SELECT friendship_id, last_seq FROM channels WHERE friendship_id = ANY($1)",
        )
        .bind(channels)
        .fetch_all(&self.0)
        .await?;
        Ok(rows
            .into_iter()
            .map(|(id, seq)| (FriendshipId(id), seq.unsigned_abs()))
            .collect())
    }

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

    /// The seq of the message at a position. As many entries as are no messages may lie before it.
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

    /// The first seq that is not earlier than a moment; one past the end where all are.
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

    /// Which of the messages are there, and who is in their channels.
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

    pub async fn channels(&self, ids: &[Uuid]) -> sqlx::Result<HashMap<FriendshipId, Channel>> {
        let rows: Vec<ChannelRow> = sqlx::query_as(
            "SELECT friendship_id, from_user, to_user, is_open, last_seq, messages, last_at
             FROM channels WHERE friendship_id = ANY($1)",
        )
        .bind(ids)
        .fetch_all(&self.0)
        .await?;
        Ok(by_id(rows))
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

    /// Batches whose publication was not confirmed within the time that it may take.
    pub async fn unpublished(
        &self,
        limit: i64,
        older_than_seconds: f64,
    ) -> sqlx::Result<Vec<OutboxRow>> {
        sqlx::query_as(
            "SELECT id, channels, first_seqs, last_seqs FROM outbox
             WHERE published_at IS NULL AND created_at < now() - make_interval(secs => $2)
             ORDER BY id LIMIT $1",
        )
        .bind(limit)
        .bind(older_than_seconds)
        .fetch_all(&self.0)
        .await
    }

    pub async fn published(&self, ids: &[i64]) -> sqlx::Result<()> {
        sqlx::query("UPDATE outbox SET published_at = now() WHERE id = ANY($1)")
            .bind(ids)
            .execute(&self.0)
            .await?;
        Ok(())
    }

    /// Forgets batches that were published so long ago that the broker has flushed them.
    pub async fn clean_outbox(&self, keep_seconds: f64) -> sqlx::Result<()> {
        sqlx::query("DELETE FROM outbox WHERE published_at < now() - make_interval(secs => $1)")
            .bind(keep_seconds)
            .execute(&self.0)
            .await?;
        Ok(())
    }
}

/// Locks the channels that a batch touches, in the order of their ids (so that two batches cannot
/// wait for each other), and reads what the plan needs.
pub async fn lock_and_read(
    tx: &mut Transaction<'_, Postgres>,
    sends: &[(FriendshipId, &Send)],
) -> sqlx::Result<Facts> {
    let mut ids: Vec<Uuid> = sends.iter().map(|(channel, _)| channel.0).collect();
    ids.sort_unstable();
    ids.dedup();
    let rows: Vec<ChannelRow> = sqlx::query_as(
        "SELECT friendship_id, from_user, to_user, is_open, last_seq, messages, last_at
         FROM channels WHERE friendship_id = ANY($1)
         ORDER BY friendship_id FOR NO KEY UPDATE",
    )
    .bind(&ids)
    .fetch_all(&mut **tx)
    .await?;
    Ok(Facts {
        channels: by_id(rows),
        // Statements of their own, after the locks: they see what earlier holders committed.
        known: known(tx, sends).await?,
        targets: targets(tx, sends).await?,
    })
}

fn by_id(rows: Vec<ChannelRow>) -> HashMap<FriendshipId, Channel> {
    rows.into_iter()
        .map(|row| (FriendshipId(row.friendship_id), row.into()))
        .collect()
}

async fn known(
    tx: &mut Transaction<'_, Postgres>,
    sends: &[(FriendshipId, &Send)],
) -> sqlx::Result<HashMap<ClientKey, Known>> {
    let mut channels = Vec::new();
    let mut senders = Vec::new();
    let mut client_ids = Vec::new();
    for (channel, send) in sends {
        if let Some(client_id) = &send.client_id {
            channels.push(channel.0);
            senders.push(send.sender.0);
            client_ids.push(client_id.as_str());
        }
    }
    if channels.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(Uuid, Uuid, String, i64, i64, DateTime<Utc>, Uuid)> = sqlx::query_as(
        "SELECT entry.friendship_id, entry.sender, entry.client_id, entry.digest, entry.seq,
                entry.at, coalesce(target.id, entry.id)
         FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS asked (friendship_id, sender, client_id)
         JOIN log entry USING (friendship_id, sender, client_id)
         LEFT JOIN log target ON target.friendship_id = entry.friendship_id
                             AND target.seq = entry.target_seq",
    )
    .bind(&channels)
    .bind(&senders)
    .bind(&client_ids)
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(channel, sender, client_id, digest, seq, at, message)| {
            let stored = Stored {
                message: MessageId(message),
                seq: seq.unsigned_abs(),
                created_at: at.into(),
                duplicate: true,
            };
            let key = (FriendshipId(channel), UserId(sender), client_id);
            (key, Known { digest, stored })
        })
        .collect())
}

async fn targets(
    tx: &mut Transaction<'_, Postgres>,
    sends: &[(FriendshipId, &Send)],
) -> sqlx::Result<HashMap<(FriendshipId, MessageId), Target>> {
    let named: Vec<(FriendshipId, MessageId)> = sends
        .iter()
        .filter_map(|(channel, send)| match &send.what {
            SendWhat::Message { reply_to, .. } => reply_to.map(|message| (*channel, message)),
            SendWhat::Edit { message, .. } | SendWhat::Delete { message } => {
                Some((*channel, *message))
            }
        })
        .collect();
    let mut targets = HashMap::new();
    // Edits, deletions and replies are few; each is a lookup by primary key.
    for (channel, message) in named {
        let row: Option<LogRow> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
            "{LOG_ROW} WHERE entry.friendship_id = $1 AND entry.seq = $2 AND entry.id = $3
                 AND entry.kind = 0"
        )))
        .bind(channel.0)
        .bind(as_i64(message.seq()))
        .bind(message.0)
        .fetch_optional(&mut **tx)
        .await?;
        if let Some(row) = row {
            let target = Target {
                seq: row.message_seq.unsigned_abs(),
                edit_seq: row.message_edit_seq.map(i64::unsigned_abs),
                message: row.message(channel),
            };
            targets.insert((channel, message), target);
        }
    }
    Ok(targets)
}

/// Stores a batch's entries, the heads of their channels and the outbox row; the row's id.
pub async fn insert(
    tx: &mut Transaction<'_, Postgres>,
    entries: &[Entry],
    channels: &HashMap<FriendshipId, Channel>,
) -> sqlx::Result<i64> {
    let changed: BTreeMap<FriendshipId, (u64, u64)> =
        entries.iter().fold(BTreeMap::new(), |mut changed, entry| {
            let (_, last) = changed
                .entry(entry.message.friendship)
                .or_insert((entry.seq, entry.seq));
            *last = entry.seq;
            changed
        });
    let heads: Vec<&Channel> = changed.keys().filter_map(|id| channels.get(id)).collect();
    let column = |value: fn(&Entry) -> i64| -> Vec<i64> {
        entries.iter().map(|entry| value(entry)).collect()
    };
    let optional = |value: fn(&Entry) -> Option<u64>| -> Vec<Option<i64>> {
        entries
            .iter()
            .map(|entry| value(entry).map(as_i64))
            .collect()
    };
    let (outbox_id,): (i64,) = sqlx::query_as(
        "WITH entries AS (
             INSERT INTO log (friendship_id, seq, id, kind, position, at, sender, client_id,
                              digest, content, reply_to, target_seq, edit_seq)
             SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::smallint[],
                 $5::bigint[], $6::timestamptz[], $7::uuid[], $8::text[], $9::bigint[],
                 $10::text[], $11::uuid[], $12::bigint[], $13::bigint[])
         ), heads AS (
             UPDATE channels SET last_seq = head.last_seq, messages = head.messages,
                                 last_at = head.last_at
             FROM unnest($14::uuid[], $16::bigint[], $17::bigint[], $18::timestamptz[])
                 AS head (friendship_id, last_seq, messages, last_at)
             WHERE channels.friendship_id = head.friendship_id
         )
         INSERT INTO outbox (channels, first_seqs, last_seqs) VALUES ($14, $15, $16)
         RETURNING id",
    )
    .bind(
        entries
            .iter()
            .map(|entry| entry.message.friendship.0)
            .collect::<Vec<_>>(),
    )
    .bind(column(|entry| as_i64(entry.seq)))
    .bind(entries.iter().map(|entry| entry.id.0).collect::<Vec<_>>())
    .bind(
        entries
            .iter()
            .map(|entry| kind_code(entry.kind))
            .collect::<Vec<_>>(),
    )
    .bind(column(|entry| as_i64(entry.position)))
    .bind(
        entries
            .iter()
            .map(|entry| entry.at.utc())
            .collect::<Vec<_>>(),
    )
    .bind(
        entries
            .iter()
            .map(|entry| entry.message.sender.0)
            .collect::<Vec<_>>(),
    )
    .bind(
        entries
            .iter()
            .map(|entry| entry.client_id.as_deref())
            .collect::<Vec<_>>(),
    )
    .bind(column(|entry| entry.digest))
    .bind(
        entries
            .iter()
            .map(|entry| entry.content.as_str())
            .collect::<Vec<_>>(),
    )
    .bind(
        entries
            .iter()
            .map(|entry| match entry.kind {
                Kind::Message => entry.message.reply_to.map(|id| id.0),
                Kind::Edited | Kind::Deleted => None,
            })
            .collect::<Vec<_>>(),
    )
    .bind(optional(|entry| entry.target_seq))
    .bind(optional(|entry| entry.edit_seq))
    .bind(changed.keys().map(|id| id.0).collect::<Vec<_>>())
    .bind(
        changed
            .values()
            .map(|(first, _)| as_i64(*first))
            .collect::<Vec<_>>(),
    )
    .bind(
        heads
            .iter()
            .map(|head| as_i64(head.last_seq))
            .collect::<Vec<_>>(),
    )
    .bind(
        heads
            .iter()
            .map(|head| as_i64(head.messages))
            .collect::<Vec<_>>(),
    )
    .bind(
        heads
            .iter()
            .map(|head| head.last_at.utc())
            .collect::<Vec<_>>(),
    )
    .fetch_one(&mut **tx)
    .await?;
    for entry in entries {
        change_target(tx, entry).await?;
    }
    Ok(outbox_id)
}

/// Points an edited message to its edit; takes the content of a deleted one and of its edits away.
async fn change_target(tx: &mut Transaction<'_, Postgres>, entry: &Entry) -> sqlx::Result<()> {
    let (channel, target) = (entry.message.friendship.0, entry.target_seq.map(as_i64));
    let change = match entry.kind {
        Kind::Message => return Ok(()),
        Kind::Edited => {
            sqlx::query("UPDATE log SET edit_seq = $3 WHERE friendship_id = $1 AND seq = $2")
                .bind(channel)
                .bind(target)
                .bind(as_i64(entry.seq))
        }
        Kind::Deleted => sqlx::query(
            "WITH RECURSIVE versions AS (
                 SELECT seq, edit_seq FROM log WHERE friendship_id = $1 AND seq = $2
                 UNION ALL
                 SELECT log.seq, log.edit_seq FROM versions
                 JOIN log ON log.friendship_id = $1 AND log.seq = versions.edit_seq
             )
             UPDATE log SET content = '', deleted = (log.seq = $2)
             FROM versions WHERE log.friendship_id = $1 AND log.seq = versions.seq",
        )
        .bind(channel)
        .bind(target),
    };
    change.execute(&mut **tx).await?;
    Ok(())
}

fn kind_code(kind: Kind) -> i16 {
    match kind {
        Kind::Message => 0,
        Kind::Edited => 1,
        Kind::Deleted => 2,
    }
}

fn kind_of(code: i16) -> Kind {
    match code {
        0 => Kind::Message,
        1 => Kind::Edited,
        _ => Kind::Deleted,
    }
}

/// Postgres has no unsigned numbers; a seq too large for it is past any end.
fn as_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
