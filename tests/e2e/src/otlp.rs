//! A receiver of traces: OTLP over HTTP, as an OpenTelemetry collector takes them.

use std::{
    collections::BTreeMap,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
};

use natter_test_support::until;
use serde::Deserialize;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Child,
};

use crate::python;

/// A span as it was exported.
#[derive(Clone, Debug, Deserialize)]
pub struct Span {
    pub service: String,
    pub name: String,
    pub trace: String,
    pub id: String,
    pub parent: String,
    /// The ids of the spans that it links to.
    pub links: Vec<String>,
    /// As OTLP numbers them: 2 server, 3 client, 4 producer, 5 consumer.
    pub kind: i32,
    /// Lines that were written in it.
    pub events: Vec<String>,
    attributes: BTreeMap<String, Value>,
}

impl Span {
    /// An attribute; null where there is none.
    pub fn attribute(&self, name: &str) -> &Value {
        self.attributes.get(name).unwrap_or(&Value::Null)
    }
}

/// What every process of a Natter exports to. Its process ends when this is dropped.
pub struct Collector {
    url: String,
    spans: Arc<Mutex<Vec<Span>>>,
    _process: Child,
}

impl Collector {
    pub async fn start() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/otlp/collector.py");
        let mut process = python(&[script])
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is there");
        let said = process.stdout.take().expect("it is piped");
        let mut lines = BufReader::new(said).lines();
        let port = lines.next_line().await.expect("it is read");
        let url = format!("http://127.0.0.1:{}", port.expect("the port"));
        let spans: Arc<Mutex<Vec<Span>>> = Arc::default();
        let heard = spans.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let span = serde_json::from_str(&line).expect("a span");
                let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                heard.push(span);
            }
        });
        Self {
            url,
            spans,
            _process: process,
        }
    }

    /// The settings of a process that exports to it soon.
    pub fn settings(&self) -> [(&str, &str); 2] {
        [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &self.url),
            ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ]
    }

    pub fn spans(&self) -> Vec<Span> {
        let spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        spans.clone()
    }

    /// The first span that `is_it`, once it is there.
    pub async fn span(&self, what: &str, is_it: impl Fn(&Span) -> bool) -> Span {
        let found = until(what, || async {
            self.spans().into_iter().find(|span| is_it(span))
        });
        found.await
    }
}
