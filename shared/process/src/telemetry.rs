//! Logs, traces and metrics, set up once for the process.

use std::{io::IsTerminal, time::Duration};

use anyhow::Context;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry::{Key, global, trace::TracerProvider};
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tracing::{Metadata, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer, filter::filter_fn, layer::SubscriberExt, util::SubscriberInitExt,
};

use crate::{
    LogFormat, ProcessSettings,
    sql_spans::{self, SqlSpans},
};

/// Buckets of every `…_seconds` histogram: from a commit on a fast disk to a request's deadline.
const SECONDS_BUCKETS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// Buckets of every `…_size` histogram.
const SIZE_BUCKETS: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

pub(crate) struct Telemetry {
    traces: Option<SdkTracerProvider>,
    pub metrics: PrometheusHandle,
}

impl Telemetry {
    /// Must be called outside the async runtime: the exporter's HTTP client blocks.
    pub fn start(service: &'static str, settings: &ProcessSettings) -> anyhow::Result<Self> {
        let filter = EnvFilter::try_new(&settings.log_filter).context("RUST_LOG is not valid")?;
        let terminal = std::io::stdout().is_terminal();
        let log = match settings.log_format {
            Some(LogFormat::Json) => tracing_subscriber::fmt::layer().json().boxed(),
            Some(LogFormat::Text) => tracing_subscriber::fmt::layer().with_ansi(terminal).boxed(),
            None if terminal => tracing_subscriber::fmt::layer().boxed(),
            None => tracing_subscriber::fmt::layer().json().boxed(),
        };
        let traces = settings
            .otlp_endpoint
            .is_some()
            .then(|| trace_provider(service))
            .transpose()?;
        // What is traced does not depend on what is logged: most spans are of level debug.
        let export = traces.as_ref().map(|provider| {
            let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer(service));
            let statements = SqlSpans::new(provider.tracer(service));
            spans
                .with_filter(filter_fn(is_traced).with_max_level_hint(LevelFilter::DEBUG))
                .and_then(statements.with_filter(sql_spans::filter()))
        });
        global::set_text_map_propagator(TraceContextPropagator::new());
        tracing_subscriber::registry()
            .with(log.with_filter(filter))
            .with(export)
            .try_init()
            .context("logging could not be started")?;
        std::panic::set_hook(Box::new(|panic| {
            let location = panic.location().map(ToString::to_string);
            tracing::error!(
                location,
                "panic: {}",
                panic.payload_as_str().unwrap_or("unknown")
            );
        }));
        Ok(Self {
            traces,
            metrics: start_metrics()?,
        })
    }

    /// Sends what is left. Call it outside the runtime.
    pub fn stop(self) {
        if let Some(provider) = self.traces
            && let Err(error) = provider.shutdown()
        {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

/// What a tool has to say while it works (what it waits for) goes to standard error.
pub(crate) fn start_task() {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_max_level(tracing::Level::WARN)
        .with_target(false)
        .init();
}

/// Natter's own spans. Not what is logged in them, which may have what people typed.
fn is_traced(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target().starts_with("natter")
}

fn trace_provider(service: &'static str) -> anyhow::Result<SdkTracerProvider> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .build()
        .context("OTEL_EXPORTER_OTLP_ENDPOINT cannot be used")?;
    // With what OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say.
    let mut resource = Resource::builder().build();
    let named = resource.get(&Key::from_static_str("service.name"));
    if named.is_none_or(|name| name.as_str().starts_with("unknown_service")) {
        resource = Resource::builder().with_service_name(service).build();
    }
    // Sampler, batches and limits are those of the standard variables.
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource)
        .build())
}

fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS_BUCKETS)?
        .set_buckets_for_metric(Matcher::Suffix("_size".into()), &SIZE_BUCKETS)?
        .build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).context("metrics could not be started")?;
    natter_http::describe_metrics();
    Ok(handle)
}

/// Keeps the histograms from growing; runs until the process ends.
pub(crate) async fn upkeep(metrics: PrometheusHandle) {
    let mut tick = tokio::time::interval(METRICS_UPKEEP);
    loop {
        tick.tick().await;
        metrics.run_upkeep();
    }
}
