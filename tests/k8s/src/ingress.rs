//! A real Envoy, told what the HTTPRoute and the Services say.

use std::{collections::BTreeMap, fs, path::Path};

use natter_test_support::{Process, free_port, until};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    containers::package,
    manifests::{Manifests, list, name_of, text},
};

/// The ingress, on a port of this machine.
pub struct Ingress {
    port: u16,
    /// Each Service's endpoints, a file that Envoy watches.
    folder: TempDir,
    _envoy: Process,
}

impl Ingress {
    pub async fn start(manifests: &Manifests) -> Self {
        let folder = TempDir::with_prefix("natter-envoy-").expect("a temporary folder");
        let port = free_port();
        let services: Vec<&str> = backends(manifests).into_values().collect();
        for service in &services {
            write_endpoints(folder.path(), service, &[]);
        }
        let config = folder.path().join("envoy.json");
        let text = bootstrap(manifests, folder.path(), port).to_string();
        fs::write(&config, text).expect("it is ours");
        let config = config.to_string_lossy().into_owned();
        let arguments = ["--config-path", &config, "--log-level", "warning"];
        let base = ["--use-dynamic-base-id", "--concurrency", "2"];
        let arguments: Vec<&str> = arguments.into_iter().chain(base).collect();
        let envoy = Process::start(&package("envoy/_bin/envoy"), &arguments, &[]);
        until("Envoy listens", || async {
            tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .ok()
        })
        .await;
        Self {
            port,
            folder,
            _envoy: envoy,
        }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The pods that a Service sends to from now on.
    pub fn set_endpoints(&self, service: &str, addresses: &[String]) {
        write_endpoints(self.folder.path(), service, addresses);
    }
}

/// Path to Service, from the HTTPRoute.
fn backends(manifests: &Manifests) -> BTreeMap<&str, &str> {
    let mut backends = BTreeMap::new();
    for rule in manifests
        .of_kind("HTTPRoute")
        .flat_map(|route| list(&route["spec"]["rules"]))
    {
        for matched in list(&rule["matches"]) {
            let service = text(&rule["backendRefs"][0]["name"]);
            backends.insert(text(&matched["path"]["value"]), service);
        }
    }
    backends
}

fn bootstrap(manifests: &Manifests, folder: &Path, port: u16) -> Value {
    let backends = backends(manifests);
    let mut paths: Vec<&str> = backends.keys().copied().collect();
    // The longest that fits, as the Gateway API has it.
    paths.sort_by_key(|path| std::cmp::Reverse(path.len()));
    let routes: Vec<Value> = paths
        .iter()
        .map(|path| {
            let matched = match *path {
                "/" => json!({"prefix": "/"}),
                path => json!({"path_separated_prefix": path}),
            };
            json!({"match": matched, "route": {"cluster": backends[path], "timeout": "0s"}})
        })
        .collect();
    let clusters: Vec<Value> = manifests
        .of_kind("Service")
        .map(name_of)
        .filter(|name| backends.values().any(|backend| backend == name))
        .map(|name| {
            json!({
                "name": name, "type": "EDS", "connect_timeout": "5s",
                "eds_cluster_config": {"eds_config": {
                    "resource_api_version": "V3",
                    "path_config_source": {
                        "path": folder.join(format!("{name}.json")),
                        "watched_directory": {"path": folder},
                    },
                }},
            })
        })
        .collect();
    json!({
        "node": {"id": "ingress", "cluster": "ingress"},
        "static_resources": {
            "listeners": [{
                "name": "http",
                // Pods reach it too: the smoke test is one of them.
                "address": {"socket_address": {"address": "0.0.0.0", "port_value": port}},
                "filter_chains": [{"filters": [{
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                        "stat_prefix": "ingress",
                        // The client's address is the end of X-Forwarded-For.
                        "use_remote_address": true,
                        "upgrade_configs": [{"upgrade_type": "websocket"}],
                        "http_filters": [{
                            "name": "envoy.filters.http.router",
                            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
                        }],
                        "route_config": {"virtual_hosts": [{
                            "name": "natter", "domains": ["*"], "routes": routes,
                            // What was not sent yet may be sent to another pod.
                            "retry_policy": {"retry_on": "connect-failure,refused-stream", "num_retries": 3},
                        }]},
                    },
                }]}],
            }],
            "clusters": clusters,
        },
    })
}

fn write_endpoints(folder: &Path, service: &str, addresses: &[String]) {
    let endpoints: Vec<Value> = addresses
        .iter()
        .map(|address| {
            let address = json!({"socket_address": {"address": address, "port_value": 8080}});
            json!({"endpoint": {"address": address}})
        })
        .collect();
    let assignment = json!({"resources": [{
        "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": service,
        "endpoints": [{"lb_endpoints": endpoints}],
    }]});
    let part = folder.join(format!("{service}.part"));
    fs::write(&part, assignment.to_string()).expect("it is ours");
    // Envoy watches for a file that takes the place of another.
    fs::rename(&part, folder.join(format!("{service}.json"))).expect("it is ours");
}
