//! Messages that one statement stores: without files, and not replies to others.

use natter_protocol::{
    FriendshipId, MessageId, UserId,
    call::{SendRequest, SendWhat},
    event::{LogEvent, LogTag, VERSION},
    message::{Kind, Message},
};

use crate::{
    plan,
    store::{Appended, PlainSend},
};

/// Whether one statement can store a send.
pub fn is_plain(send: &SendRequest) -> bool {
    match &send.what {
        SendWhat::Message {
            media, reply_to, ..
        } => media.is_empty() && reply_to.is_none() && !send.doubted,
        SendWhat::Edit { .. } | SendWhat::Delete { .. } => false,
    }
}

/// A send as that statement takes it.
pub fn plain(channel: FriendshipId, send: &SendRequest) -> Option<PlainSend<'_>> {
    match &send.what {
        SendWhat::Message { payload, .. } if is_plain(send) => Some(PlainSend {
            channel,
            sender: send.sender,
            client_id: send.client_id.as_deref(),
            digest: plan::digest_of(&send.what, &[]),
            content: payload,
        }),
        _ => None,
    }
}

/// The event of a plain message, which is taken out of its send.
pub fn event(channel: FriendshipId, send: &mut SendRequest, appended: &Appended) -> LogEvent {
    let (id, at) = (MessageId(appended.id), appended.at.into());
    let content = match &mut send.what {
        SendWhat::Message { payload, .. } => std::mem::take(payload),
        SendWhat::Edit { .. } | SendWhat::Delete { .. } => String::new(),
    };
    LogEvent {
        id,
        tag: LogTag::Log,
        time: at,
        version: VERSION,
        channel,
        seq: appended.seq.unsigned_abs(),
        kind: Kind::Message,
        message: Message {
            id,
            friendship: channel,
            sender: send.sender,
            content,
            media: Vec::new(),
            created_at: at,
            client_id: send.client_id.take(),
            reply_to: None,
            edited_at: None,
            deleted: false,
        },
        members: [UserId(appended.from_user), UserId(appended.to_user)],
    }
}
