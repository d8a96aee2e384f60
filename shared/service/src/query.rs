//! Query parameters, read once for parsing and for the links of a page.

use axum::{extract::FromRequestParts, http::request::Parts};

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
