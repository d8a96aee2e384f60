//! Appending a batch to the logs: plain messages with one statement, everything else in a
//! transaction that locks, reads, and inserts what the plan makes of it.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use natter_protocol::{
    FriendshipId, MediaId, MessageId, Timestamp, UserId,
    call::{SendRequest, SendWhat, Stored},
    message::Kind,
};
use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use super::{
    ChannelRow, as_i64, by_id, channel_columns,
    log::{LOG_ROW, LogRow, kind_code},
    media::{MediaRow, media_columns},
};
use crate::{
    channel::Channel,
    plan::{ClientKey, Entry, Facts, Known, KnownMedia, Target},
};

/// A message without files and without `reply_to`: no other entry is looked at for it.
pub struct PlainSend<'a> {
    pub channel: FriendshipId,
    pub sender: UserId,
    pub client_id: Option<&'a str>,
    pub digest: i64,
    pub content: &'a str,
}

/// Where a plain message was stored.
#[derive(Debug, sqlx::FromRow)]
pub struct Appended {
    /// Its place in the batch, from 1.
    pub number: i64,
    pub seq: i64,
    pub id: Uuid,
    pub at: DateTime<Utc>,
    pub from_user: Uuid,
    pub to_user: Uuid,
    pub outbox_id: i64,
}

/// One statement, and so one transaction that no client can leave open: the new heads of the
/// channels (whose rows stay locked until it commits), the entries, the outbox row. It locks the
/// channels in the order of their ids, so that two batches cannot wait for each other. A send that
/// is stored already, is no member's, or whose channel is closed or unknown is passed over; two
/// batches that store the same one break the unique key of the client ids, and the later one is
/// undone.
const APPEND: &str = "
    WITH fresh AS (
        SELECT send.*, channel.from_user,
               row_number() OVER sends AS k,
               count(*) FILTER (WHERE send.sender = channel.from_user) OVER sends AS from_k
        FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::text[]) WITH ORDINALITY
                 AS send (friendship_id, sender, client_id, digest, content, number)
        JOIN channels channel ON channel.friendship_id = send.friendship_id
        WHERE send.sender IN (channel.from_user, channel.to_user)
          AND NOT EXISTS (SELECT FROM log
                          WHERE log.friendship_id = send.friendship_id
                            AND log.sender = send.sender AND log.client_id = send.client_id)
        WINDOW sends AS (PARTITION BY send.friendship_id ORDER BY send.number
                         ROWS UNBOUNDED PRECEDING)
    ), counted AS (
        SELECT friendship_id, count(*) AS messages, max(from_k) AS from_messages,
               array_agg(number) AS numbers, array_agg(k) AS ks, array_agg(from_k) AS from_ks,
               array_agg(sender) AS senders, array_agg(client_id) AS client_ids,
               array_agg(digest) AS digests, array_agg(content) AS contents
        FROM fresh GROUP BY friendship_id ORDER BY friendship_id
    ), heads AS (
        UPDATE channels SET last_seq = channels.last_seq + counted.messages,
                            messages = channels.messages + counted.messages,
                            from_messages = channels.from_messages + counted.from_messages,
                            last_at = greatest(channels.last_at, $6)
        FROM counted
        WHERE channels.friendship_id = counted.friendship_id AND channels.is_open
        RETURNING counted.*, channels.from_user, channels.to_user, channels.last_at AS at,
                  channels.last_seq - counted.messages AS seq_before,
                  channels.messages - counted.messages AS position_before,
                  channels.from_messages - counted.from_messages AS from_position_before
    ), entries AS (
        SELECT send.*, head.friendship_id, head.from_user, head.to_user, head.at,
               head.seq_before + send.k AS seq,
               head.position_before + send.k AS position,
               head.from_position_before + send.from_k AS from_position,
               -- As MessageId::assign makes it: milliseconds, 8, random bits, seq.
               (lpad(to_hex(floor(extract(epoch FROM head.at) * 1000)::bigint), 12, '0')
                || '8' || substr(random.id, 16, 3) || substr(random.id, 20, 4)
                || substr(random.id, 25, 2)
                || lpad(to_hex(head.seq_before + send.k), 10, '0'))::uuid AS id
        FROM heads head,
             unnest(head.numbers, head.ks, head.from_ks, head.senders, head.client_ids,
                    head.digests, head.contents)
                 AS send (number, k, from_k, sender, client_id, digest, content),
             LATERAL (SELECT gen_random_uuid()::text AS id WHERE send.k > 0) AS random
    ), stored AS (
        INSERT INTO log (friendship_id, seq, id, kind, position, from_position, at, sender,
                         client_id, digest, content)
        SELECT friendship_id, seq, id, 0, position, from_position, at, sender, client_id, digest,
               content
        FROM entries
    ), noted AS (
        INSERT INTO outbox (channels, first_seqs, last_seqs)
        SELECT array_agg(friendship_id), array_agg(seq_before + 1),
               array_agg(seq_before + messages)
        FROM heads HAVING count(*) > 0
        RETURNING id
    )
    SELECT entries.number, entries.seq, entries.id, entries.at, entries.from_user,
           entries.to_user, noted.id AS outbox_id
    FROM entries, noted";

/// The same for one send, which is what a quiet system has: half the work of the other.
const APPEND_ONE: &str = "
    WITH head AS (
        UPDATE channels SET last_seq = last_seq + 1, messages = messages + 1,
                            from_messages = from_messages + (from_user = $2)::int,
                            last_at = greatest(last_at, $6)
        WHERE friendship_id = $1 AND is_open AND $2 IN (from_user, to_user)
          AND NOT EXISTS (SELECT FROM log
                          WHERE friendship_id = $1 AND sender = $2 AND client_id = $3)
        RETURNING friendship_id, from_user, to_user, last_seq AS seq, messages, from_messages,
                  last_at AS at
    ), stored AS (
        INSERT INTO log (friendship_id, seq, id, kind, position, from_position, at, sender,
                         client_id, digest, content)
        SELECT friendship_id, seq,
               (lpad(to_hex(floor(extract(epoch FROM at) * 1000)::bigint), 12, '0')
                || '8' || substr(random.id, 16, 3) || substr(random.id, 20, 4)
                || substr(random.id, 25, 2) || lpad(to_hex(seq), 10, '0'))::uuid,
               0, messages, from_messages, at, $2, $3, $4, $5
        FROM head, (SELECT gen_random_uuid()::text AS id) AS random
        RETURNING id
    ), noted AS (
        INSERT INTO outbox (channels, first_seqs, last_seqs)
        SELECT ARRAY[friendship_id], ARRAY[seq], ARRAY[seq] FROM head
        RETURNING id
    )
    SELECT 1::bigint AS number, head.seq, stored.id, head.at, head.from_user, head.to_user,
           noted.id AS outbox_id
    FROM head, stored, noted";

/// Stores plain messages; returns where each was stored, in no order, without those passed over.
pub async fn append(
    db: &mut PgConnection,
    sends: &[PlainSend<'_>],
    now: Timestamp,
) -> sqlx::Result<Vec<Appended>> {
    fn column_of<'a, T>(
        sends: &'a [PlainSend<'a>],
        value: impl Fn(&'a PlainSend<'a>) -> T,
    ) -> Vec<T> {
        sends.iter().map(value).collect()
    }
    if let [send] = sends {
        let appended = sqlx::query_as(APPEND_ONE)
            .bind(send.channel.0)
            .bind(send.sender.0)
            .bind(send.client_id)
            .bind(send.digest)
            .bind(send.content)
            .bind(now.utc())
            .fetch_optional(db)
            .await?;
        return Ok(appended.into_iter().collect());
    }
    sqlx::query_as(APPEND)
        .bind(column_of(sends, |send| send.channel.0))
        .bind(column_of(sends, |send| send.sender.0))
        .bind(column_of(sends, |send| send.client_id))
        .bind(column_of(sends, |send| send.digest))
        .bind(column_of(sends, |send| send.content))
        .bind(now.utc())
        .fetch_all(db)
        .await
}

/// Locks the channels that a batch touches, in the order of their ids (so that two batches cannot
/// wait for each other), and reads what the plan needs.
pub async fn lock_and_read(
    tx: &mut PgConnection,
    sends: &[(FriendshipId, &SendRequest)],
) -> sqlx::Result<Facts> {
    let mut ids: Vec<Uuid> = sends.iter().map(|(channel, _)| channel.0).collect();
    ids.sort_unstable();
    ids.dedup();
    let rows: Vec<ChannelRow> = sqlx::query_as(concat!(
        "SELECT ",
        channel_columns!(),
        " FROM channels WHERE friendship_id = ANY($1)
          ORDER BY friendship_id FOR NO KEY UPDATE"
    ))
    .bind(&ids)
    .fetch_all(&mut *tx)
    .await?;
    Ok(Facts {
        channels: by_id(rows),
        // Statements of their own, after the locks: they see what earlier holders committed.
        known: known(tx, sends).await?,
        targets: targets(tx, sends).await?,
        media: uploaded(tx, sends).await?,
    })
}

async fn known(
    tx: &mut PgConnection,
    sends: &[(FriendshipId, &SendRequest)],
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
    let rows: Vec<KnownRow> = sqlx::query_as(
        "SELECT entry.friendship_id, entry.sender, entry.client_id, entry.digest, entry.seq,
                entry.at, coalesce(target.id, entry.id) AS message_id
         FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS asked (friendship_id, sender, client_id)
         JOIN log entry USING (friendship_id, sender, client_id)
         LEFT JOIN log target ON target.friendship_id = entry.friendship_id
                             AND target.seq = entry.target_seq",
    )
    .bind(&channels)
    .bind(&senders)
    .bind(&client_ids)
    .fetch_all(&mut *tx)
    .await?;
    Ok(rows.into_iter().map(KnownRow::into_known).collect())
}

#[derive(sqlx::FromRow)]
struct KnownRow {
    friendship_id: Uuid,
    sender: Uuid,
    client_id: String,
    digest: i64,
    seq: i64,
    at: DateTime<Utc>,
    message_id: Uuid,
}

impl KnownRow {
    fn into_known(self) -> (ClientKey, Known) {
        let stored = Stored {
            message: MessageId(self.message_id),
            seq: self.seq.unsigned_abs(),
            created_at: self.at.into(),
            duplicate: true,
        };
        let key = (
            FriendshipId(self.friendship_id),
            UserId(self.sender),
            self.client_id,
        );
        let digest = self.digest;
        (key, Known { digest, stored })
    }
}

async fn targets(
    tx: &mut PgConnection,
    sends: &[(FriendshipId, &SendRequest)],
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
        .fetch_optional(&mut *tx)
        .await?;
        if let Some(row) = row {
            targets.insert((channel, message), row.target(channel));
        }
    }
    Ok(targets)
}

/// Stores a batch's entries, the heads of their channels and the outbox row; returns the row's id.
pub async fn insert(
    tx: &mut PgConnection,
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
    fn column_of<'a, T>(entries: &'a [Entry], value: impl Fn(&'a Entry) -> T) -> Vec<T> {
        entries.iter().map(value).collect()
    }
    let (outbox_id,): (i64,) = sqlx::query_as(
        "WITH entries AS (
             INSERT INTO log (friendship_id, seq, id, kind, position, from_position, at, sender,
                              client_id, digest, content, reply_to, media, target_seq,
                              edit_seq)
             SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::smallint[],
                 $5::bigint[], $6::bigint[], $7::timestamptz[], $8::uuid[], $9::text[],
                 $10::bigint[], $11::text[], $12::uuid[], $21::jsonb[], $13::bigint[], $14::bigint[])
         ), heads AS (
             UPDATE channels SET last_seq = head.last_seq, messages = head.messages,
                                 from_messages = head.from_messages, last_at = head.last_at
             FROM unnest($15::uuid[], $17::bigint[], $18::bigint[], $19::bigint[],
                         $20::timestamptz[])
                 AS head (friendship_id, last_seq, messages, from_messages, last_at)
             WHERE channels.friendship_id = head.friendship_id
         )
         INSERT INTO outbox (channels, first_seqs, last_seqs) VALUES ($15, $16, $17)
         RETURNING id",
    )
    .bind(column_of(entries, |entry| entry.message.friendship.0))
    .bind(column_of(entries, |entry| as_i64(entry.seq)))
    .bind(column_of(entries, |entry| entry.id.0))
    .bind(column_of(entries, |entry| kind_code(entry.kind)))
    .bind(column_of(entries, |entry| as_i64(entry.position)))
    .bind(column_of(entries, |entry| as_i64(entry.from_position)))
    .bind(column_of(entries, |entry| entry.at.utc()))
    .bind(column_of(entries, |entry| entry.message.sender.0))
    .bind(column_of(entries, |entry| entry.client_id.as_deref()))
    .bind(column_of(entries, |entry| entry.digest))
    .bind(column_of(entries, |entry| entry.content.as_str()))
    .bind(column_of(entries, |entry| match entry.kind {
        Kind::Message => entry.message.reply_to.map(|id| id.0),
        Kind::Edited | Kind::Deleted | Kind::Unknown => None,
    }))
    .bind(column_of(entries, |entry| entry.target_seq.map(as_i64)))
    .bind(column_of(entries, |entry| entry.edit_seq.map(as_i64)))
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
            .map(|head| as_i64(head.from_messages))
            .collect::<Vec<_>>(),
    )
    .bind(
        heads
            .iter()
            .map(|head| head.last_at.utc())
            .collect::<Vec<_>>(),
    )
    .bind(column_of(entries, |entry| {
        (!entry.files.is_empty()).then_some(Json(&entry.message.media))
    }))
    .fetch_one(&mut *tx)
    .await?;
    for entry in entries {
        change_target(tx, entry).await?;
        attach(tx, entry).await?;
    }
    Ok(outbox_id)
}

/// The files that were uploaded before and are sent now; locked, so that none is sent twice.
async fn uploaded(
    tx: &mut PgConnection,
    sends: &[(FriendshipId, &SendRequest)],
) -> sqlx::Result<HashMap<MediaId, KnownMedia>> {
    let mut ids: Vec<Uuid> = Vec::new();
    for (_, send) in sends {
        if let SendWhat::Message { media, .. } = &send.what {
            let before = media.iter().filter(|item| item.new.is_none());
            ids.extend(before.map(|item| item.id.0));
        }
    }
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<MediaRow> = sqlx::query_as(concat!(
        "SELECT ",
        media_columns!(),
        " FROM media
         WHERE id = ANY($1)
           AND (expires_at IS NULL OR expires_at > now() OR friendship_id IS NOT NULL)
         ORDER BY id FOR UPDATE"
    ))
    .bind(&ids)
    .fetch_all(&mut *tx)
    .await?;
    let known = rows.into_iter().map(|row| (MediaId(row.id), row.known()));
    Ok(known.collect())
}

/// Attaches the files of a message to it; lets those of a message that is deleted expire.
async fn attach(tx: &mut PgConnection, entry: &Entry) -> sqlx::Result<()> {
    for file in &entry.files {
        sqlx::query(
            "INSERT INTO media (id, owner, filename, content_type, size, sha256, friendship_id,
                                seq, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, NULL)
             ON CONFLICT (id) DO UPDATE SET friendship_id = excluded.friendship_id,
                                            seq = excluded.seq, expires_at = NULL",
        )
        .bind(file.media.id.0)
        .bind(file.owner.0)
        .bind(&file.media.filename)
        .bind(&file.media.content_type)
        .bind(as_i64(file.media.size))
        .bind(&file.sha256)
        .bind(entry.message.friendship.0)
        .bind(as_i64(entry.seq))
        .execute(&mut *tx)
        .await?;
    }
    if entry.kind == Kind::Deleted {
        let expire =
            "UPDATE media SET expires_at = now() WHERE id = ANY(SELECT (item ->> 'id')::uuid
             FROM log, jsonb_array_elements(log.media) AS item
             WHERE log.friendship_id = $1 AND log.seq = $2)";
        let clear = "UPDATE log SET media = NULL WHERE friendship_id = $1 AND seq = $2";
        for statement in [expire, clear] {
            sqlx::query(statement)
                .bind(entry.message.friendship.0)
                .bind(entry.target_seq.map(as_i64))
                .execute(&mut *tx)
                .await?;
        }
    }
    Ok(())
}

/// Points an edited message to its edit; takes the content of a deleted one and of its edits away.
async fn change_target(tx: &mut PgConnection, entry: &Entry) -> sqlx::Result<()> {
    let (channel, target) = (entry.message.friendship.0, entry.target_seq.map(as_i64));
    let change = match entry.kind {
        Kind::Message | Kind::Unknown => return Ok(()),
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
    change.execute(&mut *tx).await?;
    Ok(())
}
