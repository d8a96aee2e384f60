//! Request bodies: JSON, form or multipart, read into one shape.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
};

use axum::{
    Extension,
    extract::{DefaultBodyLimit, FromRequest, Multipart, Request, rejection::BytesRejection},
    http::{StatusCode, header},
};
use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{Problem, disposition::Disposition};

/// The largest body of the routes below it, in bytes.
pub fn body_limit(bytes: usize) -> (Extension<BodyLimit>, DefaultBodyLimit) {
    (Extension(BodyLimit(bytes)), DefaultBodyLimit::max(bytes))
}

#[derive(Clone, Copy)]
pub struct BodyLimit(usize);

/// The top-level fields of a body, however it was encoded. A request without a body has none.
#[derive(Debug, Default)]
pub struct Fields {
    pub(crate) values: HashMap<String, Value>,
    /// True for a form, where an input that was left empty is sent as an empty text.
    pub(crate) is_form: bool,
}

/// Fields beside files, of which several may have one name, as the inputs of a page do.
pub struct FieldsAndFiles {
    pub fields: Fields,
    /// Every file that was chosen, with its field's name, in their order.
    pub files: Vec<(String, Upload)>,
}

#[derive(Debug)]
pub(crate) enum Value {
    Text(String),
    Null,
    /// A JSON value that is neither text nor null, as it was sent.
    Json(Box<RawValue>),
    File(Upload),
    /// Several of this name in a form. No field is a list, so it is of the wrong type.
    Repeated,
}

impl Value {
    /// Whether this is what a page sends for an input that was left empty.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::File(file) => file.is_none(),
            Self::Null | Self::Json(_) | Self::Repeated => false,
        }
    }
}

#[derive(Debug)]
pub struct Upload {
    pub filename: String,
    /// The content type that the part's own header gives.
    pub content_type: Option<String>,
    pub bytes: Bytes,
}

impl Upload {
    /// Whether this is what browsers send for a file input in which no file was chosen.
    pub fn is_none(&self) -> bool {
        self.filename.is_empty() && self.bytes.is_empty()
    }
}

/// What a body has, before two of one name are refused.
#[derive(Default)]
struct Entries {
    values: Vec<(String, Value)>,
    is_form: bool,
}

impl Entries {
    fn into_fields(self) -> Result<Fields, Problem> {
        let mut values = HashMap::with_capacity(self.values.len());
        for (name, value) in self.values {
            // Whichever counted, something that was sent would be dropped.
            match values.entry(name) {
                Entry::Vacant(entry) => drop(entry.insert(value)),
                Entry::Occupied(_) if !self.is_form => {
                    let text = "The request body has a field twice.";
                    return Err(Problem::malformed_body(text));
                }
                // A page sends an empty input beside the one that was used.
                Entry::Occupied(_) if value.is_empty() => {}
                Entry::Occupied(mut entry) if entry.get().is_empty() => drop(entry.insert(value)),
                Entry::Occupied(mut entry) => drop(entry.insert(Value::Repeated)),
            }
        }
        Ok(Fields {
            values,
            is_form: self.is_form,
        })
    }

    fn take_files(&mut self) -> Vec<(String, Upload)> {
        let values = std::mem::take(&mut self.values);
        let mut files = Vec::new();
        for (name, value) in values {
            match value {
                Value::File(file) if file.is_none() => {}
                Value::File(file) => files.push((name, file)),
                value => self.values.push((name, value)),
            }
        }
        files
    }

    fn of_form(bytes: &[u8]) -> Result<Self, Problem> {
        let pairs: Vec<(String, String)> = serde_urlencoded::from_bytes(bytes)
            .map_err(|_| Problem::malformed_body("The request body is not a form."))?;
        let values = pairs.into_iter();
        let values = values.map(|(name, text)| (name, Value::Text(text)));
        Ok(Self {
            values: values.collect(),
            is_form: true,
        })
    }

    fn of_json(bytes: &[u8]) -> Result<Self, Problem> {
        let refuse = |_| Problem::malformed_body("The request body is not a JSON object.");
        let JsonEntries(entries) = serde_json::from_slice(bytes).map_err(refuse)?;
        let values = entries.into_iter().map(|(name, value)| {
            let value = match value.get() {
                "null" => Value::Null,
                text if text.starts_with('"') => {
                    Value::Text(serde_json::from_str(text).map_err(refuse)?)
                }
                _ => Value::Json(value),
            };
            Ok((name, value))
        });
        Ok(Self {
            values: values.collect::<Result<_, _>>()?,
            is_form: false,
        })
    }

    async fn of_multipart(request: Request) -> Result<Self, Problem> {
        let refuse = |status: StatusCode| match status {
            StatusCode::PAYLOAD_TOO_LARGE => Problem::body_too_large(),
            _ => Problem::malformed_body("The multipart body is malformed."),
        };
        let mut multipart = Multipart::from_request(request, &())
            .await
            .map_err(|rejection| refuse(rejection.status()))?;
        let mut values = Vec::new();
        while let Some(field) = multipart
            .next_field()
            .await
            .map_err(|error| refuse(error.status()))?
        {
            let header = field.headers().get(header::CONTENT_DISPOSITION);
            let described = match header {
                Some(header) => Disposition::parse(header.as_bytes()),
                None => Some(Disposition::default()),
            };
            let too_long = || Problem::malformed_body("A part's Content-Disposition is too long.");
            let Disposition { name, filename } = described.ok_or_else(too_long)?;
            let content_type = field.content_type().map(str::to_owned);
            let bytes = field
                .bytes()
                .await
                .map_err(|error| refuse(error.status()))?;
            let value = match filename {
                Some(filename) => Value::File(Upload {
                    filename,
                    content_type,
                    bytes,
                }),
                None => Value::Text(
                    String::from_utf8(bytes.into())
                        .map_err(|_| Problem::malformed_body("A text field is not UTF-8."))?,
                ),
            };
            values.push((name, value));
        }
        Ok(Self {
            values,
            is_form: true,
        })
    }
}

/// A JSON object with every entry that it has: a map would keep the last of two with one name.
struct JsonEntries(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for JsonEntries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(AllEntries)
    }
}

struct AllEntries;

impl<'de> Visitor<'de> for AllEntries {
    type Value = JsonEntries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonEntries, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(JsonEntries(entries))
    }
}

impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        read(request, state).await?.into_fields()
    }
}

impl<S: Send + Sync> FromRequest<S> for FieldsAndFiles {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let mut entries = read(request, state).await?;
        Ok(Self {
            files: entries.take_files(),
            fields: entries.into_fields()?,
        })
    }
}

async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<Entries, Problem> {
    let mut encodings = request.headers().get_all(header::CONTENT_ENCODING).iter();
    if !encodings.all(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Problem::unsupported_encoding());
    }
    // A body that announces too great a length is refused before it is sent.
    if announced_length(&request) > limit(&request) {
        return Err(Problem::body_too_large());
    }
    let essence = content_type(&request);
    if essence.as_deref() == Some("multipart/form-data") {
        return Entries::of_multipart(request).await;
    }
    let bytes = Bytes::from_request(request, state)
        .await
        .map_err(refuse_bytes)?;
    match essence.as_deref() {
        Some("application/json") => Entries::of_json(&bytes),
        Some("application/x-www-form-urlencoded") => Entries::of_form(&bytes),
        None if bytes.is_empty() => Ok(Entries::default()),
        _ => Err(Problem::unsupported_media_type()),
    }
}

fn announced_length(request: &Request) -> usize {
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    length.unwrap_or_default()
}

fn limit(request: &Request) -> usize {
    let limit = request.extensions().get::<BodyLimit>();
    limit.map_or(usize::MAX, |limit| limit.0)
}

/// The content type without its parameters, in lower case.
fn content_type(request: &Request) -> Option<String> {
    let value = request.headers().get(header::CONTENT_TYPE)?;
    // A content type that is not even text counts as one that is not known.
    let value = value.to_str().unwrap_or("?");
    let essence = value.split(';').next().unwrap_or_default();
    Some(essence.trim().to_ascii_lowercase())
}

fn refuse_bytes(rejection: BytesRejection) -> Problem {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::body_too_large(),
        _ => Problem::malformed_body("The request body could not be read."),
    }
}
