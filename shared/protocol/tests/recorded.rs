//! What replicas of the previous version said, read by today's types: `tests/e2e/recorded`.

use std::{collections::BTreeSet, fs, path::Path};

use natter_protocol::{
    call::{
        Call, GetAfter, GetEpoch, GetFriendship, GetHeads, GetJwks, GetMarks, GetUsers, ListFiles,
        ListFriendships, ListMarks, ListOpen, Mark, MarkReply, OneOrMore, RefreshSession, Refusal,
        SendReply, SendRequest,
    },
    ephemeral::{Ephemeral, EphemeralEvent},
    event::{
        Event, FriendshipEvent, LogEvent, MarkEvent, PresenceEvent, RevokedSession, UserEvent,
        UserNotice,
    },
};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads the payload as the type, or says what it was.
fn read<T: DeserializeOwned>(subject: &str, payload: &str) {
    if let Err(error) = serde_json::from_str::<T>(payload) {
        panic!("{subject}: {error}: {payload}");
    }
}

fn question_and_answer<C: Call>(subject: &str, question: &str, answer: Option<&str>) -> bool {
    let is_it = subject == format!("rpc.{}.{}", C::SERVICE, C::METHOD);
    if is_it {
        read::<C>(subject, question);
        if let Some(answer) = answer {
            read::<C::Reply>(subject, answer);
        }
    }
    is_it
}

fn each<T: DeserializeOwned>(subject: &str, payload: &str) -> Vec<T> {
    let read = OneOrMore::from_json(payload.as_bytes());
    let read = read.unwrap_or_else(|error| panic!("{subject}: {error}: {payload}"));
    read.all()
}

/// Reads the payload and its answer if the subject is one of Natter's; returns whether it is.
fn is_read(subject: &str, payload: &str, answer: Option<&str>) -> bool {
    let parts: Vec<&str> = subject.split('.').collect();
    match parts.as_slice() {
        ["rpc", ..] => [
            question_and_answer::<GetUsers>,
            question_and_answer::<RefreshSession>,
            question_and_answer::<GetJwks>,
            question_and_answer::<ListOpen>,
            question_and_answer::<GetFriendship>,
            question_and_answer::<ListFriendships>,
            question_and_answer::<GetHeads>,
            question_and_answer::<GetAfter>,
            question_and_answer::<GetMarks>,
            question_and_answer::<ListMarks>,
            question_and_answer::<GetEpoch>,
            question_and_answer::<ListFiles>,
        ]
        .iter()
        .any(|call| call(subject, payload, answer)),
        ["send", "friendship", _] => {
            each::<SendRequest>(subject, payload);
            for reply in answer
                .map(|answer| each::<SendReply>(subject, answer))
                .unwrap_or_default()
            {
                assert_ne!(reply, SendReply::Refused(Refusal::Unknown), "{subject}");
            }
            true
        }
        ["mark", "friendship", _] => {
            each::<Mark>(subject, payload);
            for reply in answer
                .map(|answer| each::<MarkReply>(subject, answer))
                .unwrap_or_default()
            {
                assert_ne!(reply, MarkReply::Refused(Refusal::Unknown), "{subject}");
            }
            true
        }
        ["events", "users", ..] => {
            read::<Event<UserEvent>>(subject, payload);
            true
        }
        ["events", "friendships", ..] => {
            read::<Event<FriendshipEvent>>(subject, payload);
            true
        }
        ["chat", "friendship", _, "log"] => {
            each::<LogEvent>(subject, payload);
            true
        }
        ["chat", "friendship", _, "mark"] => {
            read::<Event<MarkEvent>>(subject, payload);
            true
        }
        ["chat", "friendship", _, name] if Ephemeral::TYPES.contains(name) => {
            read::<Event<EphemeralEvent>>(subject, payload);
            true
        }
        ["presence", "user", _] => {
            read::<Event<PresenceEvent>>(subject, payload);
            true
        }
        ["notify", "user", _] => {
            read::<Event<UserNotice>>(subject, payload);
            true
        }
        ["$KV", "revoked_sessions", _] => {
            read::<RevokedSession>(subject, payload);
            true
        }
        // JetStream's own, and the answers, which are read with their questions.
        [own, ..] if own.starts_with("$JS") || own.starts_with("_INBOX") => false,
        _ => panic!("nobody knows what is said on {subject}"),
    }
}

#[test]
fn what_the_previous_version_said_is_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/e2e/recorded");
    let files = fs::read_dir(folder).expect("it is there").flatten();
    let recorded = files.filter(|file| file.path().extension().is_some_and(|end| end == "said"));
    let mut versions = 0;
    for file in recorded {
        versions += 1;
        let text = fs::read_to_string(file.path()).expect("it is text");
        let said = text.lines().map(serde_json::from_str);
        let said: Vec<Value> = said.collect::<Result<_, _>>().expect("JSON");
        let word = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
        let mut kinds = BTreeSet::new();
        let mut answered = BTreeSet::new();
        for one in &said {
            let reply = word(one, "reply");
            let answer = said.iter().find(|other| other["subject"] == reply.as_str());
            let answer = answer.map(|answer| word(answer, "payload"));
            let subject = word(one, "subject");
            if is_read(&subject, &word(one, "payload"), answer.as_deref()) {
                let kind = subject.split('.').take(2).collect::<Vec<_>>();
                kinds.insert(kind.join("."));
                if answer.is_some() {
                    answered.insert(kind.join("."));
                }
            }
        }
        assert!(kinds.len() > 10, "{kinds:?}");
        for asked in [
            "rpc.users",
            "rpc.friendships",
            "rpc.messages",
            "send.friendship",
            "mark.friendship",
        ] {
            assert!(answered.contains(asked), "no answer on {asked}");
        }
    }
    assert!(versions > 0, "nothing is recorded");
}
