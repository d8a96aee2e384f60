//! Traces across NATS: W3C trace context in headers, and spans that are named as OpenTelemetry's
//! semantic conventions for messaging and calls name them.
//!
//! A message that comes without a context, or with one that is not sampled, begins no trace here:
//! whoever sent it has decided that.

use async_nats::{HeaderMap, Message};
use opentelemetry::{
    Context, global,
    propagation::{Extractor, Injector},
    trace::TraceContextExt,
};
use tracing::{Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt;

const TRACEPARENT: &str = "traceparent";

struct Inject<'a>(&'a mut HeaderMap);

impl Injector for Inject<'_> {
    fn set(&mut self, key: &str, value: String) {
        self.0.insert(key, value);
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|value| value.as_str())
    }

    fn keys(&self) -> Vec<&str> {
        Vec::new()
    }
}

/// The present span's context as headers; without any where nothing is traced.
pub(crate) fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    let span = Span::current();
    if span.is_none() {
        return headers;
    }
    let context = span.context();
    if context.span().span_context().is_valid() {
        global::get_text_map_propagator(|propagator| {
            propagator.inject_context(&context, &mut Inject(&mut headers));
        });
    }
    headers
}

/// The present span's context as the value of a `traceparent` header, to be kept in a row.
pub fn traceparent() -> Option<String> {
    headers()
        .get(TRACEPARENT)
        .map(|value| value.as_str().to_owned())
}

/// Notes in the present span that its work failed.
pub(crate) fn failed() {
    Span::current().record("otel.status_code", "ERROR");
}

/// The context that a message came in, if it is traced.
fn parent(headers: &HeaderMap) -> Option<Context> {
    headers.get(TRACEPARENT)?;
    let parent = global::get_text_map_propagator(|propagator| {
        propagator.extract_with_context(&Context::new(), &Headers(headers))
    });
    let is_sampled = parent.span().span_context().is_sampled();
    is_sampled.then_some(parent)
}

/// Makes the span that `span` returns part of the trace of `headers`; no span without a trace.
fn join(headers: Option<&HeaderMap>, span: impl FnOnce() -> Span) -> Span {
    let Some(parent) = headers.and_then(parent) else {
        return Span::none();
    };
    let span = span();
    // Fails only where no exporter is configured, and then there is no trace to join.
    let _ = span.set_parent(parent);
    span
}

/// The span of a request with `count` messages to a subject of the pattern `template`, until its
/// answer.
pub fn request_span(template: &'static str, subject: &str, count: usize) -> Span {
    // tracing-opentelemetry would export an unsigned integer as a text.
    let count = count as i64;
    tracing::debug_span!(
        "request",
        otel.name = format!("request {template}"),
        otel.kind = "producer",
        otel.status_code = field::Empty,
        messaging.system = "nats",
        messaging.operation.name = "request",
        messaging.operation.type = "send",
        messaging.destination.name = subject,
        messaging.destination.template = template,
        messaging.batch.message_count = count,
    )
}

/// The span of publishing `count` messages to subjects of the pattern `template`; none outside of
/// a trace.
pub fn publish_span(template: &'static str, count: usize) -> Span {
    if Span::current().is_none() {
        return Span::none();
    }
    let count = count as i64;
    tracing::debug_span!(
        "publish",
        otel.name = format!("publish {template}"),
        otel.kind = "producer",
        otel.status_code = field::Empty,
        messaging.system = "nats",
        messaging.operation.name = "publish",
        messaging.operation.type = "send",
        messaging.destination.template = template,
        messaging.batch.message_count = count,
    )
}

/// The span of publishing what a row of an outbox has, with the row's `traceparent`.
pub fn outbox_span(subject: &str, event_id: &str, traceparent: Option<&str>) -> Span {
    let mut headers = HeaderMap::new();
    if let Some(traceparent) = traceparent {
        headers.insert(TRACEPARENT, traceparent);
    }
    join(Some(&headers), || {
        tracing::debug_span!(
            "publish",
            otel.name = "publish outbox",
            otel.kind = "producer",
            otel.status_code = field::Empty,
            messaging.system = "nats",
            messaging.operation.name = "publish",
            messaging.operation.type = "send",
            messaging.destination.name = subject,
            messaging.message.id = event_id,
        )
    })
}

/// The span of what a message of a subject of the pattern `template` leads to.
pub fn process_span(template: &'static str, message: &Message) -> Span {
    join(message.headers.as_ref(), || {
        tracing::debug_span!(
            "process",
            otel.name = format!("process {template}"),
            otel.kind = "consumer",
            messaging.system = "nats",
            messaging.operation.name = "process",
            messaging.operation.type = "process",
            messaging.destination.name = message.subject.as_str(),
            messaging.destination.template = template,
        )
    })
}

/// The span of a call to another service, where it is made; none outside of a trace.
pub(crate) fn call_span(service: &'static str, method: &'static str) -> Span {
    if Span::current().is_none() {
        return Span::none();
    }
    tracing::debug_span!(
        "call",
        otel.name = format!("{service}/{method}"),
        otel.kind = "client",
        otel.status_code = field::Empty,
        rpc.system = "nats",
        rpc.service = service,
        rpc.method = method,
    )
}

/// The span of such a call where it is answered.
pub(crate) fn answer_span(service: &'static str, method: &'static str, request: &Message) -> Span {
    join(request.headers.as_ref(), || {
        tracing::debug_span!(
            "answer",
            otel.name = format!("{service}/{method}"),
            otel.kind = "server",
            rpc.system = "nats",
            rpc.service = service,
            rpc.method = method,
        )
    })
}

/// One span for what several requests ask for together: a child of the first that is traced, with a
/// link to each that is.
pub fn batch_span<'a>(requests: impl Iterator<Item = &'a Span>) -> Span {
    let mut batch = Span::none();
    for request in requests.filter(|span| !span.is_none()) {
        let context = request.context();
        let context = context.span().span_context().clone();
        if !context.is_sampled() {
            continue;
        }
        if batch.is_none() {
            // Not the parent of tracing: that would keep the request's span from ending.
            batch = tracing::debug_span!(parent: None, "batch");
            let _ = batch.set_parent(request.context());
        }
        batch.add_link(context);
    }
    batch
}
