//! What clients send.

use std::{collections::HashMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::error::Category;
use utoipa::ToSchema;

use crate::{
    FriendshipId, MediaId, MessageId,
    ephemeral::{Ephemeral, EphemeralFrame},
    frame::ErrorCode,
    message::{
        MAX_CLIENT_ID_CHARS, MAX_MEDIA, MAX_NAMED_CHANNELS, TextError, check_client_id,
        check_filename, check_payload, clean_filename,
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
    #[serde(default, deserialize_with = "media_items")]
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
        let second: Option<(IgnoredAny, IgnoredAny)> = map.next_entry()?;
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

/// Reads the `media` of a message, which may be null. Of a list with more than [`MAX_MEDIA`] items
/// only the first that is too many is read, and none after it: an item costs many times its bytes.
pub fn media_items<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<MediaItem>, D::Error> {
    let few: Few<Vec<MediaItem>, MAX_MEDIA> = null_as_default(deserializer)?;
    Ok(few.0)
}

fn named_channels<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<HashMap<String, u64>, D::Error> {
    let few: Few<HashMap<String, u64>, MAX_NAMED_CHANNELS> = Few::deserialize(deserializer)?;
    Ok(few.0)
}

/// A list or a map of which no more than `MOST` + 1 entries are read, by which a reader sees that
/// there are too many.
struct Few<T, const MOST: usize>(T);

impl<T: Default, const MOST: usize> Default for Few<T, MOST> {
    fn default() -> Self {
        Self(T::default())
    }
}

struct FewVisitor<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for Few<Vec<T>, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(FewVisitor::<Vec<T>, MOST>(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for FewVisitor<Vec<T>, MOST> {
    type Value = Few<Vec<T>, MOST>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while items.len() <= MOST
            && let Some(item) = seq.next_element()?
        {
            items.push(item);
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Few(items))
    }
}

impl<'de, const MOST: usize> Deserialize<'de> for Few<HashMap<String, u64>, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FewVisitor::<HashMap<String, u64>, MOST>(PhantomData))
    }
}

impl<'de, const MOST: usize> Visitor<'de> for FewVisitor<HashMap<String, u64>, MOST> {
    type Value = Few<HashMap<String, u64>, MOST>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = HashMap::new();
        while entries.len() <= MOST
            && let Some((name, value)) = map.next_entry()?
        {
            entries.insert(name, value);
        }
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Few(entries))
    }
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
    #[serde(default, deserialize_with = "named_channels")]
    pub channels: HashMap<String, u64>,
    /// The `epoch` of the `ready` under which the client got what it has.
    #[serde(default)]
    pub epoch: Option<String>,
}

/// Why a text is not a frame, and what is known of the frame that it was meant to be.
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
    tag: MaybeText,
    #[serde(default)]
    client_id: MaybeText,
}

/// A text. Whatever else there is must be JSON, and nothing of it is kept.
#[derive(Default)]
struct MaybeText(Option<String>);

impl<'de> Deserialize<'de> for MaybeText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MaybeTextVisitor)
    }
}

struct MaybeTextVisitor;

impl<'de> Visitor<'de> for MaybeTextVisitor {
    type Value = MaybeText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E>(self, text: &str) -> Result<MaybeText, E> {
        Ok(MaybeText(Some(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<MaybeText, E> {
        Ok(MaybeText(None))
    }

    fn visit_bool<E>(self, _: bool) -> Result<MaybeText, E> {
        Ok(MaybeText(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<MaybeText, E> {
        Ok(MaybeText(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<MaybeText, E> {
        Ok(MaybeText(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<MaybeText, E> {
        Ok(MaybeText(None))
    }

    /// The items are visited like the value itself, not as [`IgnoredAny`], for which JSON that is
    /// nested too deeply, or has a number that is too large, is no error.
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<MaybeText, A::Error> {
        while seq.next_element::<MaybeText>()?.is_some() {}
        Ok(MaybeText(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<MaybeText, A::Error> {
        while map.next_entry::<MaybeText, MaybeText>()?.is_some() {}
        Ok(MaybeText(None))
    }
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
            .0
            .filter(|id| id.chars().count() <= MAX_CLIENT_ID_CHARS);
        let Some(tag) = head.tag.0.as_deref() else {
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

    /// Also where what is neither text nor null is not kept: it is read to its end.
    #[test]
    fn a_type_that_is_no_text_is_told_from_what_is_no_json() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        for field in ["type", "client_id"] {
            for (value, expected) in [
                ("null", ErrorCode::InvalidFrame),
                ("true", ErrorCode::InvalidFrame),
                ("-1", ErrorCode::InvalidFrame),
                ("1.5", ErrorCode::InvalidFrame),
                ("[\"a\", [0, null], {\"b\": 1}]", ErrorCode::InvalidFrame),
                ("{\"a\": [1], \"b\": \"c\"}", ErrorCode::InvalidFrame),
                ("1e999", ErrorCode::InvalidJson),
                ("[1e999]", ErrorCode::InvalidJson),
                ("[\"\\ud800\"]", ErrorCode::InvalidJson),
                ("{\"a\" 1}", ErrorCode::InvalidJson),
                ("[0,", ErrorCode::InvalidJson),
                (&deep, ErrorCode::InvalidJson),
            ] {
                let frame = format!(r#"{{"{field}": {value}}}"#);
                assert_eq!(code(&frame), Err(expected), "{frame:.80}");
            }
            let twice = format!(r#"{{"{field}": "ping", "{field}": "ping"}}"#);
            assert_eq!(code(&twice), Err(ErrorCode::InvalidFrame), "{field}");
        }
    }

    #[test]
    fn what_is_more_than_the_most_is_not_read() {
        let file = r#"{"a.txt": ""}"#;
        let media = format!("{},1", [file; MAX_MEDIA + 1].join(","));
        let frame = format!(r#"{{"type": "friendship", "channel": "{ID}", "media": [{media}]}}"#);
        let refused = ClientFrame::parse(&frame).expect_err("there are too many");
        assert_eq!(
            (refused.code, refused.detail.as_str()),
            (ErrorCode::InvalidFrame, "media has at most 10 items.")
        );
        let names = (0..=MAX_NAMED_CHANNELS + 10).map(|number| format!(r#""c{number}": 1"#));
        let channels: Vec<String> = names.collect();
        let frame = format!(
            r#"{{"type": "resume", "channels": {{{}}}}}"#,
            channels.join(",")
        );
        let ClientFrame::Resume(resume) = ClientFrame::parse(&frame).expect("a frame").frame else {
            panic!("it is a resume");
        };
        assert_eq!(resume.channels.len(), MAX_NAMED_CHANNELS + 1);
    }

    /// Whatever is in it: a number out of range, half a character.
    #[test]
    fn a_field_that_is_not_known_does_not_count() {
        for (tag, fields) in [
            ("ping", String::new()),
            ("typing", format!(r#","channel": "{ID}", "active": true"#)),
            (
                "friendship",
                format!(r#","channel": "{ID}", "payload": "x""#),
            ),
        ] {
            let frame = format!(r#"{{"type": "{tag}"{fields}, "x": [1e999, "\ud800"]}}"#);
            assert_eq!(code(&frame), Ok(()), "{tag}");
        }
        for fields in [
            format!(r#""channel": "{ID}""#),
            format!(r#""channel": "{ID}", "active": 1"#),
            format!(r#""channel": "{ID}", "active": true, "active": true"#),
            r#""active": true"#.to_owned(),
        ] {
            let frame = format!(r#"{{"type": "typing", {fields}}}"#);
            assert_eq!(code(&frame), Err(ErrorCode::InvalidFrame), "{fields}");
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
