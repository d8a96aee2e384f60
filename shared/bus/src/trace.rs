//! W3C trace context in NATS headers.

use async_nats::{HeaderMap, Message};
use opentelemetry::{
    global,
    propagation::{Extractor, Injector},
    trace::TraceContextExt,
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

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

/// The present span's context as headers; none where nothing is traced.
pub(crate) fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    let context = Span::current().context();
    if context.span().span_context().is_valid() {
        global::get_text_map_propagator(|propagator| {
            propagator.inject_context(&context, &mut Inject(&mut headers));
        });
    }
    headers
}

/// Makes `span` part of the trace that `message` came in, and returns it.
pub fn span_of(message: &Message, span: Span) -> Span {
    if let Some(headers) = &message.headers {
        let parent =
            global::get_text_map_propagator(|propagator| propagator.extract(&Headers(headers)));
        if parent.span().span_context().is_valid() {
            // Fails only where no exporter is configured, and then there is no trace to join.
            let _ = span.set_parent(parent);
        }
    }
    span
}
