//! Traces, as an OpenTelemetry collector gets them.

use natter_e2e::{Collector, Span, Topology, World};
use natter_test_support::{Friends, Person};
use reqwest::Client;
use serde_json::{Value, json};

const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const PRODUCER: i32 = 4;
const CONSUMER: i32 = 5;

/// The span with this name that `of` started.
async fn child(collector: &Collector, of: &Span, name: &str) -> Span {
    let is_child = |span: &Span| span.parent == of.id && span.name == name;
    let span = collector.span(name, is_child).await;
    assert_eq!(span.trace, of.trace, "{span:?}");
    span
}

#[tokio::test]
async fn one_trace_leads_from_a_frame_into_its_batch_and_to_the_friend() {
    let collector = Collector::start().await;
    let world = World::start_with(Topology::Apart, &collector.settings()).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let mut alices = alice.connect(&world.gateway()).await;
    let mut bobs = bob.connect(&world.gateway_2()).await;
    alices.say(&channel, "a-1", "Hello").await;
    bobs.frame("friendship_message").await;

    let asked = "request send.friendship.*";
    let request = collector.span(asked, |span| span.name == asked).await;
    assert_eq!(
        (request.service.as_str(), request.kind),
        ("natter-gateway", PRODUCER)
    );
    for (name, value) in [
        ("messaging.system", "nats"),
        ("messaging.operation.name", "request"),
        ("messaging.operation.type", "send"),
        ("messaging.destination.template", "send.friendship.*"),
    ] {
        assert_eq!(request.attribute(name), value, "{name}");
    }
    assert_eq!(request.attribute("messaging.batch.message_count"), 1);
    let subject = format!("send.friendship.{channel}");
    assert_eq!(
        request.attribute("messaging.destination.name"),
        subject.as_str()
    );
    let process = child(&collector, &request, "process send.friendship.*").await;
    assert_eq!(
        (process.service.as_str(), process.kind),
        ("natter-messages", CONSUMER)
    );
    let batch = child(&collector, &process, "batch").await;
    assert!(batch.links.contains(&process.id), "{batch:?}");
    let stores = |span: &Span| {
        span.parent == batch.id
            && span
                .attribute("db.query.text")
                .as_str()
                .is_some_and(|text| text.contains("INSERT INTO log"))
    };
    let statement = collector.span("the statement", stores).await;
    assert_eq!(statement.attribute("db.system.name"), "postgresql");
    assert_eq!(
        (statement.trace, statement.kind),
        (batch.trace.clone(), CLIENT)
    );
    let publish = child(&collector, &batch, "publish chat.friendship.*.log").await;
    assert_eq!(publish.kind, PRODUCER);
    let deliver = child(&collector, &publish, "process chat.friendship.*.log").await;
    assert_eq!(deliver.service, "natter-gateway");
    // Nothing of what was said.
    let all = format!("{:?}", collector.spans());
    assert!(!all.contains("Hello") && !all.contains(&alice.access));
    let spans = collector.spans();
    assert!(spans.iter().all(|span| span.events.is_empty()));
}

#[tokio::test]
async fn one_trace_leads_from_a_request_through_its_events() {
    let collector = Collector::start().await;
    let mut settings = collector.settings().to_vec();
    // Nothing but what the caller traces.
    settings.push(("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"));
    settings.push(("OTEL_TRACES_SAMPLER_ARG", "0"));
    settings.push(("RUST_LOG", "info"));
    let mut world = World::start_with(Topology::Apart, &settings).await;
    let alice = Person::sign_up(&world.users(), "alice").await;
    let bob = Person::sign_up(&world.users(), "bob").await;
    let (trace, caller) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let route = "/api/users/friendship/";
    let asked = Client::new()
        .post(format!("{}{route}", world.friendships()))
        .bearer_auth(&alice.access)
        .header("traceparent", format!("00-{trace}-{caller}-01"))
        .header("X-Request-Id", "traced")
        .json(&json!({"to_user": bob.id, "status": "accepted"}))
        .send()
        .await;
    assert_eq!(asked.expect("an answer").status(), 201);

    let name = format!("POST {route}");
    let server = collector.span(&name, |span| span.name == name).await;
    assert_eq!(
        (server.trace.as_str(), server.parent.as_str()),
        (trace, caller)
    );
    assert_eq!(
        (server.service.as_str(), server.kind),
        ("natter-friendships", SERVER)
    );
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.route", route),
        ("user.id", alice.id.as_str()),
    ] {
        assert_eq!(server.attribute(name), value, "{name}");
    }
    assert_eq!(server.attribute("http.response.status_code"), 201);
    let call = child(&collector, &server, "users/get_many").await;
    assert_eq!(
        (call.kind, call.attribute("rpc.method")),
        (CLIENT, &json!("get_many"))
    );
    let answer = child(&collector, &call, "users/get_many").await;
    assert_eq!(
        (answer.service.as_str(), answer.kind),
        ("natter-users", SERVER)
    );
    child(&collector, &answer, "SELECT").await;
    let told = |span: &Span| {
        let subject = span.attribute("messaging.destination.name");
        let subject = subject.as_str().unwrap_or_default();
        span.parent == server.id && subject.starts_with("events.friendships.")
    };
    let publish = collector.span("the event", told).await;
    let process = child(&collector, &publish, "process events.friendships.*.*").await;
    assert_eq!(
        (process.service.as_str(), process.kind),
        ("natter-messages", CONSUMER)
    );
    let others = collector
        .spans()
        .into_iter()
        .filter(|span| span.trace != trace);
    assert_eq!(others.count(), 0, "the sampler holds");

    let find = |text: &str| {
        let line: Value = serde_json::from_str(text).ok()?;
        (line["span"]["request_id"] == "traced").then_some(line)
    };
    let line = world.process("friendships").line("answered", find).await;
    assert_eq!(line["span"]["trace_id"], trace);
}
