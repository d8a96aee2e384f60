//! A rolling upgrade: today's programs on what the previous version has stored, with what its
//! replicas, which still run, say to them. `tests/e2e/recorded/README.md` tells how it is recorded.

use std::{fs, path::PathBuf};

use async_nats::HeaderMap;
use natter_e2e::{Topology, World, jetstream};
use natter_test_support::{Friends, PASSWORD, Person, Signal, Socket, befriend, until};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

/// The version that is played.
const BEFORE: &str = "812d792";
const PROCESSES: [&str; 6] = [
    "users",
    "friendships",
    "messages",
    "messages-2",
    "gateway",
    "gateway-2",
];

fn recorded(version: &str, kind: &str) -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/recorded");
    PathBuf::from(folder).join(format!("{version}.{kind}"))
}

/// What a version stores and says, written down for the next one.
#[tokio::test]
#[ignore = "records the programs of NATTER_TEST_PROGRAMS as NATTER_TEST_VERSION"]
#[allow(
    clippy::disallowed_methods,
    reason = "a test's setting, not a service's"
)]
async fn record() {
    let version = std::env::var("NATTER_TEST_VERSION").expect("NATTER_TEST_VERSION");
    let mut world = World::start_recorded(Topology::Apart).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let (mut alices, _) = resumed(&alice, world.gateway(), &channel).await;
    let (mut bobs, _) = resumed(&bob, world.gateway_2(), &channel).await;
    for number in 1..=4 {
        let said = alices.say(&channel, &format!("a-{number}"), "Hello").await;
        let id = &said["message"];
        bobs.find(|frame| frame["message"]["id"] == *id).await;
        for kind in ["received", "seen"] {
            let kind = format!("friendship_notification_{kind}");
            bobs.send(json!({"type": kind, "channel": channel, "message": id}))
                .await;
        }
        alices.find(|frame| frame["is_seen"] == true).await;
    }
    let history = alice.history(&world.messages(), &channel).await;
    let id = |number: usize| history[number]["message"]["id"].clone();
    for frame in [
        json!({"type": "friendship_edit", "message": id(0), "payload": "Changed", "client_id": "e-1"}),
        json!({"type": "friendship_delete", "message": id(1), "client_id": "d-1"}),
        json!({"type": "friendship", "channel": channel, "payload": "An answer",
               "reply_to": id(2), "client_id": "a-5"}),
        json!({"type": "friendship", "channel": channel, "payload": "",
               "media": [{"note.txt": "aGVsbG8="}], "client_id": "a-6"}),
    ] {
        let client_id = frame["client_id"].as_str().expect("one").to_owned();
        let mut frame = frame;
        frame["channel"] = json!(channel);
        alices.send(frame).await;
        assert_eq!(alices.answer(&client_id).await["type"], "ack");
    }
    bobs.send(json!({"type": "typing", "channel": channel, "active": true}))
        .await;
    alices.frame("typing").await;
    // Carol was a friend and deletes her account; a friendship closes, and a session ends.
    let carol = Person::sign_up(&world.users(), "carol").await;
    befriend(&world.friendships(), &alice, &carol).await;
    let dave = Person::sign_up(&world.users(), "dave").await;
    let closed = befriend(&world.friendships(), &alice, &dave).await;
    let url = format!("{}/api/users/friendship/", world.friendships());
    let reject = json!({"friendship_id": closed, "status": "rejected"});
    assert_eq!(dave.patch(&url, reject).await.0, StatusCode::OK);
    let gone = carol
        .http
        .delete(format!("{}/api/users/profile/", world.users()));
    let gone = gone
        .bearer_auth(&carol.access)
        .json(&json!({"password": PASSWORD}));
    let gone = gone.send().await.expect("an answer");
    assert_eq!(gone.status(), StatusCode::NO_CONTENT);
    let second = bob.log_in(&world.users()).await;
    let url = format!("{}/api/users/logout/", world.users());
    let out = second.post(&url, json!({"refresh": second.refresh})).await;
    assert_eq!(out.0, StatusCode::OK);
    let export = format!("{}/api/users/export/", world.users());
    let export = bob.http.get(export).bearer_auth(&bob.access).send().await;
    let export = export.expect("an answer").bytes().await.expect("an export");
    assert!(!export.is_empty());
    world.published().await;

    // Without outboxes: the test that plays this starts with an empty broker, and would have every
    // event published again. Without the signing key: the recording is public.
    let mut admin = world.postgres.admin("natter").await;
    let forget = "DELETE FROM users.outbox; DELETE FROM friendships.outbox;
                  DELETE FROM messages.outbox; DELETE FROM users.signing_keys";
    let forgotten = sqlx::raw_sql(forget).execute(&mut admin).await;
    forgotten.expect("a superuser may");

    let history = alice.history(&world.messages(), &channel).await;
    drop((alices, bobs));
    // Stopped before it is written, so that the last messages of each process are in the recording.
    for name in PROCESSES {
        world.process(name).end(Signal::Term).await;
    }
    let lines: Vec<String> = world.said().iter().map(Value::to_string).collect();
    let people = json!({
        "channel": channel, "alice": {"id": alice.id, "username": alice.username},
        "bob": {"id": bob.id, "username": bob.username}, "history": history,
    });
    let write = |kind: &str, text: String| {
        fs::write(recorded(&version, kind), text).expect("the folder is there");
    };
    write("sql", world.postgres.dump());
    write("json", format!("{people:#}\n"));
    write("said", lines.join("\n") + "\n");
}

/// What a version has recorded.
struct Before {
    people: Value,
    said: Vec<Value>,
}

impl Before {
    fn read(version: &str) -> (Self, String) {
        let read = |kind: &str| fs::read_to_string(recorded(version, kind)).expect("it is there");
        let parse = |text: &str| serde_json::from_str(text).expect("JSON");
        let before = Self {
            people: parse(&read("json")),
            said: read("said").lines().map(parse).collect(),
        };
        (before, read("sql"))
    }

    async fn person(&self, name: &str, world: &World) -> Person {
        let text = |key: &str| self.people[name][key].as_str().expect("a text").to_owned();
        let known = Person {
            http: Client::new(),
            username: text("username"),
            id: text("id"),
            access: String::new(),
            refresh: String::new(),
        };
        known.log_in(&world.users()).await
    }

    /// The requests to other services with their answers.
    fn calls(&self) -> impl Iterator<Item = (&Value, &Value)> {
        let asked = self.said.iter().filter(|one| {
            let subject = one["subject"].as_str().unwrap_or_default();
            let asked = ["rpc.", "send.friendship.", "mark.friendship."];
            asked.iter().any(|start| subject.starts_with(start))
        });
        asked.filter_map(|one| {
            let mut answers = self.said.iter();
            let answer = answers.find(|said| said["subject"] == one["reply"]);
            Some((one, answer?))
        })
    }

    /// What everybody hears.
    fn events(&self) -> impl Iterator<Item = &Value> {
        self.said.iter().filter(|one| {
            let subject = one["subject"].as_str().unwrap_or_default();
            let told = [
                "events.",
                "notify.user.",
                "presence.user.",
                "chat.friendship.",
            ];
            told.iter().any(|start| subject.starts_with(start))
        })
    }
}

fn text<'a>(said: &'a Value, key: &str) -> &'a str {
    said[key].as_str().unwrap_or_default()
}

fn headers(said: &Value) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in text(said, "headers").lines().skip(1) {
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name, value.trim());
        }
    }
    headers
}

/// What a reader of `before` would miss in `today`: a field that is not there, or that has a value
/// of another JSON type. `None` if nothing is missing.
fn lost(before: &Value, today: &Value) -> Option<String> {
    match (before, today) {
        (Value::Null, _) => None,
        (Value::Object(before), Value::Object(today)) => before.iter().find_map(|(key, value)| {
            let Some(now) = today.get(key) else {
                return Some(key.clone());
            };
            lost(value, now).map(|what| format!("{key}.{what}"))
        }),
        // Users who were deleted since are missing, but not all of a list.
        (Value::Array(before), Value::Array(today)) if today.is_empty() && !before.is_empty() => {
            Some("everything".to_owned())
        }
        (Value::Array(before), Value::Array(today)) => before
            .iter()
            .zip(today)
            .enumerate()
            .find_map(|(at, (before, today))| Some(format!("{at}.{}", lost(before, today)?))),
        _ => {
            let is_same = std::mem::discriminant(before) == std::mem::discriminant(today);
            (!is_same).then(|| format!(" {before} became {today}"))
        }
    }
}

async fn resumed(person: &Person, gateway: String, channel: &str) -> (Socket, Vec<Value>) {
    let (mut socket, _) = person.connect_full(&gateway).await;
    let resume = json!({"type": "resume", "channels": {channel: 0}});
    socket.send(resume).await;
    socket.frame("resumed").await;
    let shown = socket.seen().to_vec();
    (socket, shown)
}

#[tokio::test]
async fn what_the_previous_version_stored_and_says_is_understood() {
    let (before, dump) = Before::read(BEFORE);
    let world = World::start_from(Topology::Apart, &dump).await;
    let channel = text(&before.people, "channel");

    // Everybody has what they had, over HTTP and over a WebSocket.
    let alice = before.person("alice", &world).await;
    let bob = before.person("bob", &world).await;
    let history = alice.history(&world.messages(), channel).await;
    let known = before.people["history"].as_array().expect("a list");
    assert_eq!(history.len(), known.len());
    for (known, now) in known.iter().zip(&history) {
        assert_eq!(lost(known, now), None, "{now}");
        let content = |item: &Value| item["message"]["content"].clone();
        assert_eq!(content(known), content(now));
    }
    let (mut alices, shown) = resumed(&alice, world.gateway(), channel).await;
    let (mut bobs, _) = resumed(&bob, world.gateway_2(), channel).await;
    let is_of_log = |frame: &&Value| frame["seq"].is_u64();
    let entries = shown.iter().filter(is_of_log).count();
    assert!(entries >= known.len(), "{shown:?}");

    // What its replicas ask is answered, with all that they read in the answers.
    let mut asked = 0;
    for (question, answer) in before.calls() {
        let client = jetstream(&world.nats, text(question, "user"))
            .await
            .client();
        let subject = text(question, "subject").to_owned();
        let payload = text(question, "payload").to_owned().into();
        let now = client
            .request_with_headers(subject, headers(question), payload)
            .await;
        let now = now.unwrap_or_else(|error| panic!("{question}: {error}"));
        let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
        let now = parse(&String::from_utf8_lossy(&now.payload));
        let then = parse(text(answer, "payload"));
        assert_eq!(lost(&then, &now), None, "{question}: {then} became {now}");
        asked += 1;
    }
    assert!(asked > 10, "{asked}");

    // What its replicas tell is taken for what it is.
    for event in before.events() {
        let broker = jetstream(&world.nats, text(event, "user")).await;
        let subject = text(event, "subject").to_owned();
        let payload = text(event, "payload").to_owned().into();
        let is_kept = event["reply"].is_string();
        if is_kept {
            let told = broker.publish_with_headers(subject, headers(event), payload);
            let kept = told.await.expect("it may").await;
            assert!(!kept.expect("the stream has it").duplicate, "{event}");
        } else {
            let client = broker.client();
            let told = client.publish_with_headers(subject, headers(event), payload);
            told.await.expect("it may");
            client.flush().await.expect("it is connected");
        }
    }
    for (service, stream) in [("friendships", "USERS"), ("messages", "FRIENDSHIPS")] {
        let broker = jetstream(&world.nats, service).await;
        until("everything is processed", || async {
            let consumer = broker.get_consumer_from_stream(service, stream).await;
            let mut consumer: async_nats::jetstream::consumer::PullConsumer = consumer.ok()?;
            let info = consumer.info().await.ok()?;
            (info.num_pending == 0 && info.num_ack_pending == 0).then_some(())
        })
        .await;
    }
    let listed = world.admin(&["dead-letters"], &[]).await;
    assert_eq!(String::from_utf8_lossy(&listed.stdout), "", "dead letters");
    for name in PROCESSES {
        let passed_over = world.count(name, "unknown_events_total").await;
        assert_eq!(passed_over, 0.0, "{name}");
    }
    let log = world.log(PROCESSES);
    let errors = log
        .lines()
        .filter(|line| line.contains("\"level\":\"ERROR\""));
    assert_eq!(errors.collect::<Vec<_>>(), Vec::<&str>::new());
    assert!(!log.contains("a payload cannot be read"), "{log}");

    // Nothing is shown twice, and all goes on.
    let said = bobs.say(channel, "b-1", "After the upgrade").await;
    assert_eq!(said["type"], "ack", "{said}");
    alices
        .find(|frame| frame["message"]["content"] == "After the upgrade")
        .await;
    let seqs = alices.seen().iter().filter(is_of_log);
    let seqs: Vec<u64> = seqs.filter_map(|frame| frame["seq"].as_u64()).collect();
    let expected: Vec<u64> = (1..=seqs.len() as u64).collect();
    assert_eq!(seqs, expected);
}
