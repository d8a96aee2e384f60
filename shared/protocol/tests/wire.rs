//! Every shape that Natter's own processes write, frozen in both directions: what is written today
//! must be read tomorrow, and the other way round. A change here is a change of the public
//! contract.

use std::fmt::Debug;

use natter_protocol::{
    CloseCode, FriendshipId, MessageId, SessionId, Timestamp, UserId,
    call::{
        ChannelConnection, ChannelMarks, Delivered, GatewayConnections, GetAfter, GetConnections,
        GetEpoch, GetFriendship, GetHeads, GetJwks, GetMarks, GetUsers, HowFar, ListFiles,
        ListFriendships, ListMarks, ListOpen, ListedChannel, MAX_OPEN, Mark, MarkReply, NewMedia,
        OneOrMore, OwnFile, RefreshSession, Refusal, SendMedia, SendReply, SendRequest, SendWhat,
        Stored, TellMarks, TokenPair,
    },
    ephemeral::{Ephemeral, EphemeralEvent, EphemeralFrame},
    event::{
        Event, FriendshipEvent, FriendshipState, LogEvent, LogTag, MarkEvent, PresenceEvent,
        RevokedSession, Typed, UserEvent, UserNotice, UserProfile,
    },
    frame::{ErrorCode, Marks, ServerError, ServerFrame},
    friendship::{Friendship, Status, UserCard},
    message::{Kind, Media, Message},
    profile::ProfileFields,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

const CHANNEL: &str = "00000000-0000-7000-8000-000000000001";
const ALICE: &str = "00000000-0000-7000-8000-00000000000a";
const BOB: &str = "00000000-0000-7000-8000-00000000000b";
const MESSAGE: &str = "019a0000-0000-8000-8000-000000000007";
const OTHER: &str = "00000000-0000-7000-8000-00000000000e";
const TIME: &str = "2026-11-22T12:00:00.123456Z";

fn channel() -> FriendshipId {
    CHANNEL.parse().expect("it is well formed")
}

fn alice() -> UserId {
    ALICE.parse().expect("it is well formed")
}

fn bob() -> UserId {
    BOB.parse().expect("it is well formed")
}

fn message_id() -> MessageId {
    MESSAGE.parse().expect("it is well formed")
}

fn sid() -> SessionId {
    OTHER.parse().expect("it is well formed")
}

fn time() -> Timestamp {
    TIME.parse().expect("it is well formed")
}

fn message() -> Message {
    Message {
        id: message_id(),
        friendship: channel(),
        sender: alice(),
        content: "Hello".into(),
        media: Vec::new(),
        created_at: time(),
        client_id: Some("a-1".into()),
        reply_to: None,
        edited_at: None,
        deleted: false,
    }
}

fn message_json() -> Value {
    json!({
        "id": MESSAGE, "friendship": CHANNEL, "sender": ALICE, "content": "Hello", "media": [],
        "created_at": TIME, "client_id": "a-1", "reply_to": null, "edited_at": null,
        "deleted": false,
    })
}

/// As the previous version wrote one that was neither edited nor deleted.
#[test]
fn a_message_of_the_previous_version_is_read() {
    let mut before = message_json();
    let fields = before.as_object_mut().expect("an object");
    fields.remove("edited_at");
    fields.remove("deleted");
    let read: Message = serde_json::from_value(before).expect("a message");
    assert_eq!(read, message());
}

fn fields() -> ProfileFields {
    ProfileFields {
        first_name: "A".into(),
        last_name: "L".into(),
    }
}

fn card(id: UserId) -> UserCard {
    UserCard {
        id,
        personal_image: Some("/api/users/images/x.jpg".into()),
        username: "alice".into(),
        fields: fields(),
        email: "a@mail.example".into(),
        deleted: false,
    }
}

fn card_json(id: &str) -> Value {
    json!({
        "id": id, "personal_image": "/api/users/images/x.jpg", "username": "alice",
        "first_name": "A", "last_name": "L", "email": "a@mail.example",
    })
}

fn friendship() -> Friendship {
    Friendship {
        id: channel(),
        from_user: alice(),
        to_user: bob(),
        status_from_user: Status::Pending,
        status_to_user: Status::Accepted,
        date_created: time(),
        is_open: true,
        revision: 2,
    }
}

fn marks() -> ChannelMarks {
    ChannelMarks {
        received_seq: 7,
        seen_seq: 5,
        friend_received_seq: 6,
        friend_seen_seq: 4,
    }
}

fn marks_json() -> Value {
    json!({"received_seq": 7, "seen_seq": 5, "friend_received_seq": 6, "friend_seen_seq": 4})
}

fn friendship_json(from: Value, to: Value) -> Value {
    json!({
        "id": CHANNEL, "from_user": from, "to_user": to, "status_from_user": "pending",
        "status_to_user": "accepted", "date_created": TIME, "is_open": true,
        "revision": 2,
    })
}

fn event<T: Typed + Serialize>(body: T) -> Event<T> {
    let json = serde_json::to_value(&body).expect("it can be encoded");
    let name = json["type"].as_str().expect("it says what it is");
    assert!(T::TYPES.contains(&name), "{name} is not in TYPES");
    Event {
        id: OTHER.parse().expect("it is well formed"),
        time: time(),
        version: 1,
        body,
    }
}

/// `body` with what every event carries.
fn event_json(mut body: Value) -> Value {
    for (name, value) in [
        ("id", json!(OTHER)),
        ("time", json!(TIME)),
        ("version", json!(1)),
    ] {
        body[name] = value;
    }
    body
}

#[track_caller]
fn frozen<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T, wire: Value) {
    assert_eq!(
        serde_json::to_value(&value).expect("it is JSON"),
        wire,
        "what is written has changed"
    );
    let read: T = serde_json::from_value(wire).expect("it is read");
    assert_eq!(read, value, "what is read has changed");
}

#[test]
fn server_frames() {
    let seqs = || [(channel(), 7)].into();
    frozen(
        ServerFrame::Ready {
            user: alice(),
            heartbeat_seconds: 30,
            epoch: Some(OTHER.into()),
            channels: seqs(),
        },
        json!({
            "type": "ready", "user": ALICE, "heartbeat_seconds": 30, "epoch": OTHER,
            "channels": {CHANNEL: 7},
        }),
    );
    frozen(
        ServerFrame::Resumed {
            channels: seqs(),
            marks: [(channel(), marks())].into(),
        },
        json!({
            "type": "resumed", "channels": {CHANNEL: 7}, "marks": {CHANNEL: marks_json()},
        }),
    );
    frozen(
        ServerFrame::Resync { channels: seqs() },
        json!({"type": "resync", "channels": {CHANNEL: 7}}),
    );
    frozen(
        ServerFrame::Token {
            access: "a".into(),
            refresh: Some("r".into()),
        },
        json!({"type": "token", "access": "a", "refresh": "r"}),
    );
    frozen(
        ServerFrame::FriendshipMessage {
            channel: channel(),
            seq: 7,
            message: message(),
        },
        json!({"type": "friendship_message", "channel": CHANNEL, "seq": 7, "message": message_json()}),
    );
    let mut edited = message_json();
    edited["edited_at"] = json!(TIME);
    frozen(
        ServerFrame::FriendshipMessageEdited {
            channel: channel(),
            seq: 8,
            message: Message {
                edited_at: Some(time()),
                ..message()
            },
        },
        json!({"type": "friendship_message_edited", "channel": CHANNEL, "seq": 8, "message": edited}),
    );
    let mut deleted = message_json();
    deleted["content"] = json!("");
    deleted["deleted"] = json!(true);
    frozen(
        ServerFrame::FriendshipMessageDeleted {
            channel: channel(),
            seq: 9,
            message: Message {
                content: String::new(),
                deleted: true,
                ..message()
            },
        },
        json!({"type": "friendship_message_deleted", "channel": CHANNEL, "seq": 9, "message": deleted}),
    );
    frozen(
        ServerFrame::Ack {
            client_id: Some("a-1".into()),
            channel: channel(),
            message: message_id(),
            seq: 7,
            created_at: time(),
            duplicate: false,
        },
        json!({
            "type": "ack", "client_id": "a-1", "channel": CHANNEL, "message": MESSAGE, "seq": 7,
            "created_at": TIME, "duplicate": false,
        }),
    );
    frozen(
        ServerFrame::ChatFriendshipNotification(Marks {
            channel: channel(),
            user: bob(),
            message: message_id(),
            is_received: true,
            is_seen: false,
            received_seq: 7,
            seen_seq: 3,
        }),
        json!({
            "type": "chat_friendship_notification", "channel": CHANNEL, "user": BOB,
            "message": MESSAGE, "is_received": true, "is_seen": false, "received_seq": 7,
            "seen_seq": 3,
        }),
    );
    frozen(
        ServerFrame::FriendshipUpdate {
            friendship: friendship().map_users(card),
        },
        json!({
            "type": "friendship_update",
            "friendship": friendship_json(card_json(ALICE), card_json(BOB)),
        }),
    );
    frozen(
        ServerFrame::Presence {
            user: alice(),
            online: false,
            last_seen: Some(time()),
        },
        json!({"type": "presence", "user": ALICE, "online": false, "last_seen": TIME}),
    );
    frozen(
        ServerFrame::TokenExpiring { seconds: 60 },
        json!({"type": "token_expiring", "seconds": 60}),
    );
    frozen(
        ServerFrame::Goaway {
            reconnect_after_ms: 250,
        },
        json!({"type": "goaway", "reconnect_after_ms": 250}),
    );
    frozen(ServerFrame::Pong, json!({"type": "pong"}));
    frozen(
        ServerFrame::Error(ServerError {
            code: ErrorCode::Unavailable,
            detail: "d".into(),
            answers: Some("friendship".into()),
            client_id: Some("a-1".into()),
            retry_after_ms: Some(5),
        }),
        json!({
            "type": "error", "code": "unavailable", "detail": "d", "answers": "friendship",
            "client_id": "a-1", "retry_after_ms": 5,
        }),
    );
}

#[test]
fn error_codes() {
    for (code, name) in [
        (ErrorCode::InvalidJson, "invalid_json"),
        (ErrorCode::InvalidFrame, "invalid_frame"),
        (ErrorCode::UnknownType, "unknown_type"),
        (ErrorCode::Unsupported, "unsupported"),
        (ErrorCode::NotAMember, "not_a_member"),
        (ErrorCode::ChannelClosed, "channel_closed"),
        (ErrorCode::MessageNotFound, "message_not_found"),
        (ErrorCode::NotYours, "not_yours"),
        (ErrorCode::ClientIdReused, "client_id_reused"),
        (ErrorCode::TooLarge, "too_large"),
        (ErrorCode::RateLimited, "rate_limited"),
        (ErrorCode::Unavailable, "unavailable"),
    ] {
        frozen(code, json!(name));
    }
}

#[test]
fn log_and_mark_events() {
    frozen(
        LogEvent {
            id: message_id(),
            tag: LogTag::Log,
            time: time(),
            version: 1,
            channel: channel(),
            seq: 7,
            kind: Kind::Message,
            message: message(),
            members: [alice(), bob()],
        },
        json!({
            "id": MESSAGE, "type": "log", "time": TIME, "version": 1, "channel": CHANNEL, "seq": 7,
            "kind": "message", "message": message_json(), "members": [ALICE, BOB],
        }),
    );
    frozen(Kind::Edited, json!("edited"));
    frozen(Kind::Deleted, json!("deleted"));
    frozen(
        event(MarkEvent {
            channel: channel(),
            user: bob(),
            received_seq: 7,
            seen_seq: 3,
            message: message_id(),
        }),
        event_json(json!({
            "type": "mark", "channel": CHANNEL, "user": BOB, "received_seq": 7, "seen_seq": 3,
            "message": MESSAGE,
        })),
    );
}

#[test]
fn ephemeral_events() {
    let all = [(
        Ephemeral::Typing { active: true },
        json!({"type": "typing", "active": true}),
    )];
    assert_eq!(
        all.each_ref().map(|(ephemeral, _)| ephemeral.name()),
        Ephemeral::TYPES
    );
    let config = include_str!("../../../deploy/nats/nats.conf");
    for name in Ephemeral::TYPES {
        let subject = format!("\"chat.friendship.*.{name}\"");
        assert!(
            config.contains(&subject),
            "the gateway may not publish {subject}"
        );
    }
    for (ephemeral, mut wire) in all {
        wire["channel"] = json!(CHANNEL);
        let frame: EphemeralFrame = serde_json::from_value(wire.clone()).expect("it is read");
        assert_eq!((frame.channel, &frame.ephemeral), (channel(), &ephemeral));
        assert_eq!(wire["type"], ephemeral.name());
        wire["user"] = json!(BOB);
        let told = EphemeralEvent {
            channel: channel(),
            user: bob(),
            ephemeral,
        };
        frozen(told.clone(), wire.clone());
        frozen(event(told), event_json(wire));
    }
}

#[test]
fn presence_events() {
    frozen(
        event(PresenceEvent {
            user: alice(),
            online: true,
            last_seen: time(),
            gateway: OTHER.parse().expect("it is well formed"),
            asks: vec![bob()],
        }),
        event_json(json!({
            "type": "presence", "user": ALICE, "online": true, "last_seen": TIME,
            "gateway": OTHER, "asks": [BOB],
        })),
    );
}

#[test]
fn user_events() {
    let profile = || UserProfile {
        id: alice(),
        username: "alice".into(),
        fields: fields(),
        personal_image: None,
    };
    let profile_json = json!({
        "id": ALICE, "username": "alice", "first_name": "A", "last_name": "L",
        "personal_image": null,
    });
    let all = [
        (
            UserEvent::Registered { user: profile() },
            json!({"type": "registered", "user": profile_json}),
        ),
        (
            UserEvent::ProfileChanged { user: profile() },
            json!({"type": "profile_changed", "user": profile_json}),
        ),
        (
            UserEvent::SessionRevoked {
                user: alice(),
                sid: sid(),
            },
            json!({"type": "session_revoked", "user": ALICE, "sid": OTHER}),
        ),
        (
            UserEvent::Deleted { user: alice() },
            json!({"type": "deleted", "user": ALICE}),
        ),
    ];
    assert_eq!(
        all.each_ref().map(|(event, _)| event.name()),
        UserEvent::TYPES
    );
    for (told, wire) in all {
        assert_eq!(wire["type"], told.name());
        frozen(event(told), event_json(wire));
    }
    frozen(
        RevokedSession {
            user: alice(),
            revoked_at: time(),
        },
        json!({"user": ALICE, "revoked_at": TIME}),
    );
}

#[test]
fn friendship_events_and_notices() {
    type Make = fn(FriendshipState) -> FriendshipEvent;
    for (make, name) in [
        (FriendshipEvent::Requested as Make, "requested"),
        (FriendshipEvent::Opened, "opened"),
        (FriendshipEvent::Closed, "closed"),
        (FriendshipEvent::Changed, "changed"),
    ] {
        let made = make(FriendshipState {
            friendship: friendship(),
            revision: 2,
        });
        assert_eq!(made.name(), name);
        let body = json!({
            "type": name, "friendship": friendship_json(json!(ALICE), json!(BOB)), "revision": 2,
        });
        frozen(event(made), event_json(body));
    }
    frozen(
        event(UserNotice::FriendshipUpdate {
            friendship: Box::new(friendship().map_users(card)),
        }),
        event_json(json!({
            "type": "friendship_update",
            "friendship": friendship_json(card_json(ALICE), card_json(BOB)),
        })),
    );
    frozen(
        event(UserNotice::SessionEnded { sid: sid() }),
        event_json(json!({"type": "session_ended", "sid": OTHER})),
    );
}

#[test]
fn sends_and_marks() {
    let send = |client_id: Option<&str>, what| SendRequest {
        sender: alice(),
        client_id: client_id.map(str::to_owned),
        doubted: client_id.is_none(),
        what,
    };
    frozen(
        send(
            Some("a-1"),
            SendWhat::Message {
                payload: "Hello".into(),
                media: Vec::new(),
                reply_to: None,
            },
        ),
        json!({"sender": ALICE, "client_id": "a-1", "kind": "message", "payload": "Hello"}),
    );
    frozen(
        send(
            None,
            SendWhat::Edit {
                message: message_id(),
                payload: "Hi".into(),
            },
        ),
        json!({"sender": ALICE, "doubted": true, "kind": "edit", "message": MESSAGE, "payload": "Hi"}),
    );
    frozen(
        send(
            None,
            SendWhat::Delete {
                message: message_id(),
            },
        ),
        json!({"sender": ALICE, "doubted": true, "kind": "delete", "message": MESSAGE}),
    );
    frozen(
        SendMedia {
            id: OTHER.parse().expect("it is well formed"),
            new: Some(NewMedia {
                filename: "a.txt".into(),
                content_type: "text/plain".into(),
                size: 1,
                sha256: "00".into(),
            }),
        },
        json!({
            "id": OTHER,
            "new": {"filename": "a.txt", "content_type": "text/plain", "size": 1, "sha256": "00"},
        }),
    );
    frozen(
        Media {
            id: OTHER.parse().expect("it is well formed"),
            filename: "a.txt".into(),
            content_type: "text/plain".into(),
            size: 1,
            file: None,
        },
        json!({"id": OTHER, "filename": "a.txt", "content_type": "text/plain", "size": 1}),
    );
    let stored = Stored {
        message: message_id(),
        seq: 7,
        created_at: time(),
        duplicate: true,
    };
    frozen(
        SendReply::Ack(stored),
        json!({"ack": {"message": MESSAGE, "seq": 7, "created_at": TIME, "duplicate": true}}),
    );
    frozen(
        SendReply::Refused(Refusal::ClientIdReused),
        json!({"refused": "client_id_reused"}),
    );
    frozen(
        Mark {
            user: bob(),
            message: message_id(),
            seen: true,
            delivered: false,
        },
        json!({"user": BOB, "message": MESSAGE, "seen": true}),
    );
    frozen(
        Mark {
            user: bob(),
            message: message_id(),
            seen: false,
            delivered: true,
        },
        json!({"user": BOB, "message": MESSAGE, "seen": false, "delivered": true}),
    );
    frozen(MarkReply::Done, json!("done"));
    frozen(
        MarkReply::Refused(Refusal::NotAMember),
        json!({"refused": "not_a_member"}),
    );
}

/// A reason to refuse that a newer version has is a refusal here too, not an answer that is lost.
#[test]
fn a_refusal_of_a_newer_version_is_one() {
    for reply in [
        "{\"refused\":\"not_yet_invented\"}",
        "{\"refused\":\"unknown\"}",
    ] {
        let send: SendReply = serde_json::from_str(reply).expect("a reply");
        assert_eq!(send, SendReply::Refused(Refusal::Unknown));
        let mark: MarkReply = serde_json::from_str(reply).expect("a reply");
        assert_eq!(mark, MarkReply::Refused(Refusal::Unknown));
    }
    assert_eq!(ErrorCode::from(Refusal::Unknown), ErrorCode::Unavailable);
}

/// WEBSOCKET.md lists every code that a connection is closed with, and no other.
#[test]
fn the_page_has_every_close_code() {
    let page = include_str!("../WEBSOCKET.md");
    let (_, table) = page
        .split_once("| code | why |")
        .expect("the table of close codes");
    let (table, _) = table.split_once("\n\n").expect("its end");
    let rows = table.lines().skip(2);
    let cells = rows.map(|row| row.split('|').nth(1).unwrap_or_default());
    let listed = cells.flat_map(|cell| cell.split(','));
    let listed: Vec<u16> = listed
        .map(|code| code.trim().parse().expect("a code"))
        .collect();
    assert_eq!(listed, CloseCode::ALL.map(CloseCode::number));
}

/// One send or reply is as the previous version wrote it; several are an array.
#[test]
fn one_or_more() {
    let one = OneOrMore::of(vec![MarkReply::Done]);
    assert_eq!(one.to_json().expect("JSON"), b"\"done\"");
    assert_eq!(OneOrMore::from_json(b"\"done\"").expect("one"), one);
    let more = OneOrMore::of(vec![MarkReply::Done, MarkReply::Done]);
    let json = b"[\"done\",\"done\"]";
    assert_eq!(more.to_json().expect("JSON"), json);
    assert_eq!(OneOrMore::from_json(json).expect("two"), more);
    let alone = OneOrMore::<MarkReply>::from_json(b"[\"done\"]").expect("an array of one");
    assert_eq!(
        (alone.is_array(), alone.all()),
        (true, vec![MarkReply::Done])
    );
    assert!(OneOrMore::<MarkReply>::from_json(b"").is_err());
}

#[test]
fn calls() {
    frozen(
        GetUsers {
            users: vec![alice()],
        },
        json!({"users": [ALICE]}),
    );
    frozen(
        RefreshSession {
            sid: sid(),
            refresh: "r".into(),
        },
        json!({"sid": OTHER, "refresh": "r"}),
    );
    frozen(
        TokenPair {
            access: "a".into(),
            refresh: None,
        },
        json!({"access": "a"}),
    );
    frozen(GetJwks {}, json!({}));
    frozen(
        ListOpen {
            user: alice(),
            after: None,
            limit: None,
            closed: false,
        },
        json!({"user": ALICE}),
    );
    frozen(
        ListOpen {
            user: alice(),
            after: Some(channel()),
            limit: Some(MAX_OPEN),
            closed: true,
        },
        json!({"user": ALICE, "after": CHANNEL, "limit": 5_000, "closed": true}),
    );
    frozen(GetEpoch {}, json!({}));
    frozen(
        TellMarks {
            channels: vec![channel()],
        },
        json!({"channels": [CHANNEL]}),
    );
    frozen(
        GetConnections {
            channel: channel(),
            seq: 7,
            users: vec![bob()],
        },
        json!({"channel": CHANNEL, "seq": 7, "users": [BOB]}),
    );
    let states = [
        (Delivered::Written, "written"),
        (Delivered::Queued, "queued"),
        (Delivered::NotCome, "not_come"),
        (Delivered::NotResumed, "not_resumed"),
        (Delivered::NotJoined, "not_joined"),
    ];
    for (state, wire) in states {
        frozen(
            GatewayConnections {
                gateway: "10.0.0.1 (process 1)".into(),
                connections: vec![ChannelConnection {
                    user: bob(),
                    opened_at: time(),
                    state,
                }],
            },
            json!({
                "gateway": "10.0.0.1 (process 1)",
                "connections": [{"user": BOB, "opened_at": TIME, "state": wire}],
            }),
        );
    }
    frozen(
        ListMarks {
            user: alice(),
            channels: vec![channel()],
        },
        json!({"user": ALICE, "channels": [CHANNEL]}),
    );
    frozen(marks(), marks_json());
    frozen(
        GetFriendship {
            friendship: channel(),
        },
        json!({"friendship": CHANNEL}),
    );
    frozen(
        GetHeads {
            channels: vec![channel()],
        },
        json!({"channels": [CHANNEL]}),
    );
    frozen(
        ListedChannel {
            channel: channel(),
            friend: bob(),
            revision: 2,
            is_closed: true,
        },
        json!({"channel": CHANNEL, "friend": BOB, "revision": 2, "is_closed": true}),
    );
    frozen(
        ListFriendships {
            user: alice(),
            after: Some(channel()),
        },
        json!({"user": ALICE, "after": CHANNEL}),
    );
    frozen(
        GetMarks {
            channel: channel(),
            user: alice(),
        },
        json!({"channel": CHANNEL, "user": ALICE}),
    );
    frozen(
        HowFar {
            received_seq: 7,
            seen_seq: 5,
        },
        json!({"received_seq": 7, "seen_seq": 5}),
    );
    frozen(
        ListFiles {
            owner: alice(),
            after: None,
        },
        json!({"owner": ALICE}),
    );
    frozen(
        OwnFile {
            media: Media {
                id: OTHER.parse().expect("it is well formed"),
                filename: "a.txt".into(),
                content_type: "text/plain".into(),
                size: 1,
                file: None,
            },
            created_at: time(),
            channel: Some(channel()),
        },
        json!({
            "id": OTHER, "filename": "a.txt", "content_type": "text/plain", "size": 1,
            "created_at": TIME, "channel": CHANNEL,
        }),
    );
    frozen(
        GetAfter {
            channel: channel(),
            after_seq: 7,
            limit: 100,
        },
        json!({"channel": CHANNEL, "after_seq": 7, "limit": 100}),
    );
}
