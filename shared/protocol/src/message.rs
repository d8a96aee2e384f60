//! A message as everyone who may read it gets it.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type},
};

use crate::{FriendshipId, MediaId, MessageId, Timestamp, UserId};

/// The longest text of a message, in bytes of UTF-8.
pub const MAX_PAYLOAD_BYTES: usize = 8_192;
/// The most files in one message.
pub const MAX_MEDIA: usize = 10;
/// How many channels a client may name in its `resume`.
pub const MAX_NAMED_CHANNELS: usize = 10_000;
/// The longest name of a file, in characters.
pub const MAX_FILENAME_CHARS: usize = 255;
/// The longest `client_id`, in characters.
pub const MAX_CLIENT_ID_CHARS: usize = 64;

/// Why a text cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    #[error("payload is longer than {MAX_PAYLOAD_BYTES} bytes.")]
    TooLarge,
    #[error("{0}")]
    Invalid(String),
}

/// The rules of a message's text. It may be empty only beside media.
pub fn check_payload(payload: &str, has_media: bool) -> Result<(), TextError> {
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(TextError::TooLarge);
    }
    if payload.is_empty() && !has_media {
        return Err(TextError::Invalid("payload is empty.".into()));
    }
    check_storable("payload", payload)
}

/// The rules of a `client_id`.
pub fn check_client_id(client_id: Option<&str>) -> Result<(), TextError> {
    let Some(client_id) = client_id else {
        return Ok(());
    };
    let chars = client_id.chars().count();
    if chars == 0 || chars > MAX_CLIENT_ID_CHARS {
        let sentence = format!("client_id has 1 to {MAX_CLIENT_ID_CHARS} characters.");
        return Err(TextError::Invalid(sentence));
    }
    check_storable("client_id", client_id)
}

/// The rules of a file's name, as [`clean_filename`] leaves it.
pub fn check_filename(filename: &str) -> Result<(), TextError> {
    let chars = filename.chars().count();
    if chars == 0 || chars > MAX_FILENAME_CHARS {
        let sentence = format!("A file's name has 1 to {MAX_FILENAME_CHARS} characters.");
        return Err(TextError::Invalid(sentence));
    }
    Ok(())
}

/// The name of a file without what could lead elsewhere or deceive: the last segment of a path, without
/// control characters and those that change the direction of a text.
pub fn clean_filename(sent: &str) -> String {
    let last = sent.rsplit(['/', '\\']).next().unwrap_or_default();
    let is_fine = |c: &char| {
        !c.is_control()
            && !matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let name: String = last.chars().filter(is_fine).collect();
    match name.trim() {
        // A name was sent, and nothing is left of it.
        "" | "." | ".." if !sent.is_empty() => "file".to_owned(),
        name => name.to_owned(),
    }
}

/// Postgres cannot keep U+0000 in a text.
fn check_storable(field: &str, text: &str) -> Result<(), TextError> {
    if text.contains('\0') {
        Err(TextError::Invalid(format!(
            "{field} contains the character U+0000."
        )))
    } else {
        Ok(())
    }
}

/// A message in its present state; in an `edited` or `deleted` entry, its state from then on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Message {
    pub id: MessageId,
    pub friendship: FriendshipId,
    pub sender: UserId,
    /// Empty once deleted.
    pub content: String,
    /// Empty once deleted.
    pub media: Vec<Media>,
    pub created_at: Timestamp,
    pub client_id: Option<String>,
    pub reply_to: Option<MessageId>,
    /// Null where it was never edited.
    #[serde(default)]
    #[schema(required = true)]
    pub edited_at: Option<Timestamp>,
    #[serde(default)]
    #[schema(required = true)]
    pub deleted: bool,
}

impl Message {
    /// The message as clients get it: its files below `base_url`.
    pub fn at(mut self, base_url: &str) -> Self {
        for media in &mut self.media {
            media.file = Some(format!("{base_url}{}", media.path()));
        }
        self
    }
}

impl Media {
    /// Where it is served, below the public URL.
    pub fn path(&self) -> String {
        format!("/api/messages/media/{}/", self.id)
    }
}

/// A file that belongs to a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Media {
    pub id: MediaId,
    pub filename: String,
    pub content_type: String,
    /// Bytes.
    pub size: u64,
    /// Where clients fetch it: absent on the broker, the absolute URL to clients.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub file: Option<String>,
}

/// What an entry of the channel's log did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Message,
    Edited,
    Deleted,
    /// A kind of a later version. The entry has its place in the order, and nothing is shown of it.
    Unknown,
}

impl PartialSchema for Kind {
    fn schema() -> RefOr<Schema> {
        let kind = ObjectBuilder::new().schema_type(Type::String);
        let kind = kind.description(Some("What an entry of the channel's log did."));
        kind.enum_values(Some(["message", "edited", "deleted"]))
            .into()
    }
}

impl ToSchema for Kind {}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Cow::<str>::deserialize(deserializer)?.as_ref() {
            "message" => Self::Message,
            "edited" => Self::Edited,
            "deleted" => Self::Deleted,
            _ => Self::Unknown,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_lead_nowhere_and_deceive_nobody() {
        for (sent, name) in [
            ("a.txt", "a.txt"),
            ("Café é.png", "Café é.png"),
            ("../../etc/passwd", "passwd"),
            ("C:\\Users\\me\\photo.jpg", "photo.jpg"),
            ("invoice\u{202e}fdp.exe", "invoicefdp.exe"),
            ("a\r\nb\0.txt", "ab.txt"),
            ("dir/", "file"),
            ("..", "file"),
            ("\u{202e}", "file"),
            (" a.txt ", "a.txt"),
            ("", ""),
        ] {
            assert_eq!(clean_filename(sent), name, "{sent:?}");
        }
    }
}
