//! What is known of one message's way, for an operator: never its content.

use natter_pg::{DatabaseUrl, Role};
use natter_protocol::{FriendshipId, MessageId, Timestamp, UserId};

use crate::{
    SCHEMA,
    store::{self, Traced, TracedBatch, TracedMark},
};

/// An entry of a log, and what happened to it.
pub struct Trace {
    pub channel: FriendshipId,
    pub seq: u64,
    pub sender: UserId,
    pub receiver: UserId,
    pub steps: Vec<Step>,
}

/// What happened, and when, where that is known.
pub struct Step {
    pub at: Option<Timestamp>,
    pub what: String,
}

impl Step {
    fn at(at: impl Into<Timestamp>, what: impl Into<String>) -> Self {
        Self {
            at: Some(at.into()),
            what: what.into(),
        }
    }

    fn undated(what: impl Into<String>) -> Self {
        Self {
            at: None,
            what: what.into(),
        }
    }
}

/// Looks for a message, edit or deletion; `None` where no log has it.
pub async fn trace(owner: &DatabaseUrl, id: MessageId) -> anyhow::Result<Option<Trace>> {
    let mut db = natter_pg::open(owner, SCHEMA, Role::Owner).await?;
    let Some(entry) = store::traced(&mut db, id).await? else {
        return Ok(None);
    };
    let seq = id.seq();
    let batch = store::traced_batch(&mut db, &entry, seq).await?;
    let marks = store::traced_marks(&mut db, &entry).await?;
    let sender = UserId(entry.sender);
    let [from, to] = [entry.from_user, entry.to_user].map(UserId);
    let receiver = if sender == from { to } else { from };
    let mut steps = vec![Step::at(entry.at, "taken by the messages service")];
    steps.extend(stored(batch));
    let mark = marks.iter().find(|mark| UserId(mark.user_id) == receiver);
    steps.extend(marked(mark, seq));
    steps.extend(changed(&entry));
    Ok(Some(Trace {
        channel: FriendshipId(entry.friendship_id),
        seq,
        sender,
        receiver,
        steps,
    }))
}

fn stored(batch: Option<TracedBatch>) -> Vec<Step> {
    let Some(batch) = batch else {
        return vec![Step::undated(
            "committed, and published: the stream CHAT has let go of it since",
        )];
    };
    let committed = format!(
        "committed, in a transaction that began then, as batch {}",
        batch.id
    );
    let published = match (batch.published_at, batch.stream_first, batch.stream_seq) {
        (None, _, _) => Step::undated("not published: the stream CHAT has not confirmed it"),
        (Some(at), Some(first), Some(last)) => {
            let place =
                format!("published: one of the events {first} to {last} of the stream CHAT");
            Step::at(at, place)
        }
        (Some(at), _, _) => Step::at(at, "published to the stream CHAT"),
    };
    vec![Step::at(batch.created_at, committed), published]
}

fn marked(mark: Option<&TracedMark>, seq: u64) -> Vec<Step> {
    let Some(mark) = mark else {
        return vec![Step::undated(
            "not received: the receiver has marked nothing in this channel",
        )];
    };
    [("received", mark.received_seq), ("seen", mark.seen_seq)]
        .map(|(what, newest)| match newest.unsigned_abs() {
            newest if newest == seq => {
                Step::at(mark.updated_at, format!("{what}, at this time or before"))
            }
            newest if newest > seq => Step::undated(format!(
                "{what}: the receiver's mark has moved on to seq {newest}"
            )),
            newest => Step::undated(format!(
                "not {what}: the receiver's mark is at seq {newest}"
            )),
        })
        .into()
}

fn changed(entry: &Traced) -> Option<Step> {
    match (entry.kind, entry.deleted, entry.edit_seq) {
        (1, _, _) => Some(Step::undated("it is an edit")),
        (2, _, _) => Some(Step::undated("it is a deletion")),
        (_, true, _) => Some(Step::undated("deleted since, by an entry of its own")),
        (_, _, Some(edit)) => Some(Step::undated(format!("edited since, last by seq {edit}"))),
        _ => None,
    }
}
