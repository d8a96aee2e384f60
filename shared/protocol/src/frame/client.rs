//! What clients send.

use std::{collections::HashMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor},
};
use serde_json::error::Category;
use utoipa::ToSchema;

use crate::{
    FriendshipId, MediaId, MessageId,
    ephemeral::{Ephemeral, EphemeralFrame},
    frame::ErrorCode,
    message::{
        MAX_CLIENT_ID_CHARS, MAX_MEDIA, TextError, check_client_id, check_filename, check_payload,
        clean_filename,
    },
};

/// A frame that is well formed. Whether it is allowed is for others to say.
#[derive(Debug, PartialEq)]
pub enum ClientFrame {
    Friendship(SendFrame),
    Edit(EditFrame),
    Delete(DeleteFrame),
    Seen(MarkFrame),
    Received(MarkFrame),
    Ephemeral(EphemeralFrame),
    /// Another access token, for a connection that ends with its own.
    Auth(AuthFrame),
    /// The newest `seq` the client has of each channel. The keys are as the client wrote them.
    Resume(ResumeFrame),
    Ping,
}

/// A frame, and what an answer to it names beside its type.
#[derive(Debug)]
pub struct Parsed {
    pub frame: ClientFrame,
    /// Any frame may have one.
    pub client_id: Option<String>,
}

/// `friendship`
#[derive(Debug, PartialEq, Deserialize, ToSchema)]
pub struct SendFrame {
    pub channel: FriendshipId,
    /// May be empty, null or missing beside media.
    #[serde(default, deserialize_with = "null_as_default")]
    #[schema(value_type = Option<String>)]
    pub payload: String,
    #[serde(default, deserialize_with = "null_as_default")]
    #[schema(value_type = Option<Vec<HashMap<String, String>>>)]
    pub media: Vec<MediaItem>,
    #[serde(default)]
    pub client_id: Option<String>,
    #[serde(default)]
    pub reply_to: Option<MessageId>,
}

/// A file in a frame: an object with one key.
#[derive(Debug, PartialEq)]
pub enum MediaItem {
    /// `{"id": "<media id>"}`: one that was uploaded before.
    Uploaded(MediaId),
    /// `{"<filename>": "<base64>"}`
    File { filename: String, base64: String },
}

impl MediaItem {
    /// Checks the name of a file that comes in the frame.
    pub fn check(&self) -> Result<(), TextError> {
        match self {
            Self::Uploaded(_) => Ok(()),
            Self::File { filename, .. } => check_filename(&clean_filename(filename)),
        }
    }
}

impl<'de> Deserialize<'de> for MediaItem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OneEntry)
    }
}

/// Reads an object of one entry: a map would keep the last of two files with one name.
struct OneEntry;

impl<'de> Visitor<'de> for OneEntry {
    type Value = MediaItem;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with one key")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<MediaItem, A::Error> {
        let first: Option<(String, String)> = map.next_entry()?;
        let second: Option<(de::IgnoredAny, de::IgnoredAny)> = map.next_entry()?;
        match (first, second) {
            (Some((key, id)), None) if key == "id" => match id.parse() {
                Ok(id) => Ok(MediaItem::Uploaded(id)),
                Err(_) => Err(de::Error::custom("id is not the id of a file")),
            },
            (Some((filename, base64)), None) => Ok(MediaItem::File { filename, base64 }),
            _ => Err(de::Error::custom("an item of media has exactly one key")),
        }
    }
}

fn null_as_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// `friendship_edit`
#[derive(Debug, PartialEq, Deserialize, ToSchema)]
pub struct EditFrame {
    pub channel: FriendshipId,
    pub message: MessageId,
    /// May be empty, null or missing while the message has media.
    #[serde(default, deserialize_with = "null_as_default")]
    #[schema(value_type = Option<String>)]
    pub payload: String,
    #[serde(default)]
    pub client_id: Option<String>,
}

/// `friendship_delete`
#[derive(Debug, PartialEq, Deserialize, ToSchema)]
pub struct DeleteFrame {
    pub channel: FriendshipId,
    pub message: MessageId,
    #[serde(default)]
    pub client_id: Option<String>,
}

/// `friendship_notification_seen` and `friendship_notification_received`
#[derive(Debug, PartialEq, Deserialize, ToSchema)]
pub struct MarkFrame {
    pub channel: FriendshipId,
    #[serde(alias = "message_id")]
    pub message: MessageId,
}

/// `auth`
#[derive(Debug, PartialEq, Deserialize, ToSchema)]
pub struct AuthFrame {
    pub access: String,
}

/// `resume`
#[derive(Debug, PartialEq, Deserialize, ToSchema)]
pub struct ResumeFrame {
    /// The newest `seq` that the client has of each channel.
    #[serde(default)]
    pub channels: HashMap<String, u64>,
    /// The `epoch` of the `ready` under which the client got what it has.
    #[serde(default)]
    pub epoch: Option<String>,
}

/// Why a text is no frame, with what is known of it.
#[derive(Debug, PartialEq)]
pub struct FrameError {
    pub code: ErrorCode,
    pub detail: String,
    pub answers: Option<String>,
    pub client_id: Option<String>,
}

/// What every frame may have, read leniently so that an error can name what it answers.
#[derive(Deserialize)]
struct Head {
    #[serde(default, rename = "type")]
    tag: Option<serde_json::Value>,
    #[serde(default)]
    client_id: Option<serde_json::Value>,
}

impl ClientFrame {
    /// Reads one text frame.
    pub fn parse(text: &str) -> Result<Parsed, FrameError> {
        let head: Head = serde_json::from_str(text).map_err(|error| match error.classify() {
            Category::Data => FrameError::bare(
                ErrorCode::InvalidFrame,
                "A frame is a JSON object with a text field type.",
            ),
            Category::Io | Category::Syntax | Category::Eof => {
                FrameError::bare(ErrorCode::InvalidJson, "The frame is not valid JSON.")
            }
        })?;
        // Answers repeat the `client_id`: one that is too long is left out.
        let client_id = head
            .client_id
            .and_then(|id| id.as_str().map(str::to_owned))
            .filter(|id| id.chars().count() <= MAX_CLIENT_ID_CHARS);
        let Some(tag) = head.tag.as_ref().and_then(|tag| tag.as_str()) else {
            return Err(FrameError {
                client_id,
                ..FrameError::bare(
                    ErrorCode::InvalidFrame,
                    "A frame is a JSON object with a text field type.",
                )
            });
        };
        match Self::parse_typed(tag, text) {
            Ok(frame) => Ok(Parsed { frame, client_id }),
            Err((code, detail)) => Err(FrameError {
                code,
                detail,
                answers: Some(tag.chars().take(MAX_CLIENT_ID_CHARS).collect()),
                client_id,
            }),
        }
    }

    /// The frame's type.
    pub fn tag(&self) -> &'static str {
        match self {
            Self::Friendship(_) => "friendship",
            Self::Edit(_) => "friendship_edit",
            Self::Delete(_) => "friendship_delete",
            Self::Seen(_) => "friendship_notification_seen",
            Self::Received(_) => "friendship_notification_received",
            Self::Ephemeral(frame) => frame.ephemeral.name(),
            Self::Auth(_) => "auth",
            Self::Resume(_) => "resume",
            Self::Ping => "ping",
        }
    }

    fn parse_typed(tag: &str, text: &str) -> Result<Self, (ErrorCode, String)> {
        Ok(match tag {
            "friendship" => Self::Friendship(read::<SendFrame>(text)?.checked()?),
            "friendship_edit" => Self::Edit(read::<EditFrame>(text)?.checked()?),
            "friendship_delete" => Self::Delete(read::<DeleteFrame>(text)?.checked()?),
            "friendship_notification_seen" => Self::Seen(read(text)?),
            "friendship_notification_received" => Self::Received(read(text)?),
            "auth" => Self::Auth(read(text)?),
            "resume" => Self::Resume(read(text)?),
            "ping" => Self::Ping,
            tag if Ephemeral::TYPES.contains(&tag) => Self::Ephemeral(read(text)?),
            _ => {
                return Err((
                    ErrorCode::UnknownType,
                    "There is no frame of this type.".into(),
                ));
            }
        })
    }
}

impl SendFrame {
    fn checked(self) -> Result<Self, (ErrorCode, String)> {
        check_client_id(self.client_id.as_deref())?;
        if self.media.len() > MAX_MEDIA {
            let detail = format!("media has at most {MAX_MEDIA} items.");
            return Err((ErrorCode::InvalidFrame, detail));
        }
        for item in &self.media {
            item.check()?;
        }
        check_payload(&self.payload, !self.media.is_empty())?;
        Ok(self)
    }
}

impl EditFrame {
    fn checked(self) -> Result<Self, (ErrorCode, String)> {
        check_client_id(self.client_id.as_deref())?;
        // An edit may leave the text empty if the message has files, which only the messages
        // service knows.
        check_payload(&self.payload, true)?;
        Ok(self)
    }
}

impl DeleteFrame {
    fn checked(self) -> Result<Self, (ErrorCode, String)> {
        check_client_id(self.client_id.as_deref())?;
        Ok(self)
    }
}

impl From<TextError> for (ErrorCode, String) {
    fn from(error: TextError) -> Self {
        let code = match error {
            TextError::TooLarge => ErrorCode::TooLarge,
            TextError::Invalid(_) => ErrorCode::InvalidFrame,
        };
        (code, error.to_string())
    }
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, (ErrorCode, String)> {
    serde_json::from_str(text).map_err(|error| {
        (
            ErrorCode::InvalidFrame,
            format!("The frame is not as documented: {error}."),
        )
    })
}

impl FrameError {
    fn bare(code: ErrorCode, detail: &str) -> Self {
        Self {
            code,
            detail: detail.to_owned(),
            answers: None,
            client_id: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::message::MAX_PAYLOAD_BYTES;

    const ID: &str = "00000000-0000-7000-8000-000000000001";

    fn code(text: &str) -> Result<(), ErrorCode> {
        ClientFrame::parse(text)
            .map(drop)
            .map_err(|error| error.code)
    }

    #[test]
    fn a_refusal_repeats_no_client_id_that_is_too_long() {
        let repeated = |frame: serde_json::Value| {
            let refused = ClientFrame::parse(&frame.to_string());
            refused.expect_err("it is no frame").client_id
        };
        let longest = "x".repeat(MAX_CLIENT_ID_CHARS);
        for kind in [json!(null), json!("nonsense")] {
            let with = |id: &str| json!({"type": kind, "client_id": id});
            assert_eq!(repeated(with(&longest)).as_ref(), Some(&longest));
            assert_eq!(repeated(with(&format!("{longest}x"))), None);
        }
    }

    #[test]
    fn what_is_no_frame_says_why() {
        let send = |payload: &str| json!({"type": "friendship", "channel": ID, "payload": payload});
        let with = |field: &str, value: serde_json::Value| {
            let mut frame = send("x");
            frame[field] = value;
            frame.to_string()
        };
        let too_long = "x".repeat(MAX_PAYLOAD_BYTES + 1);
        for (text, expected) in [
            ("", Err(ErrorCode::InvalidJson)),
            ("{", Err(ErrorCode::InvalidJson)),
            ("nope", Err(ErrorCode::InvalidJson)),
            ("[]", Err(ErrorCode::InvalidFrame)),
            ("1", Err(ErrorCode::InvalidFrame)),
            ("{}", Err(ErrorCode::InvalidFrame)),
            (r#"{"type": 1}"#, Err(ErrorCode::InvalidFrame)),
            (r#"{"type": "dance"}"#, Err(ErrorCode::UnknownType)),
            (r#"{"type": "ping", "more": 1}"#, Ok(())),
            (r#"{"type": "resume"}"#, Ok(())),
            (r#"{"type": "friendship"}"#, Err(ErrorCode::InvalidFrame)),
            (&send("x").to_string(), Ok(())),
            (&send(&too_long[1..]).to_string(), Ok(())),
            (&send(&too_long).to_string(), Err(ErrorCode::TooLarge)),
            (&send("").to_string(), Err(ErrorCode::InvalidFrame)),
            (&send("\0").to_string(), Err(ErrorCode::InvalidFrame)),
            (&with("channel", json!("x")), Err(ErrorCode::InvalidFrame)),
            (&with("payload", json!(1)), Err(ErrorCode::InvalidFrame)),
            (&with("payload", json!(null)), Err(ErrorCode::InvalidFrame)),
            (
                &json!({"type": "friendship", "channel": ID, "media": [{"id": ID}]}).to_string(),
                Ok(()),
            ),
            (
                &format!(
                    r#"{{"type": "friendship", "channel": "{ID}", "payload": null, "media": [{{"a": "eA==", "a": "eQ=="}}]}}"#
                ),
                Err(ErrorCode::InvalidFrame),
            ),
            (
                &json!({"type": "friendship_edit", "channel": ID, "message": ID}).to_string(),
                Ok(()),
            ),
            (&with("client_id", json!(1)), Err(ErrorCode::InvalidFrame)),
            (&with("client_id", json!("")), Err(ErrorCode::InvalidFrame)),
            (
                &with("client_id", json!("x".repeat(65))),
                Err(ErrorCode::InvalidFrame),
            ),
            (&with("client_id", json!("é".repeat(64))), Ok(())),
            (&with("client_id", json!(null)), Ok(())),
            (&with("media", json!(null)), Ok(())),
            (&with("media", json!([])), Ok(())),
            (
                &with("media", json!([{"a.txt": "eA=="}, {"id": ID}])),
                Ok(()),
            ),
            (
                &with("media", json!([{"id": "x"}])),
                Err(ErrorCode::InvalidFrame),
            ),
            (&with("media", json!([{}])), Err(ErrorCode::InvalidFrame)),
            (
                &with("media", json!([{"a": "", "b": ""}])),
                Err(ErrorCode::InvalidFrame),
            ),
            (
                &with("media", json!([{"a": 1}])),
                Err(ErrorCode::InvalidFrame),
            ),
            (
                &with("media", json!([{"": "eA=="}])),
                Err(ErrorCode::InvalidFrame),
            ),
            (
                &with("media", json!(vec![json!({"a": ""}); 11])),
                Err(ErrorCode::InvalidFrame),
            ),
            (&with("reply_to", json!("x")), Err(ErrorCode::InvalidFrame)),
        ] {
            assert_eq!(code(text), expected, "{text:.80}");
        }
    }

    #[test]
    fn an_error_names_what_it_answers() {
        let error = ClientFrame::parse(r#"{"type": "friendship", "client_id": "a-1"}"#);
        let error = error.expect_err("channel and payload are missing");
        assert_eq!(error.answers.as_deref(), Some("friendship"));
        assert_eq!(error.client_id.as_deref(), Some("a-1"));
    }

    #[test]
    fn a_mark_takes_either_name_of_its_message() {
        for name in ["message", "message_id"] {
            let mut frame = json!({"type": "friendship_notification_seen", "channel": ID});
            frame[name] = json!(ID);
            assert_eq!(code(&frame.to_string()), Ok(()), "{name}");
        }
    }

    proptest! {
        /// Whatever a client sends: an answer, never a panic.
        #[test]
        fn any_text_is_answered(text in ".*") {
            let _ = ClientFrame::parse(&text);
        }

        #[test]
        fn any_object_is_answered(
            tag in "[a-z_]{0,12}|friendship|resume|friendship_edit|friendship_notification_seen",
            values in proptest::collection::hash_map(
                "channel|payload|message|channels|client_id|media",
                r#"null|1|-1|1e99|true|"[a-z]{0,4}"|\[\]|\{\}|\{"x":1\}"#,
                0..6,
            ),
        ) {
            let fields: String = values.iter().map(|(k, v)| format!(r#","{k}":{v}"#)).collect();
            let _ = ClientFrame::parse(&format!(r#"{{"type":"{tag}"{fields}}}"#));
        }
    }
}
