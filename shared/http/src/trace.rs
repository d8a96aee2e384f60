//! The trace that a request belongs to.

use axum::http::{HeaderMap, HeaderName};
use opentelemetry::{
    global,
    propagation::Extractor,
    trace::{TraceContextExt, TraceId},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// W3C trace headers of an HTTP request.
struct TraceHeaders<'a>(&'a HeaderMap);

impl Extractor for TraceHeaders<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

/// Makes `span` a child of the caller's, if headers name one, and notes its trace for the log.
pub(crate) fn join_trace(span: &Span, headers: &HeaderMap) {
    let parent =
        global::get_text_map_propagator(|propagator| propagator.extract(&TraceHeaders(headers)));
    if parent.span().span_context().is_valid() {
        // Fails only where no exporter is configured, and then there is no trace to join.
        let _ = span.set_parent(parent);
    }
    let context = span.context();
    let trace = context.span().span_context().trace_id();
    if trace != TraceId::INVALID {
        span.record("trace_id", tracing::field::display(trace));
    }
}
