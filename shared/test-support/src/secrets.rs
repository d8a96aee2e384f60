//! What must never stand in a log: tokens, passwords, and what people write.
//!
//! Every line that any process of the tests prints is looked through when the process is let go.

use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use crate::PASSWORD;

/// Shorter texts stand in logs by chance.
const LEAST: usize = 12;
/// How many texts of people are looked for.
const MOST: usize = 300;
/// How every token begins, whatever is in it.
const TOKEN: &str = "eyJ";
/// What a password of the set-up ends with.
const SETUP_PASSWORD: &str = "-secret";
/// What NATS tells a service that did something without permission.
const NOT_PERMITTED: &str = "Permissions Violation";
/// What NATS says to an answer that comes after it restarted: it has forgotten the question.
const LATE_ANSWER: &str = "Permissions Violation for Publish to \\\"_INBOX_";

static WRITTEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Notes what a person sends.
pub fn note(frame: &Value) {
    let Some(text) = frame["payload"].as_str().filter(|text| text.len() >= LEAST) else {
        return;
    };
    let mut written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
    if written.len() < MOST && !written.iter().any(|one| one == text) {
        written.push(text.to_owned());
    }
}

/// The first line that says what it must not.
pub fn leak(lines: &[String]) -> Option<&String> {
    let written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
    lines.iter().find(|line| {
        [TOKEN, PASSWORD, SETUP_PASSWORD]
            .iter()
            .any(|secret| line.contains(secret))
            || line.contains(NOT_PERMITTED) && !line.contains(LATE_ANSWER)
            || written.iter().any(|text| line.contains(text.as_str()))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_leaks_is_seen() {
        note(&json!({"payload": "Nobody's business but ours"}));
        note(&json!({"payload": "Hi"}));
        for line in [
            "token eyJhbGciOiJFZERTQSJ9.e30.c2ln",
            "password Str0ng!pass",
            "postgres://natter_users:postgres-secret@127.0.0.1/natter",
            "content=\"Nobody's business but ours\"",
            "nats: Permissions Violation for Publish to \"x\"",
        ] {
            assert!(leak(&[line.to_owned()]).is_some(), "{line}");
        }
        let late = r#"{"error":"nats: Permissions Violation for Publish to \"_INBOX_gateway.1\""}"#;
        for line in ["Hi, a line like others", late] {
            assert_eq!(leak(&[line.to_owned()]), None);
        }
    }
}
