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
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{Problem, disposition::Disposition};

/// The largest body that has no file in it, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// How many fields a body may have. Each costs far more memory than its bytes, of which two are
/// enough.
const MAX_FIELDS: usize = 256;

/// The largest body of the routes below it, in bytes, of each kind. A form that is not multipart
/// never has a file.
#[derive(Clone, Copy)]
pub struct BodyLimit {
    json: usize,
    multipart: usize,
}

impl BodyLimit {
    /// For routes to which no file can be sent.
    pub const NO_FILE: Self = Self {
        json: MAX_BODY_BYTES,
        multipart: MAX_BODY_BYTES,
    };

    /// For routes to which a file can be sent, as a part of a multipart body.
    pub const fn multipart(bytes: usize) -> Self {
        Self {
            multipart: bytes,
            ..Self::NO_FILE
        }
    }

    /// For routes to which a file can be sent as base64 in JSON too.
    pub const fn multipart_or_json(bytes: usize) -> Self {
        Self {
            json: bytes,
            multipart: bytes,
        }
    }

    fn of(self, content_type: Option<&str>) -> usize {
        match content_type {
            Some(JSON) => self.json,
            Some(FORM) => MAX_BODY_BYTES,
            _ => self.multipart,
        }
    }
}

/// Holds the bodies of the routes below it to a limit.
pub fn body_limit(limit: BodyLimit) -> Extension<BodyLimit> {
    Extension(limit)
}

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data";

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
        let pairs = bytes.split(|byte| *byte == b'&');
        let mut pairs = pairs.filter(|pair| !pair.is_empty());
        if pairs.nth(MAX_FIELDS).is_some() {
            return Err(too_many_fields());
        }
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
        if entries.len() > MAX_FIELDS {
            return Err(too_many_fields());
        }
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
            if values.len() == MAX_FIELDS {
                return Err(too_many_fields());
            }
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

fn too_many_fields() -> Problem {
    let text = format!("The request body has more than {MAX_FIELDS} fields.");
    Problem::malformed_body(text)
}

/// A JSON object with every entry that it has: a map would keep the last of two with one name. Of
/// one that has more than [`MAX_FIELDS`], the first that is too many, and none after it.
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
        while entries.len() <= MAX_FIELDS
            && let Some(entry) = map.next_entry()?
        {
            entries.push(entry);
        }
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
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

async fn read<S: Send + Sync>(mut request: Request, state: &S) -> Result<Entries, Problem> {
    let mut encodings = request.headers().get_all(header::CONTENT_ENCODING).iter();
    if !encodings.all(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Problem::unsupported_encoding());
    }
    let essence = content_type(&request);
    let essence = essence.as_deref();
    let limit = request.extensions().get::<BodyLimit>();
    let limit = limit.unwrap_or(&BodyLimit::NO_FILE).of(essence);
    // A body that announces too great a length is refused before it is sent.
    if announced_length(&request) > limit {
        return Err(Problem::body_too_large());
    }
    DefaultBodyLimit::max(limit).apply(&mut request);
    if essence == Some(MULTIPART) {
        return Entries::of_multipart(request).await;
    }
    let bytes = Bytes::from_request(request, state)
        .await
        .map_err(refuse_bytes)?;
    match essence {
        Some(JSON) => Entries::of_json(&bytes),
        Some(FORM) => Entries::of_form(&bytes),
        None if bytes.is_empty() => Ok(Entries::default()),
        _ => Err(Problem::unsupported_media_type()),
    }
}

fn announced_length(request: &Request) -> usize {
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    length.unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    const PARTS: &str = "multipart/form-data; boundary=x";

    async fn read(content_type: &str, body: String, limit: BodyLimit) -> Result<Fields, Problem> {
        let request = Request::post("/")
            .header(header::CONTENT_TYPE, content_type)
            .extension(limit)
            .body(Body::from(body))
            .expect("a request");
        Fields::from_request(request, &()).await
    }

    fn part(name: &str, text: &str) -> String {
        format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n")
    }

    /// A body of each kind with so many fields.
    fn bodies(fields: usize) -> [(&'static str, String); 3] {
        let names: Vec<String> = (0..fields).map(|number| format!("f{number}")).collect();
        let entries: Vec<String> = names.iter().map(|name| format!("\"{name}\":0")).collect();
        let parts: String = names.iter().map(|name| part(name, "")).collect();
        [
            (FORM, names.join("&")),
            (JSON, format!("{{{}}}", entries.join(","))),
            (PARTS, format!("{parts}--x--\r\n")),
        ]
    }

    /// Each field costs some hundred bytes of memory, however short it is.
    #[tokio::test]
    async fn a_body_of_too_many_fields_is_refused() {
        let limit = BodyLimit::multipart_or_json(1 << 20);
        for (content_type, body) in bodies(MAX_FIELDS) {
            let fields = read(content_type, body, limit).await.expect(content_type);
            assert_eq!(fields.values.len(), MAX_FIELDS, "{content_type}");
        }
        let same = [
            (FORM, "a&".repeat(MAX_FIELDS + 1)),
            (PARTS, part("a", "").repeat(MAX_FIELDS + 1) + "--x--\r\n"),
        ];
        for (content_type, body) in bodies(MAX_FIELDS + 1).into_iter().chain(same) {
            let refused = read(content_type, body, limit)
                .await
                .expect_err(content_type);
            assert_eq!(
                (refused.status.as_u16(), refused.code, &*refused.text),
                (
                    400,
                    "malformed_body",
                    "The request body has more than 256 fields."
                ),
                "{content_type}"
            );
        }
        // What the form does not count as a field is none.
        let empty = "&".repeat(1_000) + "a=b&";
        let fields = read(FORM, empty, limit).await.expect("a form");
        assert_eq!(fields.values.len(), 1);
        // Whatever follows, what is no JSON is said to be none.
        let mut broken = bodies(MAX_FIELDS + 10)[1].1.clone();
        broken.pop();
        let refused = read(JSON, broken, limit).await.expect_err("broken");
        assert_eq!(refused.text, "The request body is not a JSON object.");
    }

    #[tokio::test]
    async fn what_can_have_no_file_is_held_to_the_limit_without_one() {
        const LARGER: usize = 1 << 20;
        let multipart = BodyLimit::multipart(LARGER);
        let either = BodyLimit::multipart_or_json(LARGER);
        let of = |content_type: &str, bytes: usize| match content_type {
            JSON => format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8)),
            FORM => format!("a={}", "x".repeat(bytes - 2)),
            _ => {
                let rest = part("a", "").len() + "--x--".len();
                part("a", &"x".repeat(bytes - rest)) + "--x--"
            }
        };
        for (limit, content_type, most) in [
            (BodyLimit::NO_FILE, JSON, MAX_BODY_BYTES),
            (BodyLimit::NO_FILE, FORM, MAX_BODY_BYTES),
            (BodyLimit::NO_FILE, PARTS, MAX_BODY_BYTES),
            (multipart, JSON, MAX_BODY_BYTES),
            (multipart, FORM, MAX_BODY_BYTES),
            (multipart, PARTS, LARGER),
            (either, JSON, LARGER),
            (either, FORM, MAX_BODY_BYTES),
            (either, PARTS, LARGER),
        ] {
            let longest = of(content_type, most);
            assert_eq!(longest.len(), most);
            let fields = read(content_type, longest, limit).await;
            assert_eq!(fields.expect(content_type).values.len(), 1);
            let refused = read(content_type, of(content_type, most + 1), limit).await;
            let refused = refused.expect_err(content_type);
            assert_eq!(
                (refused.status.as_u16(), refused.code),
                (413, "too_large"),
                "{content_type} {most}"
            );
        }
    }
}
