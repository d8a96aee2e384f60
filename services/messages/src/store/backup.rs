//! What a backup has of this schema, and what must hold for it.

use natter_pg::Backup;

pub const BACKUP: Backup = Backup {
    schema: crate::SCHEMA,
    // The search table is filled from the log; the epoch is that of one database, and another begins
    // where a backup is restored.
    left_out: &["log_epoch", "search", "searchable"],
    checks: &[
        (
            "channels whose log has a hole, or another end than the channel says",
            "SELECT count(*) FROM channels LEFT JOIN (
                 SELECT friendship_id, count(*) AS entries, max(seq) AS newest,
                        max(position) AS messages
                 FROM log GROUP BY friendship_id
             ) AS log USING (friendship_id)
             WHERE (last_seq, last_seq, channels.messages)
                   <> (coalesce(entries, 0), coalesce(newest, 0), coalesce(log.messages, 0))",
        ),
        (
            "entries of channels that are not there",
            "SELECT count(*) FROM log WHERE NOT EXISTS (
                 SELECT FROM channels WHERE channels.friendship_id = log.friendship_id)",
        ),
        (
            "marks behind the end of a log",
            "SELECT count(*) FROM marks JOIN channels USING (friendship_id)
             WHERE greatest(received_seq, seen_seq) > last_seq",
        ),
    ],
};

/// The ids of all channels.
pub const CHANNELS: &str = "SELECT friendship_id FROM channels";
