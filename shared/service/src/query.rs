//! What stands in a request's URL: query parameters, read once for parsing and for the links of a
//! page, and the id in its path.

use std::{convert::Infallible, str::FromStr};

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};

use crate::Problem;

/// The query of a request, decoded, in its order.
#[derive(Clone, Debug, Default)]
pub struct Params(pub(crate) Vec<(String, String)>);

impl Params {
    /// A query, as it stands after the question mark.
    pub fn of(query: &str) -> Result<Self, Problem> {
        let pairs = serde_urlencoded::from_str(query);
        pairs.map(Self).map_err(|_| Problem::invalid_query())
    }

    /// The last value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::of(parts.uri.query().unwrap_or_default())
    }
}

/// The id in the path; `None` for what is no id, which names nothing that there is.
pub struct PathId<T>(pub Option<T>);

impl<S: Send + Sync, T: FromStr> FromRequestParts<S> for PathId<T> {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let text = Path::<String>::from_request_parts(parts, state).await;
        Ok(Self(text.ok().and_then(|Path(text)| text.parse().ok())))
    }
}
