//! Every documented error, with its exact body: what the documents list and what is tried here
//! must be the same. The cases are in `errors.json`, what holds for every operation is here.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use natter_e2e::{Topology, World};
use natter_test_support::{Friends, Person, befriend};
use reqwest::{
    Client, Method, RequestBuilder,
    multipart::{Form, Part},
};
use serde::Deserialize;
use serde_json::{Value, json};

const NOBODY: &str = "01a20000-0000-7000-8000-000000000000";
/// Errors without cases in `errors.json`: they cannot be caused on purpose, or have tests of their
/// own in `deadlines`, `failures`, `limits` and the users service; the 405 is tried with the rules for
/// every endpoint.
const TRIED_ELSEWHERE: [(u16, &str); 5] = [
    (405, "method_not_allowed"),
    (500, "internal_error"),
    (503, "unavailable"),
    (408, "request_timeout"),
    (429, "rate_limited"),
];

/// A case of `errors.json`: the operation, who sends the request (and the value of the path's
/// parameter), the request, and the status, code and text of the error.
#[derive(Deserialize)]
struct Case(String, Who, Request, u16, String, String);

#[derive(Deserialize)]
struct Who {
    r#as: Option<String>,
    #[serde(default)]
    at: String,
}

#[derive(Deserialize)]
struct Request {
    json: Option<Value>,
    query: Option<BTreeMap<String, String>>,
    /// The name of the form's field, the name of the file, and its length in bytes.
    file: Option<(String, String, usize)>,
    range: Option<String>,
}

/// An operation of one of the documents.
#[derive(Clone)]
struct Operation {
    method: Method,
    path: String,
    /// Under which key its own errors stand.
    key: &'static str,
    has_body: bool,
    needs_token: bool,
    /// What it may be refused with: status and code.
    documented: BTreeSet<(u16, String)>,
}

/// The operations of the served documents, and what of them was tried.
struct Documents {
    url: String,
    operations: BTreeMap<String, Operation>,
    tried: Mutex<BTreeMap<String, BTreeSet<(u16, String)>>>,
}

impl Documents {
    async fn of(world: &World) -> Self {
        let url = world.users();
        let mut operations = BTreeMap::new();
        for name in ["users", "friendships", "messages"] {
            let document = reqwest::get(format!("{url}/api/openapi/{name}.json")).await;
            let document: Value = document.expect("an answer").json().await.expect("JSON");
            for (path, methods) in document["paths"].as_object().expect("paths") {
                for (method, operation) in methods.as_object().expect("methods") {
                    let id = operation["operationId"].as_str().expect("an id");
                    let known = Operation {
                        method: method.to_uppercase().parse().expect("a method"),
                        path: path.clone(),
                        key: match name {
                            "friendships" => "detail",
                            _ => "error",
                        },
                        has_body: !operation["requestBody"].is_null(),
                        needs_token: !operation["security"].is_null(),
                        documented: codes(&operation["responses"]),
                    };
                    let other = operations.insert(id.to_owned(), known);
                    assert!(other.is_none(), "{id} is there twice");
                }
            }
        }
        Self {
            url,
            operations,
            tried: Mutex::default(),
        }
    }

    /// A request to an operation; `at` stands where its path has a parameter.
    fn request(&self, id: &str, at: &str) -> RequestBuilder {
        let operation = &self.operations[id];
        let path = match operation.path.split_once('{') {
            Some((before, after)) => {
                let after = after.split_once('}').expect("it is closed").1;
                format!("{before}{at}{after}")
            }
            None => operation.path.clone(),
        };
        Client::new().request(operation.method.clone(), format!("{}{path}", self.url))
    }

    /// Sends a request and compares the whole answer.
    async fn refused(&self, id: &str, request: RequestBuilder, status: u16, body: Value) {
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.headers()["content-type"], "application/json", "{id}");
        let challenged = answer.headers().contains_key("www-authenticate");
        let answered = answer.status().as_u16();
        let said: Value = answer.json().await.expect("JSON");
        assert_eq!((answered, &said), (status, &body), "{id}");
        assert_eq!(challenged, status == 401, "{id}");
        let code = body["code"].as_str().expect("a code").to_owned();
        let mut tried = self.tried.lock().expect("nobody panicked");
        tried
            .entry(id.to_owned())
            .or_default()
            .insert((status, code));
    }

    /// One of an operation's own errors, under its key.
    async fn own(&self, id: &str, request: RequestBuilder, status: u16, code: &str, text: &str) {
        let body = json!({self.operations[id].key: text, "code": code});
        self.refused(id, request, status, body).await;
    }
}

fn codes(responses: &Value) -> BTreeSet<(u16, String)> {
    let responses = responses.as_object().expect("responses");
    let examples = responses.iter().flat_map(|(status, response)| {
        let examples = response["content"]["application/json"]["examples"].as_object();
        let codes = examples.into_iter().flat_map(|examples| examples.keys());
        codes.map(|code| (status.parse().expect("a status"), code.clone()))
    });
    examples.collect()
}

#[tokio::test]
async fn every_documented_error_has_its_body() {
    let world = World::start(Topology::Standalone).await;
    let documents = Documents::of(&world).await;
    let people = world.friends().await;
    let carol = Person::sign_up(&world.users(), "carol").await;
    for id in documents.operations.keys() {
        rules_for_all(&documents, id, &people.alice).await;
    }
    for case in cases(&world, &people, &carol).await {
        let Case(id, Who { r#as, at }, request, status, code, text) = case;
        let token = r#as.map(|name| match name.as_str() {
            "alice" => &people.alice.access,
            "bob" => &people.bob.access,
            _ => &carol.access,
        });
        let mut built = documents.request(&id, &at);
        if let Some(token) = token {
            built = built.bearer_auth(token);
        }
        if let Some(query) = request.query {
            built = built.query(&query);
        }
        if let Some(json) = request.json {
            built = built.json(&json);
        }
        if let Some((field, name, bytes)) = request.file {
            let part = Part::bytes(vec![b'x'; bytes]).file_name(name);
            built = built.multipart(Form::new().part(field, part));
        }
        if let Some(range) = request.range {
            built = built.header("range", range);
        }
        documents.own(&id, built, status, &code, &text).await;
    }

    let mut tried = documents.tried.into_inner().expect("nobody panicked");
    for (id, mut operation) in documents.operations {
        for (status, code) in TRIED_ELSEWHERE {
            operation.documented.remove(&(status, code.to_owned()));
        }
        let tried = tried.remove(&id).unwrap_or_default();
        assert_eq!(
            operation.documented, tried,
            "{id}: documented (left), tried (right)"
        );
    }
}

/// The cases with the ids of this run in them.
async fn cases(world: &World, people: &Friends, carol: &Person) -> Vec<Case> {
    let Friends {
        alice,
        bob,
        channel,
    } = people;
    let messages = world.messages();
    let send = format!("{messages}/api/messages/status/friendship/{channel}/messages/");
    let (status, _) = alice
        .post(&send, json!({"payload": "one", "client_id": "c-1"}))
        .await;
    assert_eq!(status, 201);
    let closed = befriend(&world.friendships(), alice, carol).await;
    let reject = json!({"friendship_id": closed, "status": "rejected"});
    let friendships = format!("{}/api/users/friendship/", world.friendships());
    assert_eq!(carol.patch(&friendships, reject).await.0, 200);
    let file = Part::bytes(b"0123456789".to_vec()).file_name("a.txt");
    let upload = Client::new()
        .post(format!("{messages}/api/messages/media/"))
        .bearer_auth(&alice.access)
        .multipart(Form::new().part("file", file));
    let file: Value = upload
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");

    let mut text = include_str!("errors.json").to_owned();
    for (name, value) in [
        ("$carol_access", carol.access.as_str()),
        ("$carol", &carol.username),
        ("$CAROL", &carol.username.to_uppercase()),
        ("$alice_refresh", &alice.refresh),
        ("$alice_id", &alice.id),
        ("$bob_id", &bob.id),
        ("$channel", channel),
        ("$closed", &closed),
        ("$file", file["id"].as_str().expect("an id")),
        ("$nobody", NOBODY),
        ("$Aa1!x300", &"Aa1!".repeat(300)),
        ("$x151", &"x".repeat(151)),
        ("$x1001", &"x".repeat(1_001)),
        ("$x256", &"x".repeat(256)),
        ("$x8193", &"x".repeat(8_193)),
    ] {
        text = text.replace(name, value);
    }
    serde_json::from_str(&text).expect("cases")
}

/// What the contract says of every endpoint.
async fn rules_for_all(documents: &Documents, id: &str, alice: &Person) {
    let operation = &documents.operations[id];
    let at = if id == "get_image" { "x.png" } else { NOBODY };
    let request = || documents.request(id, at);
    let as_alice = || request().bearer_auth(&alice.access);
    // Another method is told which there are; without the slash it is the same.
    let url = request().build().expect("a request").url().to_string();
    for url in [url.as_str(), url.trim_end_matches('/')] {
        let answer = Client::new().put(url).send().await.expect("an answer");
        let allowed = answer.headers()["allow"]
            .to_str()
            .expect("methods")
            .to_owned();
        assert!(
            allowed.contains(operation.method.as_str()),
            "{id}: {allowed}"
        );
        let status = answer.status().as_u16();
        let body: Value = answer.json().await.expect("JSON");
        let expected = json!({operation.key: "Method not allowed.", "code": "method_not_allowed"});
        assert_eq!((status, body), (405, expected), "{id}");
    }
    if operation.needs_token {
        for (request, text, code) in [
            (
                request(),
                "Authentication credentials were not provided.",
                "not_authenticated",
            ),
            (
                request().bearer_auth("x.y.z"),
                "Given token not valid for any token type",
                "token_not_valid",
            ),
        ] {
            let body = json!({"detail": text, "code": code});
            documents.refused(id, request, 401, body).await;
        }
    }
    if operation.has_body {
        let over = vec![b' '; body_limit(id) + 1];
        let over_json = vec![b' '; json_limit(id) + 1];
        let fields: Vec<String> = (0..257).map(|number| format!("\"f{number}\":0")).collect();
        let fields = format!("{{{}}}", fields.join(","));
        for (content_type, body, status, code, text) in [
            (
                "application/json",
                b"{".to_vec(),
                400,
                "malformed_body",
                "The request body is not a JSON object.",
            ),
            (
                "text/plain",
                b"x".to_vec(),
                415,
                "unsupported_media_type",
                "This content type is not supported.",
            ),
            (
                "application/json",
                over.clone(),
                413,
                "too_large",
                "The request body is too large.",
            ),
            (
                "multipart/form-data; boundary=x",
                over,
                413,
                "too_large",
                "The request body is too large.",
            ),
            (
                "application/json",
                over_json,
                413,
                "too_large",
                "The request body is too large.",
            ),
            (
                "application/json",
                fields.into_bytes(),
                400,
                "malformed_body",
                "The request body has more than 256 fields.",
            ),
        ] {
            let request = as_alice().header("content-type", content_type).body(body);
            documents.own(id, request, status, code, text).await;
        }
        let packed = as_alice().header("content-type", "application/json");
        let packed = packed.header("content-encoding", "gzip").body("{}");
        let text = "This content encoding is not supported: send the body as it is.";
        documents
            .own(id, packed, 415, "unsupported_encoding", text)
            .await;
    }
    if operation
        .documented
        .contains(&(404, "invalid_page".to_owned()))
        && id != "list_messages"
    {
        let page = |name: &str, value: &str| as_alice().query(&[("q", "x"), (name, value)]);
        let past = page("page", "99");
        documents
            .own(id, past, 404, "invalid_page", "Invalid page.")
            .await;
        for (name, value) in [
            ("page", "0"),
            ("page", "x"),
            ("page_size", "-1"),
            ("page_size", ""),
        ] {
            let request = page(name, value);
            let text = "Invalid query parameters.";
            documents.own(id, request, 400, "invalid_query", text).await;
        }
    }
}

/// The largest JSON body of an operation, in bytes.
fn json_limit(id: &str) -> usize {
    match id {
        "upload_file" => 64 << 10,
        _ => body_limit(id),
    }
}

/// The largest body of an operation, in bytes.
fn body_limit(id: &str) -> usize {
    match id {
        "signup" | "change_profile" => 6 << 20,
        "send_message" | "upload_file" => (25 << 20) + (64 << 10),
        _ => 64 << 10,
    }
}
