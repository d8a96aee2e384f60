//! The AsyncAPI document of the WebSocket and of the broker, made from the types on the wire.

use std::collections::BTreeMap;

use natter_protocol::{
    CloseCode, FriendshipId, UserId,
    call::{
        Call, ChannelMarks, GatewayConnections, GetAfter, GetConnections, GetEpoch, GetFriendship,
        GetHeads, GetJwks, GetMarks, GetUsers, HowFar, ListFiles, ListFriendships, ListMarks,
        ListOpen, ListedChannel, Mark, MarkReply, OwnFile, RefreshSession, SendReply, SendRequest,
        TellMarks, TokenPair,
    },
    ephemeral::{Ephemeral, EphemeralEvent, EphemeralFrame},
    event::{
        FriendshipEvent, FriendshipState, LogEvent, MarkEvent, PresenceEvent, RevokedSession,
        UserEvent, UserNotice,
    },
    frame::{
        AuthFrame, ClientFrame, DeleteFrame, EditFrame, MarkFrame, ResumeFrame, SendFrame,
        ServerFrame,
    },
    friendship::{Friendship, UserCard},
    subject,
};
use serde_json::{Map, Value, json};
use utoipa::{
    ToSchema,
    openapi::{RefOr, Schema},
};

/// The document as it grows.
#[derive(Default)]
struct Document {
    schemas: BTreeMap<String, Value>,
    messages: Map<String, Value>,
    channels: Map<String, Value>,
    operations: Map<String, Value>,
}

/// Who does what to a channel, as Natter sees it.
#[derive(Clone, Copy)]
enum Action {
    Send,
    Receive,
}

impl Document {
    /// The schema of a type, with those that it names.
    fn schema<T: ToSchema>(&mut self) -> Value {
        let mut named: Vec<(String, RefOr<Schema>)> = Vec::new();
        T::schemas(&mut named);
        for (name, schema) in named {
            let schema = serde_json::to_value(schema).expect("JSON");
            self.schemas.insert(name, schema);
        }
        serde_json::to_value(T::schema()).expect("JSON")
    }

    fn message(&mut self, name: &str, summary: &str, payload: Value) -> String {
        let message = json!({"name": name, "summary": summary, "contentType": "application/json", "payload": payload});
        let known = self.messages.insert(name.to_owned(), message);
        assert!(known.is_none(), "{name} is there twice");
        name.to_owned()
    }

    /// The schema of an event that is a kind of its own.
    fn tagged<T: ToSchema>(&mut self, tag: &str, envelope: &Value) -> Value {
        let tag = json!({"type": "object", "properties": {"type": {"enum": [tag]}}});
        json!({"allOf": [envelope, tag, self.schema::<T>()]})
    }

    /// A message for each variant of an enum that is told apart by `type`.
    fn variants<T: ToSchema>(&mut self, prefix: &str, envelope: Option<&Value>) -> Vec<String> {
        let schema = self.schema::<T>();
        let variants = schema["oneOf"].as_array().expect("variants").clone();
        let named = variants.into_iter().map(|variant| {
            let tag = tag_of(&variant).expect("a type");
            let summary = variant["description"].as_str().unwrap_or(&tag).to_owned();
            let payload = match envelope {
                Some(envelope) => json!({"allOf": [envelope, variant]}),
                None => variant,
            };
            self.message(&camel(prefix, &tag), &summary, payload)
        });
        named.collect()
    }

    /// For each ephemeral event its type, what it is, and the schema of a frame or event `T` around
    /// it.
    fn ephemeral<T: ToSchema>(&mut self) -> Vec<(String, String, Value)> {
        let around = self.schema::<T>();
        let parts = around["allOf"].as_array().expect("parts");
        let fields = parts.iter().find(|part| part["properties"].is_object());
        let fields = fields.expect("its own fields");
        let kinds = self.schema::<Ephemeral>();
        let kinds = kinds["oneOf"].as_array().expect("variants");
        let schemas = kinds.iter().map(|kind| {
            let tag = tag_of(kind).expect("a type");
            let about = kind["description"].as_str().unwrap_or(&tag).to_owned();
            (tag, about, json!({"allOf": [fields, kind]}))
        });
        schemas.collect()
    }

    fn channel(
        &mut self,
        name: &str,
        address: &str,
        server: &str,
        about: &str,
        messages: &[String],
    ) {
        let mut parameters = Map::new();
        for part in address.split(['{', '}']).skip(1).step_by(2) {
            parameters.insert(part.to_owned(), json!({"description": parameter(part)}));
        }
        let mut channel = json!({
            "address": address, "description": about,
            "servers": [{"$ref": format!("#/servers/{server}")}],
            "messages": messages.iter().map(|name| (name.clone(), json!({"$ref": format!("#/components/messages/{name}")}))).collect::<Map<_, _>>(),
        });
        if !parameters.is_empty() {
            channel["parameters"] = parameters.into();
        }
        self.channels.insert(name.to_owned(), channel);
    }

    fn operation(
        &mut self,
        name: &str,
        action: Action,
        channel: &str,
        messages: &[String],
        reply: Option<&str>,
    ) {
        let of =
            |message: &str| json!({"$ref": format!("#/channels/{channel}/messages/{message}")});
        let asked = messages.iter().filter(|name| reply != Some(name.as_str()));
        let mut operation = json!({
            "action": match action { Action::Send => "send", Action::Receive => "receive" },
            "channel": {"$ref": format!("#/channels/{channel}")},
            "messages": asked.map(|name| of(name)).collect::<Vec<_>>(),
        });
        if let Some(reply) = reply {
            operation["reply"] = json!({
                "address": {"location": "$message.header#/reply", "description": "The inbox that the request names: NATS's own reply subject"},
                "messages": [of(reply)],
            });
        }
        self.operations.insert(name.to_owned(), operation);
    }

    /// Something that Natter publishes.
    fn event(&mut self, channel: &str, address: &str, about: &str, messages: &[String]) {
        self.channel(channel, address, "nats", about, messages);
        for name in messages {
            self.messages[name]["headers"] = json!({"type": "object", "properties": {
                "Nats-Msg-Id": {"type": "string", "description": "The key of JetStream's deduplication: a stream drops a message that repeats it within two minutes"},
                "traceparent": {"type": "string", "description": "W3C trace context, where traces are on"},
            }});
        }
        self.operation(
            &camel("publish", channel),
            Action::Send,
            channel,
            messages,
            None,
        );
    }

    /// A request that is answered.
    fn request(&mut self, channel: &str, address: &str, about: &str, request: Value, reply: Value) {
        let request = self.message(&camel(channel, "request"), about, request);
        let reply = self.message(&camel(channel, "reply"), "The answer", reply);
        let both = [request, reply.clone()];
        self.channel(channel, address, "nats", about, &both);
        self.operation(
            &camel("answer", channel),
            Action::Receive,
            channel,
            &both,
            Some(&reply),
        );
    }

    fn call<C: Call + ToSchema>(&mut self, about: &str, reply: Value) {
        let request = self.schema::<C>();
        let name = camel(&camel("call", C::SERVICE), C::METHOD);
        let address = format!("rpc.{}.{}", C::SERVICE, C::METHOD);
        self.request(&name, &address, about, request, reply);
    }
}

/// The `type` that a variant has.
fn tag_of(schema: &Value) -> Option<String> {
    if let Some(tag) = schema["properties"]["type"]["enum"][0].as_str() {
        return Some(tag.to_owned());
    }
    schema["allOf"].as_array()?.iter().find_map(tag_of)
}

/// A frame with a value for each field of an ephemeral frame's schema.
fn example(schema: &Value) -> Value {
    let parts = schema["allOf"].as_array().expect("parts");
    let fields = parts
        .iter()
        .filter_map(|part| part["properties"].as_object());
    let fields = fields.flatten().map(|(name, field)| {
        let value = match (name.as_str(), field["type"].as_str()) {
            ("type", _) => field["enum"][0].clone(),
            ("channel", _) => json!(ID),
            (_, Some("boolean")) => json!(true),
            (_, Some("integer" | "number")) => json!(1),
            (_, Some("string")) => json!("text"),
            other => panic!("an example of {other:?}"),
        };
        (name.clone(), value)
    });
    let example = Value::Object(fields.collect());
    ClientFrame::parse(&example.to_string()).expect("the example is a frame");
    example
}

/// `camel("client", "friendship_edit")` is `clientFriendshipEdit`.
fn camel(prefix: &str, name: &str) -> String {
    let words = name.split('_').filter(|word| !word.is_empty());
    let words = words.map(|word| word[..1].to_uppercase() + &word[1..]);
    prefix.to_owned() + &words.collect::<String>()
}

fn parameter(name: &str) -> &'static str {
    match name {
        "channel" => "The id of a friendship, which is its channel: a hyphenated UUID",
        "user" => "The id of a user: a hyphenated UUID",
        "sid" => "The id of a session: a hyphenated UUID",
        "event" => "The event's type",
        "stream" => "The stream that the event came from",
        other => panic!("what is {other}?"),
    }
}

fn list(item: Value) -> Value {
    json!({"type": "array", "items": item})
}

fn or_null(schema: Value) -> Value {
    json!({"oneOf": [schema, {"type": "null"}]})
}

const ID: &str = "0192f0c1-2d3e-7000-8000-000000000001";

/// Every frame of a client: its type, what it is for, its own fields, and one that is well formed.
fn client_frames(document: &mut Document) -> Vec<(&'static str, &'static str, Value, Value)> {
    let mark = json!({"channel": ID, "message": ID});
    vec![
        (
            "friendship",
            "Sends a message; answered by `ack` or `error`",
            document.schema::<SendFrame>(),
            json!({"channel": ID, "payload": "Hello", "client_id": "a-1", "media": [{"id": ID}], "reply_to": null}),
        ),
        (
            "friendship_edit",
            "Changes one's own message",
            document.schema::<EditFrame>(),
            json!({"channel": ID, "message": ID, "payload": "Hello!"}),
        ),
        (
            "friendship_delete",
            "Deletes one's own message",
            document.schema::<DeleteFrame>(),
            json!({"channel": ID, "message": ID, "client_id": "a-2"}),
        ),
        (
            "friendship_notification_seen",
            "Everything up to this message was seen",
            document.schema::<MarkFrame>(),
            mark.clone(),
        ),
        (
            "friendship_notification_received",
            "Everything up to this message was received",
            document.schema::<MarkFrame>(),
            mark,
        ),
        (
            "auth",
            "Another access token for a browser's connection",
            document.schema::<AuthFrame>(),
            json!({"access": "…"}),
        ),
        (
            "resume",
            "The answer to `ready`: the newest `seq` the client has of each channel",
            document.schema::<ResumeFrame>(),
            json!({"channels": {ID: 7}}),
        ),
        (
            "ping",
            "Answered by `pong`",
            json!({"type": "object"}),
            json!({}),
        ),
    ]
}

fn websocket(document: &mut Document) {
    let mut from_client = Vec::new();
    for (tag, about, fields, mut example) in client_frames(document) {
        example["type"] = tag.into();
        let parsed = ClientFrame::parse(&example.to_string()).expect("the example is a frame");
        assert_eq!(parsed.frame.tag(), tag);
        let head = json!({"type": "object", "required": ["type"], "properties": {"type": {"type": "string", "enum": [tag]}}});
        let payload = json!({"allOf": [head, fields], "examples": [example]});
        from_client.push(document.message(&camel("client", tag), about, payload));
    }
    for (tag, about, mut payload) in document.ephemeral::<EphemeralFrame>() {
        payload["examples"] = json!([example(&payload)]);
        from_client.push(document.message(&camel("client", &tag), &about, payload));
    }
    let mut from_server = document.variants::<ServerFrame>("server", None);
    for (tag, about, payload) in document.ephemeral::<EphemeralEvent>() {
        from_server.push(document.message(&camel("server", &tag), &about, payload));
    }
    let all: Vec<String> = from_client.iter().chain(&from_server).cloned().collect();
    document.channel(
        "webSocket",
        "/ws/messages/",
        "webSocket",
        "One connection of one user: JSON text frames, told apart by `type`",
        &all,
    );
    document.channels["webSocket"]["bindings"] = json!({"ws": {
        "method": "GET",
        "headers": {"type": "object", "properties": {
            "Authorization": {"type": "string", "description": "`Bearer <access token>`; browsers offer the subprotocol `bearer.<access token>` instead"},
            "refresh": {"type": "string", "description": "A refresh token: an access token that has run out is renewed, and the new pair comes in a `token` frame"},
            "Sec-WebSocket-Protocol": {"type": "string", "description": "`natter.v1` for the full protocol, with `resume`"},
        }},
    }});
    // AsyncAPI has no place of its own for them.
    let codes = CloseCode::ALL
        .map(|code| json!({"code": code.number(), "when": code.when(), "then": code.then()}));
    document.channels["webSocket"]["x-close-codes"] = codes.to_vec().into();
    document.operation(
        "receiveFrame",
        Action::Receive,
        "webSocket",
        &from_client,
        None,
    );
    document.operation("sendFrame", Action::Send, "webSocket", &from_server, None);
}

fn events(document: &mut Document) {
    let envelope = json!({
        "type": "object", "required": ["id", "type", "time", "version"],
        "properties": {
            "id": {"type": "string", "format": "uuid", "description": "The event's id. Deduplicate by it: it stays the same when the event is published again, whether by the outbox (with the same Nats-Msg-Id) or by an operator's replay (with another Nats-Msg-Id)"},
            "type": {"type": "string"},
            "time": {"type": "string", "format": "date-time"},
            "version": {"type": "integer", "enum": [natter_protocol::event::VERSION]},
        },
    });
    document.schemas.insert("EventHead".to_owned(), envelope);
    let envelope = json!({"$ref": "#/components/schemas/EventHead"});
    let users = document.variants::<UserEvent>("user", Some(&envelope));
    document.event(
        "userEvents",
        "events.users.{user}.{event}",
        "Kept in the stream USERS",
        &users,
    );
    let friendships = document.variants::<FriendshipEvent>("friendship", Some(&envelope));
    document.event(
        "friendshipEvents",
        "events.friendships.{channel}.{event}",
        "Kept in the stream FRIENDSHIPS. A listener keeps the state with the highest `revision` of each friendship",
        &friendships,
    );
    let log = document.schema::<LogEvent>();
    let log = document.message("logEvent", "One entry of a channel's log", log);
    document.event("log", "chat.friendship.{channel}.log", "Kept in the stream CHAT. At least once; `seq` is 1, 2, 3, … without a gap, so a listener orders, drops repeats and sees gaps by it", &[log]);
    let mark = document.tagged::<MarkEvent>("mark", &envelope);
    let mark = document.message("markEvent", "How far a user has received and seen", mark);
    document.event(
        "marks",
        "chat.friendship.{channel}.mark",
        "Not kept",
        &[mark],
    );
    let ephemeral = document.ephemeral::<EphemeralEvent>();
    for (tag, about, payload) in ephemeral {
        let payload = json!({"allOf": [envelope, payload]});
        let event = document.message(&camel(&tag, "event"), &about, payload);
        let address = format!("chat.friendship.{{channel}}.{tag}");
        document.event(&tag, &address, "Not kept", &[event]);
    }
    let presence = document.tagged::<PresenceEvent>("presence", &envelope);
    let presence = document.message(
        "presenceEvent",
        "A gateway has connections of a user, or none any more",
        presence,
    );
    document.event("presence", "presence.user.{user}", "Not kept", &[presence]);
    let notices = document.variants::<UserNotice>("notice", Some(&envelope));
    document.event(
        "notices",
        "notify.user.{user}",
        "Not kept: acts on a user's live connections",
        &notices,
    );
    let revoked = document.schema::<RevokedSession>();
    let revoked = document.message(
        "revokedSession",
        "A value of the bucket revoked_sessions",
        revoked,
    );
    document.event(
        "revokedSessions",
        "$KV.revoked_sessions.{sid}",
        "A key-value bucket whose entries live as long as an access token",
        &[revoked],
    );
    let letter = document.message("deadLetter", "The event as it was published; the headers Natter-Subject, Natter-Consumer and Natter-Reason say whence it came and why it is here", json!({}));
    document.event(
        "deadLetters",
        "dlq.{stream}",
        "Kept in the stream DLQ",
        &[letter],
    );
}

fn requests(document: &mut Document) {
    let (send, reply) = (
        document.schema::<SendRequest>(),
        document.schema::<SendReply>(),
    );
    document.request(
        "send",
        "send.friendship.{channel}",
        "A message, edit or deletion to store; answered once it is committed",
        send,
        reply,
    );
    let (mark, reply) = (document.schema::<Mark>(), document.schema::<MarkReply>());
    document.request(
        "mark",
        "mark.friendship.{channel}",
        "How far a user has received or seen a channel, to store",
        mark,
        reply,
    );
    let reply = list(document.schema::<UserCard>());
    document.call::<GetUsers>(
        "The cards of the named users; a user that does not exist is left out",
        reply,
    );
    let reply = or_null(document.schema::<TokenPair>());
    document.call::<RefreshSession>(
        "A new token pair of a session; null if the refresh token is not valid",
        reply,
    );
    document.call::<GetJwks>(
        "The public keys: a JSON Web Key Set",
        json!({"type": "object"}),
    );
    let reply = list(document.schema::<ListedChannel>());
    document.call::<ListOpen>(
        "The open channels of a user, and with whom; where asked for also the closed ones",
        reply,
    );
    let reply = or_null(document.schema::<FriendshipState>());
    document.call::<GetFriendship>("A friendship as it is", reply);
    let reply = list(document.schema::<Friendship>());
    document.call::<ListFriendships>("The friendships of a user, by id", reply);
    let heads =
        json!({"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}});
    document.call::<GetHeads>(
        "The newest seq of each channel; 0 where nothing was sent",
        heads,
    );
    let reply = json!({
        "type": "object", "additionalProperties": document.schema::<ChannelMarks>(),
    });
    document.call::<ListMarks>(
        "How far both sides of channels have received and seen; those that nobody has marked are left out",
        reply,
    );
    document.call::<TellMarks>(
        "Publishes the marks of some channels again, on `chat.friendship.<id>.mark`",
        json!({"type": "null"}),
    );
    document.call::<GetEpoch>(
        "An opaque value that changes when the logs may have been set back: by a restore, a failover or a switchover",
        json!({"type": "string"}),
    );
    let reply = list(document.schema::<LogEvent>());
    document.call::<GetAfter>("The log after a seq, the oldest first", reply);
    let reply = document.schema::<HowFar>();
    document.call::<GetMarks>("How far a user has received and seen a channel", reply);
    let reply = list(document.schema::<OwnFile>());
    document.call::<ListFiles>("The files that a user has uploaded or sent", reply);
    let reply = document.schema::<GatewayConnections>();
    document.call::<GetConnections>(
        "How far an entry of a log is on the connections of some users; every gateway answers, to the user admin alone",
        reply,
    );
}

/// The addresses are the subjects that the code makes.
fn check_addresses(document: &Document) {
    let channel: FriendshipId = ID.parse().expect("an id");
    let user: UserId = ID.parse().expect("an id");
    let ephemeral = Ephemeral::TYPES.iter();
    let ephemeral = ephemeral.map(|name| (*name, subject::chat_ephemeral(channel, name)));
    let others = [
        ("send", subject::send(channel)),
        ("mark", subject::mark(channel)),
        ("log", subject::chat_log(channel)),
        ("marks", subject::chat_mark(channel)),
        ("presence", subject::presence(user)),
        ("notices", subject::notify_user(user)),
        ("userEvents", subject::user_event(user, ID)),
        ("friendshipEvents", subject::friendship_event(channel, ID)),
        (
            "revokedSessions",
            subject::key_value(subject::REVOKED_SESSIONS, ID),
        ),
        ("deadLetters", subject::dead_letter(ID)),
    ];
    for (name, subject) in ephemeral.chain(others) {
        let address = document.channels[name]["address"]
            .as_str()
            .expect("an address");
        let parts = address.split(['{', '}']).enumerate();
        let made: String = parts
            .map(|(at, part)| if at % 2 == 0 { part } else { ID })
            .collect();
        assert_eq!(made, subject, "{name}");
    }
}

#[test]
fn the_document_is_as_the_types_are() {
    let mut document = Document::default();
    websocket(&mut document);
    events(&mut document);
    requests(&mut document);
    check_addresses(&document);
    let Document {
        schemas,
        messages,
        channels,
        operations,
    } = document;
    let document = json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Natter: WebSocket and broker",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What Natter says to clients over WebSocket, and to other services over NATS with JetStream (2.12 or newer). Times are RFC 3339 in UTC; ids are hyphenated UUIDs. An example of another service is deploy/examples/subscriber.py.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "webSocket": {"host": "127.0.0.1:8080", "protocol": "ws", "description": "The gateway, behind an ingress: wss"},
            "nats": {
                "host": "127.0.0.1:4222", "protocol": "nats",
                "description": "Other services connect as `subscriber`, which may listen and read the streams USERS, FRIENDSHIPS and CHAT with consumers of its own; deploy/up writes NATS_URL, NATS_USER and NATS_PASSWORD to natter.env",
                "security": [{"$ref": "#/components/securitySchemes/user"}],
            },
        },
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": messages,
            "schemas": schemas,
            "securitySchemes": {"user": {"type": "userPassword"}},
        },
    });
    let text = serde_norway::to_string(&document).expect("YAML");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/asyncapi.yaml");
    natter_test_support::check_generated(path, &text);
}
