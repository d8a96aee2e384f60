//! A span for each SQL statement, made from the event by which sqlx tells that it is done: no store
//! has to do anything for it.

use std::{fmt::Debug, time::Duration};

use opentelemetry::{
    KeyValue,
    trace::{Span as _, SpanKind, TraceContextExt, Tracer},
};
use opentelemetry_sdk::trace::SdkTracer;
use tracing::{
    Event, Span, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    subscriber::Interest,
};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{
    Layer,
    filter::DynFilterFn,
    layer::{Context, Filter},
};

/// The target of the events that sqlx writes about statements.
const TARGET: &str = "sqlx::query";

/// Lets sqlx write only about statements of a sampled trace: sqlx copies the text of each statement
/// that it writes about.
pub(crate) fn filter<S: Subscriber>() -> impl Filter<S> {
    let filter = DynFilterFn::new(|metadata, _| metadata.target() == TARGET && is_sampled());
    filter
        .with_callsite_filter(|metadata| {
            if metadata.target() == TARGET {
                Interest::sometimes()
            } else {
                Interest::never()
            }
        })
        .with_max_level_hint(LevelFilter::DEBUG)
}

fn is_sampled() -> bool {
    let span = Span::current();
    !span.is_none() && span.context().span().span_context().is_sampled()
}

pub(crate) struct SqlSpans {
    tracer: SdkTracer,
}

impl SqlSpans {
    pub fn new(tracer: SdkTracer) -> Self {
        Self { tracer }
    }
}

impl<S: Subscriber> Layer<S> for SqlSpans {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let parent = Span::current().context();
        let mut statement = Statement::default();
        event.record(&mut statement);
        let end = opentelemetry::time::now();
        let start = end - Duration::try_from_secs_f64(statement.seconds).unwrap_or_default();
        let text = statement.text();
        let operation = text.split_whitespace().next().unwrap_or("SQL");
        let operation = operation.to_ascii_uppercase();
        let attributes = vec![
            KeyValue::new("db.system.name", "postgresql"),
            KeyValue::new("db.operation.name", operation.clone()),
            KeyValue::new("db.query.text", text.to_owned()),
            KeyValue::new("db.response.returned_rows", statement.rows),
        ];
        let span = self
            .tracer
            .span_builder(operation)
            .with_kind(SpanKind::Client)
            .with_start_time(start)
            .with_attributes(attributes);
        let mut span = span.start_with_context(&self.tracer, &parent);
        span.end_with_timestamp(end);
    }
}

/// What sqlx tells of a statement. Values are bound, so its text has none.
#[derive(Default)]
struct Statement {
    /// Its first words; of a short statement all of them.
    summary: String,
    /// Its text, unless the summary has all of it.
    long: String,
    seconds: f64,
    rows: i64,
}

impl Statement {
    fn text(&self) -> &str {
        match self.long.trim() {
            "" => self.summary.trim(),
            long => long,
        }
    }
}

impl Visit for Statement {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "summary" => value.clone_into(&mut self.summary),
            "db.statement" => value.clone_into(&mut self.long),
            _ => {}
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == "elapsed_secs" {
            self.seconds = value;
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "rows_returned" {
            self.rows = i64::try_from(value).unwrap_or(i64::MAX);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}
