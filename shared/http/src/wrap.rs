//! What surrounds every route: slashes, request ids, spans, metrics, deadlines, error bodies.

use std::{any::Any, time::Instant};

use axum::{
    Router,
    body::Body,
    extract::{MatchedPath, Request},
    http::{HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header, uri::PathAndQuery},
    middleware::{self, Next},
    response::IntoResponse,
};
use tower::Layer;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::{Instrument, Span, field};
use uuid::Uuid;

use crate::{
    ErrorKey, HttpSettings, Problem,
    body::{BodyLimit, body_limit},
    cors, deadline,
    origin::{Origins, check_host},
    problem,
    trace::join_trace,
};

/// The longest path with its query, and the most that names and values of all headers may have.
const MAX_ADDRESS_BYTES: usize = 32 * 1024;
const MAX_HEADERS_BYTES: usize = 64 * 1024;
/// The longest `X-Request-Id` that is taken over.
const MAX_REQUEST_ID_BYTES: usize = 128;
/// What metrics, spans and log lines call a method that HTTP does not have. Like the span's name,
/// which then begins with `HTTP`, it is from OpenTelemetry's semantic conventions.
const OTHER_METHOD: &str = "_OTHER";
/// What proxies write for a request whose client left before it was answered.
const CLIENT_LEFT: u16 = 499;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A service's routes with the contract's rules for every endpoint around them. Routes are
/// declared with their trailing slash; the path without it answers the same.
pub fn wrap(routes: Router, key: ErrorKey, settings: &HttpSettings) -> Router {
    let origins = Origins::new(settings);
    let routes = routes
        .fallback(|| async { StatusCode::NOT_FOUND })
        .layer(body_limit(BodyLimit::NO_FILE))
        .layer(middleware::from_fn_with_state(
            settings.deadlines(),
            deadline::keep,
        ))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(head))
        .layer(middleware::map_response(move |response| async move {
            problem::render(key, response)
        }))
        .layer(middleware::from_fn_with_state(origins.clone(), cors::allow))
        .layer(middleware::from_fn(observe))
        .layer(axum::Extension(origins));
    Router::new().fallback_service(middleware::map_request(append_slash).layer(routes))
}

/// `/a/b` becomes `/a/b/`; a last segment with a dot is a file's name and stays.
async fn append_slash(mut request: Request) -> Request {
    let path = request.uri().path();
    let last = path.rsplit('/').next().unwrap_or_default();
    if last.is_empty() || last.contains('.') {
        return request;
    }
    let path_and_query = match request.uri().query() {
        Some(query) => format!("{path}/?{query}"),
        None => format!("{path}/"),
    };
    let mut parts = request.uri().clone().into_parts();
    if let Ok(path_and_query) = path_and_query.parse::<PathAndQuery>() {
        parts.path_and_query = Some(path_and_query);
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}

/// Refuses a request whose head is too long, or without a usable `Host`.
async fn head(request: Request, next: Next) -> Response<Body> {
    let uri = request.uri();
    let address = uri.path().len() + uri.query().map_or(0, str::len);
    let headers = request.headers().iter();
    let headers: usize = headers
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if address > MAX_ADDRESS_BYTES {
        return Problem::uri_too_long().into_response();
    }
    if headers > MAX_HEADERS_BYTES {
        return Problem::headers_too_large().into_response();
    }
    match check_host(request.version(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// The method, if it is one that HTTP has: RFC 9110, and RFC 5789 for PATCH. Any token is a method
/// to hyper, and a metric never forgets a label.
fn known_method(method: &Method) -> Option<&'static str> {
    const KNOWN: [&str; 9] = [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT",
    ];
    KNOWN.into_iter().find(|known| *known == method.as_str())
}

/// Request id, span and metrics.
async fn observe(request: Request, next: Next) -> Response<Body> {
    let method = known_method(request.method());
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let request_id = request
        .headers()
        .get(REQUEST_ID)
        .filter(|id| (1..=MAX_REQUEST_ID_BYTES).contains(&id.len()) && id.to_str().is_ok())
        .cloned()
        .unwrap_or_else(|| {
            HeaderValue::from_str(&Uuid::new_v4().to_string())
                .unwrap_or(HeaderValue::from_static("none"))
        });
    let span = tracing::info_span!(
        "request",
        otel.name = format!("{} {route}", method.unwrap_or("HTTP")),
        otel.kind = "server",
        otel.status_code = field::Empty,
        request_id = request_id.to_str().unwrap_or_default(),
        trace_id = field::Empty,
        http.request.method = method.unwrap_or(OTHER_METHOD),
        http.route = route,
        http.response.status_code = field::Empty,
        // Recorded later, by the extractor that authenticates the caller.
        user.id = field::Empty,
    );
    join_trace(&span, request.headers());
    let mut access = Access {
        span: span.clone(),
        started: Instant::now(),
        method,
        route,
        status: None,
    };

    let mut response = next.run(request).instrument(span).await;
    access.status = Some(response.status().as_u16());
    drop(access);
    response.headers_mut().insert(REQUEST_ID, request_id);
    let nosniff = HeaderValue::from_static("nosniff");
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

/// Says what each metric is.
pub fn describe_metrics() {
    metrics::describe_counter!(
        "http_requests_total",
        "HTTP requests by method, route and status"
    );
    metrics::describe_histogram!(
        "http_request_duration_seconds",
        "From the head of a request to the head of its answer"
    );
}

/// A request's line in the access log and its metrics, written when it ends, however that is.
struct Access {
    span: Span,
    started: Instant,
    method: Option<&'static str>,
    route: String,
    /// `None` until it is answered.
    status: Option<u16>,
}

impl Drop for Access {
    fn drop(&mut self) {
        let elapsed = self.started.elapsed();
        let duration_ms = elapsed.as_secs_f64() * 1_000.0;
        let status = self.status.unwrap_or(CLIENT_LEFT);
        // tracing-opentelemetry would export an unsigned integer as a text.
        let code = i64::from(status);
        self.span.record("http.response.status_code", code);
        if status >= 500 {
            self.span.record("otel.status_code", "ERROR");
        }
        let _in_span = self.span.enter();
        // Method, route, status, request id and user are the span's.
        if self.status.is_some() {
            tracing::info!(duration_ms, "answered");
        } else {
            tracing::info!(duration_ms, "the client left before its answer");
        }
        let labels = [
            ("method", self.method.unwrap_or(OTHER_METHOD).to_owned()),
            ("route", std::mem::take(&mut self.route)),
            ("status", status.to_string()),
        ];
        metrics::counter!("http_requests_total", &labels).increment(1);
        metrics::histogram!("http_request_duration_seconds", &labels).record(elapsed);
    }
}

fn panicked(_: Box<dyn Any + Send>) -> Response<Body> {
    // The panic hook has logged what and where.
    Problem::internal().into_response()
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    use axum::routing::get;
    use clap::Parser;
    use metrics_exporter_prometheus::PrometheusBuilder;
    use tower::ServiceExt;

    use super::*;

    #[derive(Parser)]
    struct Options {
        #[command(flatten)]
        http: HttpSettings,
    }

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("a log").extend_from_slice(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The metrics and the log lines of requests to `/known/` or, every second one, to a path
    /// that no route has.
    async fn seen(methods: &[String]) -> (String, String) {
        let recorder = PrometheusBuilder::new().build_recorder();
        let _metrics = metrics::set_default_local_recorder(&recorder);
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_writer(move || writer.clone())
            .finish();
        let _logs = tracing::subscriber::set_default(subscriber);
        let settings = Options::parse_from(["natter"]).http;
        let routes = Router::new().route("/known/", get(|| async {}));
        let routes = wrap(routes, ErrorKey::Error, &settings);
        for (number, method) in methods.iter().enumerate() {
            let path = match number % 2 {
                0 => "/known/".to_owned(),
                _ => format!("/unknown-{number}/"),
            };
            let request = Request::builder()
                .method(method.as_str())
                .uri(path)
                .header(header::HOST, "natter.example")
                .body(Body::empty())
                .expect("a request");
            let answer = routes.clone().oneshot(request).await.expect("an answer");
            assert!(!answer.status().is_server_error(), "{method:.20}");
        }
        let log = log.0.lock().expect("a log").clone();
        let log = String::from_utf8(log).expect("UTF-8");
        (recorder.handle().render(), log)
    }

    /// Whoever may make up methods or paths may otherwise fill the memory.
    #[tokio::test]
    async fn no_metric_and_no_log_line_has_a_method_or_a_path_that_a_client_made_up() {
        let mut methods: Vec<String> = (0..100).map(|number| format!("A{number}")).collect();
        methods.extend([0, 1].map(|_| "B".repeat(200 * 1024)));
        methods.extend(["get", "get", "GET", "GET", "PATCH"].map(str::to_owned));
        let (metrics, log) = seen(&methods).await;

        let counters = metrics
            .lines()
            .filter(|line| line.starts_with("http_requests_total{"));
        let counters: BTreeSet<&str> = counters.collect();
        let expected = [
            r#"http_requests_total{method="GET",route="/known/",status="200"} 1"#,
            r#"http_requests_total{method="GET",route="none",status="404"} 1"#,
            r#"http_requests_total{method="PATCH",route="/known/",status="405"} 1"#,
            r#"http_requests_total{method="_OTHER",route="/known/",status="405"} 52"#,
            r#"http_requests_total{method="_OTHER",route="none",status="404"} 52"#,
        ];
        assert_eq!(counters, BTreeSet::from(expected));
        let timed = metrics
            .lines()
            .filter(|line| line.starts_with("http_request_duration_seconds_count{"));
        assert_eq!(timed.count(), expected.len());

        let lines: Vec<&str> = log
            .lines()
            .filter(|line| line.contains("answered"))
            .collect();
        assert_eq!(lines.len(), methods.len());
        for line in lines {
            assert!(line.len() < 1_000, "{line:.1000}");
            assert!(!line.contains("A1") && !line.contains("unknown-"), "{line}");
        }
        assert!(
            log.contains(r#""http.request.method":"_OTHER""#),
            "{log:.1000}"
        );
        assert!(log.contains(r#""otel.name":"HTTP /known/""#), "{log:.1000}");
        assert!(log.contains(r#""otel.name":"GET /known/""#), "{log:.1000}");
    }
}
