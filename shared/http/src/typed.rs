//! The fields of a body as a type of their own, which its `Deserialize` reads and its `ToSchema`
//! documents.

use std::{fmt, str::FromStr};

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{
        DeserializeOwned, Error, Expected, IntoDeserializer, Unexpected, Visitor,
        value::MapDeserializer,
    },
    forward_to_deserialize_any,
};

use crate::{Fields, body::Value};

/// A field that is not of its type.
#[derive(Debug, PartialEq, Eq)]
pub struct WrongField {
    name: String,
    what: String,
}

impl WrongField {
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl std::error::Error for WrongField {}

impl fmt::Display for WrongField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}.", self.name, self.what)
    }
}

impl Error for WrongField {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self {
            name: String::new(),
            what: format!("is not as documented: {text}"),
        }
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self {
            name: String::new(),
            what: format!("must be {expected}"),
        }
    }
}

impl Fields {
    /// The fields that a struct names, read in the order of the struct; others are ignored.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, WrongField> {
        T::deserialize(self)
    }
}

impl<'de> Deserializer<'de> for &'de Fields {
    type Error = WrongField;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, WrongField> {
        let named = names.iter().filter_map(|name| {
            let field = Field {
                name,
                value: self.values.get(*name)?,
                is_form: self.is_form,
            };
            Some((*name, field))
        });
        visitor.visit_map(MapDeserializer::new(named))
    }

    /// A body is read as a struct and as nothing else.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongField> {
        Err(Error::invalid_type(Unexpected::Map, &visitor))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// The value of one field, and its name for error messages.
struct Field<'a> {
    name: &'static str,
    value: &'a Value,
    is_form: bool,
}

impl<'a> IntoDeserializer<'a, WrongField> for Field<'a> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl Field<'_> {
    fn must_be<T>(&self, what: &str) -> Result<T, WrongField> {
        Err(WrongField {
            name: self.name.to_owned(),
            what: format!("must be {what}"),
        })
    }

    fn named<T>(&self, read: Result<T, WrongField>) -> Result<T, WrongField> {
        read.map_err(|wrong| WrongField {
            name: self.name.to_owned(),
            ..wrong
        })
    }
}

impl<'de> Deserializer<'de> for Field<'de> {
    type Error = WrongField;

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongField> {
        match self.value {
            Value::Text(text) => self.named(visitor.visit_borrowed_str(text)),
            _ => self.must_be("a text"),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongField> {
        self.deserialize_str(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, WrongField> {
        match self.value {
            Value::Text(text) => self.named(visitor.visit_enum(text.as_str().into_deserializer())),
            _ => self.must_be("a text"),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongField> {
        match self.value {
            Value::Json(json) => {
                let mut json = serde_json::Deserializer::from_str(json.get());
                self.named(json.deserialize_seq(visitor).map_err(Error::custom))
            }
            _ => self.must_be("a list"),
        }
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongField> {
        match self.value {
            Value::File(file) if !file.is_none() => visitor.visit_borrowed_bytes(&file.bytes),
            value if value.is_empty() => visitor.visit_none(),
            Value::Null => visitor.visit_none(),
            _ => self.must_be("a file"),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongField> {
        self.deserialize_bytes(visitor)
    }

    /// An input of a form that was left empty reads as null.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongField> {
        let is_none = match self.value {
            Value::Null => true,
            value => self.is_form && value.is_empty(),
        };
        if is_none {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, WrongField> {
        match self.value {
            Value::Text(_) => self.deserialize_str(visitor),
            Value::Json(json) => {
                let mut json = serde_json::Deserializer::from_str(json.get());
                self.named(json.deserialize_any(visitor).map_err(Error::custom))
            }
            Value::Null => visitor.visit_unit(),
            Value::File(_) => self.deserialize_bytes(visitor),
            Value::Repeated => self.must_be("sent once"),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char unit unit_struct newtype_struct
        tuple tuple_struct map struct identifier ignored_any
    }
}

/// A text that is not empty and can be read as `T`; whatever else is sent is as good as nothing.
#[derive(Debug)]
pub struct Filled<T = String>(pub Option<T>);

impl<'de, T: FromStr> Deserialize<'de> for Filled<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Option::<String>::deserialize(deserializer).unwrap_or_default();
        let text = text.filter(|text| !text.is_empty());
        Ok(Self(text.and_then(|text| text.parse().ok())))
    }
}

/// Tells a field that is sent, be it null, from one that is not; with `#[serde(default)]`.
pub fn sent<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// The bytes of a file; `None` for an input that was left empty, for null and for an empty text.
#[derive(Debug)]
pub struct File(pub Option<Bytes>);

impl<'de> Deserialize<'de> for File {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(FileVisitor)
    }
}

struct FileVisitor;

impl Visitor<'_> for FileVisitor {
    type Value = File;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a file")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<File, E> {
        Ok(File(Some(Bytes::copy_from_slice(bytes))))
    }

    fn visit_none<E: Error>(self) -> Result<File, E> {
        Ok(File(None))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use axum::{
        body::Body,
        extract::FromRequest,
        http::{Request, header},
    };

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Sent {
        name: Filled,
        number: Filled<u32>,
        title: Option<String>,
        #[serde(default, deserialize_with = "sent")]
        nickname: Option<Option<String>>,
        #[expect(dead_code, reason = "only its type counts")]
        tags: Option<Vec<HashMap<String, String>>>,
        colour: Option<Colour>,
        picture: Option<File>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Colour {
        Red,
    }

    async fn read(content_type: &str, body: &str) -> Result<Sent, String> {
        let request = Request::post("/")
            .header(header::CONTENT_TYPE, content_type)
            .body(Body::from(body.to_owned()))
            .expect("a request");
        let fields = Fields::from_request(request, &()).await.expect("fields");
        fields.read().map_err(|wrong| wrong.to_string())
    }

    const MULTIPART: &str = "multipart/form-data; boundary=x";

    fn part(name: &str, filename: &str, text: &str) -> String {
        format!(
            "--x\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{filename}\"\r\n\r\n{text}\r\n--x--\r\n"
        )
    }

    async fn json(body: &str) -> Result<Sent, String> {
        read("application/json", body).await
    }

    async fn form(body: &str) -> Result<Sent, String> {
        read("application/x-www-form-urlencoded", body).await
    }

    #[tokio::test]
    async fn a_field_that_is_to_be_filled_is_a_text_or_nothing() {
        for body in [
            "{}",
            r#"{"name": ""}"#,
            r#"{"name": 1}"#,
            r#"{"name": ["a"]}"#,
            r#"{"name": null}"#,
        ] {
            assert_eq!(json(body).await.expect(body).name.0, None, "{body}");
        }
        let sent = json(r#"{"name": "a", "number": "7"}"#).await.expect("read");
        assert_eq!(
            (sent.name.0.as_deref(), sent.number.0),
            (Some("a"), Some(7))
        );
        let sent = form("name=a&number=seven").await.expect("read");
        assert_eq!((sent.name.0.as_deref(), sent.number.0), (Some("a"), None));
    }

    #[tokio::test]
    async fn null_is_sent_and_an_empty_input_of_a_form_is_null() {
        let sent = json(r#"{"nickname": null, "title": ""}"#).await;
        let sent = sent.expect("read");
        assert_eq!(
            (sent.nickname, sent.title.as_deref()),
            (Some(None), Some(""))
        );
        let sent = form("nickname=&title=").await.expect("read");
        assert_eq!((sent.nickname, sent.title), (Some(None), None));
        assert_eq!(json("{}").await.expect("read").nickname, None);
    }

    #[tokio::test]
    async fn what_is_wrong_is_named() {
        for (body, expected) in [
            (r#"{"picture": "x"}"#, "picture must be a file."),
            (r#"{"picture": 1}"#, "picture must be a file."),
            (r#"{"tags": "x"}"#, "tags must be a list."),
            (r#"{"title": 1}"#, "title must be a text."),
            (r#"{"title": ["a"]}"#, "title must be a text."),
            (r#"{"colour": 1}"#, "colour must be a text."),
            // In the order of the struct, whichever came first.
            (r#"{"tags": 1, "title": 1}"#, "title must be a text."),
        ] {
            assert_eq!(json(body).await.expect_err(body), expected);
        }
        let green = json(r#"{"colour": "green"}"#).await.expect_err("green");
        assert!(green.starts_with("colour is not as documented: unknown variant"));
        let red = json(r#"{"colour": "red"}"#).await.expect("red");
        assert_eq!(red.colour, Some(Colour::Red));
        let file = read(MULTIPART, &part("title", "a.txt", "bytes")).await;
        assert_eq!(file.expect_err("a file"), "title must be a text.");
        let twice = form("title=a&title=b").await;
        assert_eq!(twice.expect_err("twice"), "title must be a text.");
    }

    #[tokio::test]
    async fn what_no_field_of_the_struct_is_called_does_not_count() {
        assert!(form("other=a&other=b").await.is_ok());
        let sent = json(r#"{"other": 1e999, "another": {"\ud800": 1}, "title": "a"}"#).await;
        assert_eq!(sent.expect("read").title.as_deref(), Some("a"));
    }

    #[tokio::test]
    async fn a_file_is_its_bytes_and_none_where_none_was_chosen() {
        let sent = read(MULTIPART, &part("picture", "a.png", "bytes"))
            .await
            .expect("read");
        let bytes = sent.picture.and_then(|file| file.0).expect("a file");
        assert_eq!(&*bytes, b"bytes");
        let sent = read(MULTIPART, &part("picture", "", ""))
            .await
            .expect("read");
        assert!(sent.picture.and_then(|file| file.0).is_none());
        let sent = json(r#"{"picture": ""}"#).await.expect("read");
        assert!(sent.picture.and_then(|file| file.0).is_none());
    }
}
