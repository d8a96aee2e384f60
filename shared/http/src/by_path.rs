//! Several services behind one listener, as an ingress has them behind one address.

use std::sync::Arc;

use axum::{Router, body::Body, extract::Request};
use tower::{ServiceExt, service_fn};

/// Routes a request to the service with the longest path that fits, as the ingress of `k8s/` does;
/// a request that fits none of them goes to `rest`.
pub fn by_path<const N: usize>(
    services: [(&'static [&'static str], Router); N],
    rest: Router,
) -> Router {
    let services = Arc::new(services);
    let front = service_fn(move |request: Request<Body>| {
        let path = request.uri().path();
        let longest = |paths: &[&str]| {
            let fitting = paths.iter().filter(|prefix| is_below(path, prefix));
            fitting.map(|prefix| prefix.len()).max()
        };
        let fitting = services.iter().filter_map(|(paths, service)| {
            let length = longest(paths)?;
            Some((length, service))
        });
        let service = fitting.max_by_key(|(length, _)| *length);
        let service = service.map_or(&rest, |(_, service)| service);
        service.clone().oneshot(request)
    });
    Router::new().fallback_service(front)
}

fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
