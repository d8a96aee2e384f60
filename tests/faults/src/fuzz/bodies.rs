//! HTTP requests to every documented operation, and the answers.

mod made;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::Context;
use natter_e2e::World;
use natter_test_support::{Choices, PATIENCE, PNG};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::timeout};

use super::{
    BODIES_PASSWORD, Circle, Findings, Fuzz,
    wire::{self, Answer},
};
use made::{Ids, Maker, Request};

const TASKS: u64 = 4;
const DOCUMENTS: [&str; 3] = [
    include_str!("../../../../services/users/openapi.json"),
    include_str!("../../../../services/friendships/openapi.json"),
    include_str!("../../../../services/messages/openapi.json"),
];
/// What any request may be refused with, as HTTP.md has it.
const GENERAL: &[(u16, &str)] = &[
    (400, "bad_request"),
    (400, "invalid_host"),
    (400, "malformed_body"),
    (401, "not_authenticated"),
    (401, "token_not_valid"),
    (404, "not_found"),
    (405, "method_not_allowed"),
    (408, "request_timeout"),
    (413, "too_large"),
    (414, "uri_too_long"),
    (415, "unsupported_encoding"),
    (415, "unsupported_media_type"),
    (429, "rate_limited"),
    (431, "headers_too_large"),
    (503, "unavailable"),
];
/// What the answer ends with where an access token is no longer good.
const TOKEN_NOT_VALID: &[u8] = b"not valid for any token type\"}";
const TOLD_BYTES: usize = 1_500;

/// An operation of one of the documents.
struct Operation {
    method: String,
    path: String,
    /// The names of its query's fields.
    query: Vec<String>,
    /// The names of its body's fields.
    body: Vec<String>,
    /// What it may be answered with: a status, and of an error its code.
    documented: BTreeSet<(u16, String)>,
}

impl Operation {
    fn all() -> anyhow::Result<Vec<Self>> {
        let mut all = Vec::new();
        for document in DOCUMENTS {
            let document: Value = serde_json::from_str(document)?;
            let paths = document["paths"].as_object().context("paths")?;
            for (path, methods) in paths {
                let methods = methods.as_object().context("methods")?;
                for (method, operation) in methods {
                    all.push(Self::of(&document, path, method, operation));
                }
            }
        }
        Ok(all)
    }

    fn of(document: &Value, path: &str, method: &str, operation: &Value) -> Self {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let query = parameters.filter(|one| one["in"] == "query");
        let query = query.filter_map(|one| one["name"].as_str().map(str::to_owned));
        let mut body = Vec::new();
        let forms = operation["requestBody"]["content"].as_object();
        for form in forms.into_iter().flat_map(|forms| forms.values()) {
            fields(document, &form["schema"], &mut body);
        }
        body.sort();
        body.dedup();
        let answers = operation["responses"].as_object().into_iter().flatten();
        let mut documented = BTreeSet::new();
        for (status, answer) in answers {
            let status = status.parse().unwrap_or_default();
            documented.insert((status, String::new()));
            let examples = answer["content"]["application/json"]["examples"].as_object();
            let codes = examples.into_iter().flat_map(|examples| examples.keys());
            documented.extend(codes.map(|code| (status, code.clone())));
        }
        Self {
            method: method.to_uppercase(),
            path: path.to_owned(),
            query: query.collect(),
            body,
            documented,
        }
    }

    fn has(&self, status: u16, code: &str) -> bool {
        self.documented.contains(&(status, code.to_owned()))
    }
}

/// The names of a schema's fields.
fn fields(document: &Value, schema: &Value, names: &mut Vec<String>) {
    let reference = schema["$ref"].as_str().and_then(|to| to.strip_prefix('#'));
    if let Some(schema) = reference.and_then(|to| document.pointer(to)) {
        fields(document, schema, names);
    }
    let properties = schema["properties"].as_object();
    names.extend(properties.into_iter().flat_map(|all| all.keys().cloned()));
    for list in ["allOf", "anyOf", "oneOf"] {
        for part in schema[list].as_array().into_iter().flatten() {
            fields(document, part, names);
        }
    }
}

/// Somebody who sends requests, one after the other.
struct Visitor {
    task: u64,
    url: String,
    maker: Maker,
    operations: Arc<Vec<Operation>>,
    findings: Findings,
    sent: Arc<AtomicU64>,
    left: u64,
}

/// Begins to send so many requests.
pub async fn tasks(
    world: &World,
    settings: Fuzz,
    sent: &Arc<AtomicU64>,
) -> anyhow::Result<JoinSet<Findings>> {
    let operations = Arc::new(Operation::all()?);
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let url = world.users();
        let ids = meet(&url).await;
        // Other choices than those of the frames.
        let choices = Choices::new(settings.seed, 1_000 + task);
        let visitor = Visitor {
            task,
            url,
            maker: Maker::new(choices, task, ids),
            operations: operations.clone(),
            findings: Findings::default(),
            sent: sent.clone(),
            left: settings.bodies / TASKS + u64::from(task < settings.bodies % TASKS),
        };
        tasks.spawn(visitor.run());
    }
    Ok(tasks)
}

/// People, and what they have.
async fn meet(url: &str) -> Ids {
    let circle = Circle::meet_with(url, BODIES_PASSWORD).await;
    let own = &circle.friends[0];
    let channel = format!(
        "{url}/api/messages/status/friendship/{}/messages/",
        circle.channel
    );
    let (status, item) = own.post(&channel, json!({"payload": "one"})).await;
    assert_eq!(status, 201, "{item}");
    let media = format!("{url}/api/messages/media/");
    let (status, media) = own.upload(&media, "file", "a.png", PNG).await;
    assert_eq!(status, 201, "{media}");
    let (status, sessions) = own.get(&format!("{url}/api/users/sessions/")).await;
    assert_eq!(status, 200, "{sessions}");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ids {
        message: text(&item["message"]["id"]),
        media: text(&media["id"]),
        session: text(&sessions[0]["sid"]),
        circle,
    }
}

impl Visitor {
    async fn run(mut self) -> Findings {
        let address = self.url.trim_start_matches("http://").to_owned();
        let operations = self.operations.clone();
        while self.left > 0 {
            self.left -= 1;
            let operation = self.maker.choices.of(&operations);
            let request = self.maker.request(operation, &address);
            let asking = wire::ask(&address, &request.bytes, request.is_whole);
            let answer = match timeout(PATIENCE, asking).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(error)) => {
                    self.violation(&format!("{error:#}"), &request);
                    break;
                }
                Err(_) => {
                    self.violation("it hangs", &request);
                    break;
                }
            };
            self.sent.fetch_add(1, Ordering::Relaxed);
            let Some(answer) = answer else {
                self.findings.count("http no answer");
                if request.is_whole {
                    self.violation("no answer", &request);
                }
                continue;
            };
            if let Some(wrong) = self.wrong(operation, &request, &answer) {
                self.violation(&format!("{wrong}: {}", shown(&answer)), &request);
            }
            // The session was ended, or the account deleted.
            if request.is_authorized && answer.body.ends_with(TOKEN_NOT_VALID) {
                self.maker.ids = meet(&self.url).await;
                self.findings.count("http began again");
            }
        }
        self.findings
    }

    fn violation(&mut self, what: &str, request: &Request) {
        let task = self.task;
        let request = String::from_utf8_lossy(&request.bytes);
        // Too long to be read past.
        let request = request.replace(&self.maker.ids.circle.friends[0].access, "<access>");
        let request = &request.as_bytes()[..request.len().min(TOLD_BYTES)];
        let request = request.escape_ascii();
        self.findings
            .violation(format!("HTTP, task {task}: {what}\n    to {request}"));
    }

    /// What is wrong with an answer.
    fn wrong(&mut self, asked: &Operation, request: &Request, answer: &Answer) -> Option<String> {
        let status = answer.status;
        let body = serde_json::from_slice::<Value>(&answer.body);
        let code = match &body {
            Ok(body) if status >= 400 => body["code"].as_str().unwrap_or_default(),
            _ => "",
        };
        self.findings
            .count(format!("http {status} {code}").trim_end());
        if request.is_head {
            // A refusal is told by its status alone, unless it was no request at all.
            let is_right = code == "bad_request" || answer.body.is_empty();
            let is_right = is_right && (status < 500 || status == 503);
            return (!is_right).then(|| "no answer to HEAD".to_owned());
        }
        let is_general = GENERAL.contains(&(status, code));
        if request.is_as_documented && !asked.has(status, code) && !is_general {
            return Some("it is not documented for this operation".to_owned());
        }
        if status < 400 {
            return wrong_success(request, answer, body.is_ok());
        }
        let is_known = self.operations.iter().any(|one| one.has(status, code));
        if !is_known && !is_general || status == 500 {
            return Some("no documented error".to_owned());
        }
        wrong_error(answer, &body.unwrap_or_default())
    }
}

fn wrong_success(request: &Request, answer: &Answer, is_json: bool) -> Option<String> {
    let has_json = answer.header("content-type") == Some("application/json");
    let is_plain = answer.header("content-encoding").is_none();
    match answer.status {
        200 | 201 if has_json && is_plain && !is_json => Some("its body is no JSON".to_owned()),
        200 | 201 | 206 => None,
        204 if answer.body.is_empty() => None,
        304 if request.has_odd_header => None,
        _ => Some("no such success is documented".to_owned()),
    }
}

fn wrong_error(answer: &Answer, body: &Value) -> Option<String> {
    let text = |name: &str| body[name].is_string();
    // The server's own refusals, which no service has seen, say it under both.
    if !text("error") && !text("detail") {
        return Some("its body does not say what is wrong".to_owned());
    }
    let needs = match answer.status {
        401 => "www-authenticate",
        405 => "allow",
        429 | 503 => "retry-after",
        _ => "content-type",
    };
    let lacks = answer.header(needs).is_none();
    let is_json = answer.header("content-type") == Some("application/json");
    (lacks || !is_json).then(|| format!("it lacks {needs}, or is said to be no JSON"))
}

fn shown(answer: &Answer) -> String {
    let body = answer.body[..answer.body.len().min(TOLD_BYTES)].escape_ascii();
    format!("{} {:?} {body}", answer.status, answer.headers)
}
