//! What a batch of sends becomes: the rules of the log, without a database.

use std::collections::HashMap;

use aws_lc_rs::digest;
use natter_protocol::{
    FriendshipId, MediaId, MessageId, Timestamp, UserId,
    call::{NewMedia, Refusal, SendReply, SendRequest, SendWhat, Stored},
    message::{Kind, Media, Message},
};

use crate::channel::Channel;

/// A client's name for a send, unique for ever within a channel and sender.
pub type ClientKey = (FriendshipId, UserId, String);

/// An entry that a client key was used for.
#[derive(Clone, Debug)]
pub struct Known {
    pub digest: i64,
    pub stored: Stored,
}

/// A message that a batch edits, deletes or replies to.
#[derive(Clone, Debug)]
pub struct Target {
    pub seq: u64,
    pub edit_seq: Option<u64>,
    pub message: Message,
}

/// A file that a batch sends.
#[derive(Clone, Debug)]
pub struct KnownMedia {
    pub owner: UserId,
    /// It was sent in an earlier message.
    pub is_sent: bool,
    pub sha256: String,
    pub media: Media,
}

impl KnownMedia {
    /// A file that is in the media store and in no message yet.
    pub fn new(owner: UserId, id: MediaId, new: NewMedia) -> Self {
        Self {
            owner,
            is_sent: false,
            sha256: new.sha256,
            media: Media {
                id,
                filename: new.filename,
                content_type: new.content_type,
                size: new.size,
                file: None,
            },
        }
    }
}

/// What the database knows of everything that a batch touches, with its channels locked.
#[derive(Debug, Default)]
pub struct Facts {
    pub channels: HashMap<FriendshipId, Channel>,
    pub known: HashMap<ClientKey, Known>,
    pub targets: HashMap<(FriendshipId, MessageId), Target>,
    /// The files that were uploaded before their send.
    pub media: HashMap<MediaId, KnownMedia>,
}

/// An entry to insert.
#[derive(Clone, Debug)]
pub struct Entry {
    pub id: MessageId,
    pub seq: u64,
    pub kind: Kind,
    pub position: u64,
    pub from_position: u64,
    pub at: Timestamp,
    pub client_id: Option<String>,
    pub digest: i64,
    pub content: String,
    pub target_seq: Option<u64>,
    /// Of an edit or deletion: the message's newest edit before it.
    pub edit_seq: Option<u64>,
    pub members: [UserId; 2],
    /// Of a message: its files, in their order.
    pub files: Vec<KnownMedia>,
    /// The message as it is from this entry on.
    pub message: Message,
}

/// What one send becomes.
#[derive(Debug)]
pub enum Outcome {
    /// To be stored; the answer holds once it is.
    Store(Box<Entry>, Stored),
    /// Nothing to store.
    Answer(SendReply),
    /// The friendships service must be asked first.
    Ask,
}

/// Decides every send of a batch in order. A send that is refused leaves the others as they are.
pub struct Plan {
    facts: Facts,
    now: Timestamp,
}

impl Plan {
    pub fn new(facts: Facts, now: Timestamp) -> Self {
        Self { facts, now }
    }

    /// `confirmed`: the friendships service was asked already and what is known is its answer.
    pub fn decide(
        &mut self,
        channel: FriendshipId,
        send: &SendRequest,
        confirmed: bool,
    ) -> Outcome {
        match self.try_decide(channel, send, confirmed) {
            Ok(outcome) => outcome,
            Err(refusal) => Outcome::Answer(SendReply::Refused(refusal)),
        }
    }

    /// The channels as they are after everything decided so far.
    pub fn channels(self) -> HashMap<FriendshipId, Channel> {
        self.facts.channels
    }

    fn try_decide(
        &mut self,
        id: FriendshipId,
        send: &SendRequest,
        confirmed: bool,
    ) -> Result<Outcome, Refusal> {
        let Some(channel) = self.facts.channels.get(&id).copied() else {
            return if confirmed {
                Err(Refusal::NotAMember)
            } else {
                Ok(Outcome::Ask)
            };
        };
        if !channel.has(send.sender) {
            return Err(Refusal::NotAMember);
        }
        let files = self.files(send)?;
        let digest = digest_of(&send.what, &files);
        let key = send
            .client_id
            .clone()
            .map(|client_id| (id, send.sender, client_id));
        if let Some(known) = key.as_ref().and_then(|key| self.facts.known.get(key)) {
            return if known.digest == digest {
                Ok(Outcome::Answer(SendReply::Ack(Stored {
                    duplicate: true,
                    ..known.stored.clone()
                })))
            } else {
                Err(Refusal::ClientIdReused)
            };
        }
        // The projection may be a moment behind the friendships service, both ways.
        match (channel.is_open, confirmed) {
            (true, false) if send.doubted => return Ok(Outcome::Ask),
            (true, _) => {}
            (false, false) => return Ok(Outcome::Ask),
            (false, true) => return Err(Refusal::ChannelClosed),
        }
        if files.iter().any(|file| file.is_sent) {
            return Err(Refusal::MediaNotFound);
        }
        let entry = self.entry(&channel, send, digest, files)?;
        let stored = Stored {
            message: entry.message.id,
            seq: entry.seq,
            created_at: entry.at,
            duplicate: false,
        };
        self.apply(id, &entry);
        if let Some(key) = key {
            let stored = stored.clone();
            self.facts.known.insert(key, Known { digest, stored });
        }
        Ok(Outcome::Store(Box::new(entry), stored))
    }

    /// The files of a message. Refuses a message with a file that is not its sender's.
    fn files(&self, send: &SendRequest) -> Result<Vec<KnownMedia>, Refusal> {
        let SendWhat::Message { media, .. } = &send.what else {
            return Ok(Vec::new());
        };
        let files = media.iter().map(|item| match &item.new {
            Some(new) => Ok(KnownMedia::new(send.sender, item.id, new.clone())),
            None => {
                let known = self.facts.media.get(&item.id);
                let own = known.filter(|known| known.owner == send.sender);
                own.cloned().ok_or(Refusal::MediaNotFound)
            }
        });
        files.collect()
    }

    fn entry(
        &self,
        channel: &Channel,
        send: &SendRequest,
        digest: i64,
        files: Vec<KnownMedia>,
    ) -> Result<Entry, Refusal> {
        let seq = channel.last_seq + 1;
        // Never earlier than the entry before: dates are found by halving.
        let at = self.now.max(channel.last_at);
        let id = MessageId::assign(at, seq);
        let entry = |kind, message: Message, target: Option<&Target>| Entry {
            id,
            seq,
            kind,
            position: channel.messages + u64::from(kind == Kind::Message),
            from_position: channel.from_messages
                + u64::from(kind == Kind::Message && send.sender == channel.members[0]),
            at,
            client_id: send.client_id.clone(),
            digest,
            content: message.content.clone(),
            target_seq: target.map(|target| target.seq),
            edit_seq: target.and_then(|target| target.edit_seq),
            members: channel.members,
            files: Vec::new(),
            message,
        };
        match &send.what {
            SendWhat::Message {
                payload, reply_to, ..
            } => {
                if let Some(reply_to) = reply_to {
                    self.target(channel.id, *reply_to)?;
                }
                let message = Message {
                    id,
                    friendship: channel.id,
                    sender: send.sender,
                    content: payload.clone(),
                    media: files.iter().map(|file| file.media.clone()).collect(),
                    created_at: at,
                    client_id: send.client_id.clone(),
                    reply_to: *reply_to,
                    edited_at: None,
                    deleted: false,
                };
                Ok(Entry {
                    files,
                    ..entry(Kind::Message, message, None)
                })
            }
            SendWhat::Edit { message, payload } => {
                let target = self.own_target(channel.id, *message, send.sender)?;
                if payload.is_empty() && target.message.media.is_empty() {
                    return Err(Refusal::EmptyMessage);
                }
                let message = Message {
                    content: payload.clone(),
                    edited_at: Some(at),
                    ..target.message.clone()
                };
                Ok(entry(Kind::Edited, message, Some(target)))
            }
            SendWhat::Delete { message } => {
                let target = self.own_target(channel.id, *message, send.sender)?;
                let message = Message {
                    content: String::new(),
                    media: Vec::new(),
                    deleted: true,
                    ..target.message.clone()
                };
                Ok(entry(Kind::Deleted, message, Some(target)))
            }
        }
    }

    fn target(&self, channel: FriendshipId, message: MessageId) -> Result<&Target, Refusal> {
        self.facts
            .targets
            .get(&(channel, message))
            .ok_or(Refusal::MessageNotFound)
    }

    fn own_target(
        &self,
        channel: FriendshipId,
        message: MessageId,
        sender: UserId,
    ) -> Result<&Target, Refusal> {
        let target = self.target(channel, message)?;
        match target.message {
            Message { sender: owner, .. } if owner != sender => Err(Refusal::NotYours),
            Message { deleted: true, .. } => Err(Refusal::MessageNotFound),
            _ => Ok(target),
        }
    }

    /// Later sends of the batch see what this entry did.
    fn apply(&mut self, id: FriendshipId, entry: &Entry) {
        if let Some(channel) = self.facts.channels.get_mut(&id) {
            channel.last_seq = entry.seq;
            channel.messages = entry.position;
            channel.from_messages = entry.from_position;
            channel.last_at = entry.at;
        }
        for file in &entry.files {
            if let Some(known) = self.facts.media.get_mut(&file.media.id) {
                known.is_sent = true;
            }
        }
        if let Some(target) = self.facts.targets.get_mut(&(id, entry.message.id)) {
            target.message = entry.message.clone();
            target.edit_seq = Some(entry.seq);
        }
    }
}

/// The digest of what is sent: tells a repeat from another use of the same client key.
pub fn digest_of(what: &SendWhat, files: &[KnownMedia]) -> i64 {
    let mut context = digest::Context::new(&digest::SHA256);
    match what {
        SendWhat::Message {
            payload, reply_to, ..
        } => {
            context.update(b"m");
            if let Some(reply_to) = reply_to {
                context.update(reply_to.0.as_bytes());
            }
            context.update(b"\0");
            context.update(payload.as_bytes());
            for file in files {
                // U+0000 separates: neither a text nor a file's name contains it.
                context.update(b"\0");
                context.update(file.media.filename.as_bytes());
                context.update(b"\0");
                context.update(file.sha256.as_bytes());
            }
        }
        SendWhat::Edit { message, payload } => {
            context.update(b"e");
            context.update(message.0.as_bytes());
            context.update(payload.as_bytes());
        }
        SendWhat::Delete { message } => {
            context.update(b"d");
            context.update(message.0.as_bytes());
        }
    }
    let hash = context.finish();
    let mut first = [0; 8];
    first.copy_from_slice(&hash.as_ref()[..8]);
    i64::from_be_bytes(first)
}

#[cfg(test)]
mod tests;
