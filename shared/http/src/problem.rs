//! The one error answer: a status, a stable `code` and a text, under the key the contract names.

use std::borrow::Cow;

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, Response, StatusCode, header},
    response::IntoResponse,
};
use serde_json::{Value, json};

/// Seconds that a client is asked to wait when a dependency is down.
const RETRY_AFTER_SECONDS: u32 = 2;

/// Under which key an error's text stands in its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKey {
    /// `{"error": …}`: users, messages, and the pages
    Error,
    /// `{"detail": …}`: friendships, the gateway, and every authentication failure
    Detail,
}

impl ErrorKey {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Detail => "detail",
        }
    }
}

/// An error on its way to a client. [`crate::wrap()`] gives it its body.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct Problem {
    pub status: StatusCode,
    pub code: &'static str,
    pub text: Cow<'static, str>,
    /// `None`: the key of the service.
    key: Option<ErrorKey>,
    retry_after: Option<u32>,
    /// A header that says what would be understood: its name in lower case, and its value.
    header: Option<&'static (&'static str, &'static str)>,
}

impl Problem {
    pub fn new(status: StatusCode, code: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            code,
            text: text.into(),
            key: None,
            retry_after: None,
            header: None,
        }
    }

    /// With a header that says what would be understood.
    pub fn with_header(self, header: &'static (&'static str, &'static str)) -> Self {
        Self {
            header: Some(header),
            ..self
        }
    }

    /// Under `detail` in every service.
    pub fn under_detail(self) -> Self {
        Self {
            key: Some(ErrorKey::Detail),
            ..self
        }
    }

    pub fn bad_request(code: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, text)
    }

    pub fn invalid_query() -> Self {
        Self::bad_request("invalid_query", "Invalid query parameters.")
    }

    pub fn malformed_body(text: impl Into<Cow<'static, str>>) -> Self {
        Self::bad_request("malformed_body", text)
    }

    pub(crate) fn body_too_large() -> Self {
        Self::of_status(StatusCode::PAYLOAD_TOO_LARGE)
    }

    pub(crate) fn uri_too_long() -> Self {
        let text = "The request's address is too long.";
        Self::new(StatusCode::URI_TOO_LONG, "uri_too_long", text)
    }

    pub(crate) fn headers_too_large() -> Self {
        let text = "The request's headers are too large.";
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        Self::new(status, "headers_too_large", text)
    }

    pub fn not_found() -> Self {
        Self::of_status(StatusCode::NOT_FOUND)
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::of_status(StatusCode::METHOD_NOT_ALLOWED)
    }

    pub(crate) fn body_too_slow() -> Self {
        Self::of_status(StatusCode::REQUEST_TIMEOUT)
    }

    pub(crate) fn unsupported_media_type() -> Self {
        Self::of_status(StatusCode::UNSUPPORTED_MEDIA_TYPE)
    }

    pub(crate) fn unsupported_encoding() -> Self {
        let text = "This content encoding is not supported: send the body as it is.";
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_encoding",
            text,
        )
        .with_header(&("accept-encoding", "identity"))
    }

    /// An authentication failure: under `detail` in every service, with its challenge.
    fn unauthenticated(code: &'static str, text: &'static str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code, text).under_detail()
    }

    /// No access token.
    pub fn not_authenticated() -> Self {
        Self::unauthenticated(
            "not_authenticated",
            "Authentication credentials were not provided.",
        )
    }

    /// A bad, expired or revoked access token.
    pub fn token_not_valid() -> Self {
        Self::unauthenticated(
            "token_not_valid",
            "Given token not valid for any token type",
        )
    }

    /// Too often; to be tried again after that many seconds.
    pub fn rate_limited(seconds: u32) -> Self {
        Self {
            retry_after: Some(seconds),
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limited",
                "Too many attempts; try again later.",
            )
        }
    }

    /// A dependency is down.
    pub fn unavailable() -> Self {
        Self {
            retry_after: Some(RETRY_AFTER_SECONDS),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "The service is unavailable right now; try again shortly.",
            )
        }
    }

    /// A defect of ours. Says nothing about it to the client.
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal_error",
            "Something went wrong on our side.",
        )
    }

    /// The problem that a bare status stands for.
    fn of_status(status: StatusCode) -> Self {
        let (code, text) = match status {
            StatusCode::NOT_FOUND => ("not_found", "Not found."),
            StatusCode::METHOD_NOT_ALLOWED => ("method_not_allowed", "Method not allowed."),
            StatusCode::REQUEST_TIMEOUT => (
                "request_timeout",
                "The request body did not arrive in time.",
            ),
            StatusCode::PAYLOAD_TOO_LARGE => ("too_large", "The request body is too large."),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => (
                "unsupported_media_type",
                "This content type is not supported.",
            ),
            StatusCode::SERVICE_UNAVAILABLE => return Self::unavailable(),
            status if status.is_server_error() => return Self::internal(),
            _ => ("bad_request", "The request could not be understood."),
        };
        Self::new(status, code, text)
    }

    /// Where the text stands, in a service whose errors stand under `key`.
    pub(crate) fn key(&self, key: ErrorKey) -> ErrorKey {
        self.key.unwrap_or(key)
    }

    pub(crate) fn says_when_to_retry(&self) -> bool {
        self.retry_after.is_some()
    }

    pub(crate) fn json(&self, key: ErrorKey) -> Value {
        json!({self.key(key).as_str(): self.text, "code": self.code})
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> axum::response::Response {
        let mut response = self.status.into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some((name, value)) = self.header {
            let name = HeaderName::from_static(name);
            headers.insert(name, HeaderValue::from_static(value));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// Gives every error its JSON body, also those that the framework made without one.
pub(crate) fn render(key: ErrorKey, response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    let problem = match parts.extensions.remove::<Problem>() {
        Some(problem) => problem,
        None if parts.status.is_client_error() || parts.status.is_server_error() => {
            Problem::of_status(parts.status)
        }
        None => return Response::from_parts(parts, body),
    };
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    if let Some(seconds) = problem.retry_after {
        parts.headers.insert(header::RETRY_AFTER, seconds.into());
    }
    Response::from_parts(parts, Body::from(problem.json(key).to_string()))
}
