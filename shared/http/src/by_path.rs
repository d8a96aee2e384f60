//! Several services behind one listener, as an ingress has them behind one address.

use std::{convert::Infallible, sync::Arc};

use axum::{Router, body::Body, extract::Request, response::Response};
use tower::{ServiceExt, service_fn};

/// Routes a request to the service with the longest path that fits, as the ingress of `k8s/` does.
/// One of them has the path `/`, which always fits.
pub fn by_path<const N: usize>(services: [(&'static [&'static str], Router); N]) -> Router {
    let services = Arc::new(services);
    let front = service_fn(move |request: Request<Body>| {
        let path = request.uri().path();
        let longest = |paths: &[&str]| {
            let fitting = paths.iter().filter(|prefix| is_below(path, prefix));
            fitting.map(|prefix| prefix.len()).max()
        };
        let service = services.iter().max_by_key(|(paths, _)| longest(paths));
        let service = service.map(|(_, service)| service.clone());
        async move {
            match service {
                Some(service) => service.oneshot(request).await,
                None => Ok::<_, Infallible>(Response::default()),
            }
        }
    });
    Router::new().fallback_service(front)
}

fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix.trim_end_matches('/'))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
