//! What stands in a request's URL: query parameters, which a type of their own reads and documents
//! as it does the fields of a body, and the id in its path.

use std::{convert::Infallible, str::FromStr};

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error},
};

use crate::{Fields, Problem, body::Value};

/// The query of a request, decoded, in its order.
#[derive(Clone, Debug, Default)]
pub struct Params(pub(crate) Vec<(String, String)>);

impl Params {
    /// A query, as it stands after the question mark.
    pub fn of(query: &str) -> Result<Self, Problem> {
        let pairs = serde_urlencoded::from_str(query);
        pairs.map(Self).map_err(|_| Problem::invalid_query())
    }

    /// The parameters as a type that names them; others are ignored, and of several with one name
    /// the last counts.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let values = self.0.iter().cloned();
        let fields = Fields {
            values: values
                .map(|(name, text)| (name, Value::Text(text)))
                .collect(),
            is_form: false,
        };
        fields.read().map_err(|_| Problem::invalid_query())
    }
}

/// A decimal number from 0. One too long for the machine is as large as can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number(pub u64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            Ok(Self(text.parse().unwrap_or(u64::MAX)))
        } else {
            Err(D::Error::custom("not a decimal number"))
        }
    }
}

/// `true` or `1`, `false` or `0`, in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flag(pub bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" => Ok(Self(true)),
            "false" | "0" => Ok(Self(false)),
            _ => Err(D::Error::custom("neither true nor false")),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::of(parts.uri.query().unwrap_or_default())
    }
}

/// The id in the path; `None` if the text there is not a valid id.
pub struct PathId<T>(pub Option<T>);

impl<S: Send + Sync, T: FromStr> FromRequestParts<S> for PathId<T> {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let text = Path::<String>::from_request_parts(parts, state).await;
        Ok(Self(text.ok().and_then(|Path(text)| text.parse().ok())))
    }
}
