//! What holds of every overlay before it runs.

use std::{collections::BTreeSet, process::Command};

use natter_k8s::{Manifests, Workload, python};
use natter_test_support::binary;
use serde_json::{Value, json};

const OVERLAYS: [&str; 4] = [
    "overlays/kind",
    "overlays/production",
    "overlays/kind-ingress",
    "overlays/kind-keda",
];
/// Kinds that Kubernetes itself does not have: other projects', without a schema here.
const FOREIGN: [&str; 5] = [
    "Gateway",
    "HTTPRoute",
    "EnvoyProxy",
    "Cluster",
    "ScaledObject",
];

fn overlays() -> impl Iterator<Item = (&'static str, Manifests)> {
    OVERLAYS
        .into_iter()
        .map(|overlay| (overlay, Manifests::build(overlay)))
}

pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[tokio::test]
async fn every_object_is_strictly_valid() {
    for overlay in OVERLAYS {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("all.yaml");
        std::fs::write(&file, Manifests::text(overlay)).expect("it is ours");
        let program = "from kubernetes_validate.__main__ import main; main()";
        let file = file.to_string_lossy();
        let output = python(&["-c", program, "--strict", &file]).output().await;
        let output = output.expect("Python is there");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success(), "{overlay}: {said}");
        let unknown = said.lines().filter(|line| !line.starts_with("INFO"));
        for line in unknown {
            let is_foreign = |kind: &str| line.contains(&format!("schema for kind {kind} "));
            assert!(FOREIGN.into_iter().any(is_foreign), "{overlay}: {line}");
        }
    }
}

#[test]
fn every_container_is_hardened() {
    for (overlay, manifests) in overlays() {
        for workload in manifests.workloads() {
            let spec = &workload.template["spec"];
            let at = format!("{overlay}: {} {}", workload.kind, workload.name);
            assert_eq!(spec["automountServiceAccountToken"], false, "{at}");
            assert_eq!(spec["serviceAccountName"], "natter", "{at}");
            assert_eq!(spec["enableServiceLinks"], false, "{at}");
            let security = &spec["securityContext"];
            assert_eq!(security["runAsNonRoot"], true, "{at}");
            assert!(security["runAsUser"].as_u64() > Some(0), "{at}");
            assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault", "{at}");
            for host in ["hostNetwork", "hostPID", "hostIPC"] {
                assert_eq!(spec[host], Value::Null, "{at}");
            }
            for container in workload.containers() {
                let at = format!("{at}, {}", container["name"]);
                let security = &container["securityContext"];
                assert_eq!(security["readOnlyRootFilesystem"], true, "{at}");
                assert_eq!(security["allowPrivilegeEscalation"], false, "{at}");
                assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}), "{at}");
                assert!(
                    container["resources"]["requests"]["cpu"].is_string(),
                    "{at}"
                );
                assert!(
                    container["resources"]["requests"]["memory"].is_string(),
                    "{at}"
                );
                assert!(
                    container["resources"]["limits"]["memory"].is_string(),
                    "{at}"
                );
                let image = text(&container["image"]);
                let tag = image.rsplit_once(':').map_or("", |(_, tag)| tag);
                assert!(
                    !["", "latest"].contains(&tag),
                    "{at}: {image} has no version"
                );
            }
        }
    }
}

#[test]
fn every_server_is_probed_and_none_is_killed_for_what_it_depends_on() {
    for (overlay, manifests) in overlays() {
        for workload in servers(&manifests) {
            for container in workload.containers() {
                let at = format!("{overlay}: {}", workload.name);
                for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
                    assert!(container[probe].is_object(), "{at} has no {probe}");
                }
                let liveness = container["livenessProbe"].to_string();
                assert!(!liveness.contains("readyz"), "{at}: {liveness}");
                if workload.kind == "Deployment" {
                    assert_eq!(
                        container["livenessProbe"]["httpGet"]["path"], "/healthz",
                        "{at}"
                    );
                    assert_eq!(
                        container["readinessProbe"]["httpGet"]["path"], "/readyz",
                        "{at}"
                    );
                }
            }
        }
    }
}

#[test]
fn every_port_is_in_a_service_and_opened_to_someone() {
    for (overlay, manifests) in overlays() {
        for workload in servers(&manifests) {
            let labels = &workload.template["metadata"]["labels"];
            let services: Vec<&Value> = manifests
                .of_kind("Service")
                .filter(|service| selects(&service["spec"]["selector"], labels))
                .collect();
            assert!(!services.is_empty(), "{overlay}: {}", workload.name);
            let policies: Vec<&Value> = manifests
                .of_kind("NetworkPolicy")
                .filter(|policy| selects_pod(&policy["spec"]["podSelector"], labels))
                .collect();
            let is_denied = policies.iter().any(|policy| {
                policy["spec"]["policyTypes"] == json!(["Ingress", "Egress"])
                    && policy["spec"]["ingress"].is_null()
            });
            assert!(is_denied, "{overlay}: {} is open by default", workload.name);
            for port in workload.containers().flat_map(|one| list(&one["ports"])) {
                let at = format!("{overlay}: {} port {port}", workload.name);
                let mut served = services
                    .iter()
                    .flat_map(|service| list(&service["spec"]["ports"]));
                assert!(served.any(|one| one["targetPort"] == port["name"]), "{at}");
                let mut opened = policies
                    .iter()
                    .flat_map(|policy| list(&policy["spec"]["ingress"]))
                    .flat_map(|rule| list(&rule["ports"]));
                assert!(
                    opened.any(|one| one["port"] == port["containerPort"]),
                    "{at}"
                );
            }
        }
    }
}

#[test]
fn every_setting_is_known_and_every_needed_one_is_set() {
    for (overlay, manifests) in overlays() {
        for workload in manifests.workloads() {
            for container in workload.containers() {
                let image = text(&container["image"]);
                let name = image.rsplit('/').next().unwrap_or(image);
                let Some((program, _)) = name
                    .split_once(':')
                    .filter(|(name, _)| name.starts_with("natter-"))
                else {
                    continue;
                };
                let at = format!("{overlay}: {}, {}", workload.name, container["name"]);
                let arguments: Vec<&str> = list(&container["args"]).iter().map(text).collect();
                let environment = manifests.environment(container);
                let known = settings_in(&run(program, &arguments, "--help"));
                // One ConfigMap is for all services and for the set-up: it may have settings that one does not read.
                let shared = &manifests
                    .0
                    .iter()
                    .filter(|object| {
                        object["kind"] == "ConfigMap"
                            && text(&object["metadata"]["name"]).starts_with("natter-settings-")
                    })
                    .flat_map(|object| object["data"].as_object().into_iter().flatten())
                    .map(|(name, _)| name.clone())
                    .collect::<BTreeSet<_>>();
                let service_settings = settings_in(&run("natter-users", &[], "--help"));
                for setting in environment.keys() {
                    let is_known = known.contains(setting)
                        || (shared.contains(setting) && service_settings.contains(setting));
                    assert!(is_known, "{at}: {program} knows no {setting}");
                }
                let needed = settings_in(&run(program, &arguments, ""));
                let is_set = |setting: &str| environment.contains_key(setting);
                for setting in needed.iter().filter(|one| !one.ends_with("_FILE")) {
                    assert!(
                        is_set(setting) || is_set(&format!("{setting}_FILE")),
                        "{at}: {setting} is not set"
                    );
                }
                files_are_mounted(&workload, container, &environment, &at);
            }
        }
    }
}

/// Each `…_FILE` and folder lies in a volume.
fn files_are_mounted(
    workload: &Workload,
    container: &Value,
    environment: &std::collections::BTreeMap<String, Option<String>>,
    at: &str,
) {
    let paths = environment
        .iter()
        .filter(|(name, _)| name.ends_with("_FILE") || name.ends_with("_DIR"));
    for (name, path) in paths {
        let path = path.as_deref().unwrap_or_default();
        let mount = list(&container["volumeMounts"]).iter().find(|mount| {
            let mounted = text(&mount["mountPath"]);
            path == mounted
                || path
                    .strip_prefix(mounted)
                    .is_some_and(|rest| rest.starts_with('/'))
        });
        let mount = mount.unwrap_or_else(|| panic!("{at}: {name}={path} is not mounted"));
        let mut volumes = list(&workload.template["spec"]["volumes"]).iter();
        let volume = volumes.find(|volume| volume["name"] == mount["name"]);
        let volume = volume.unwrap_or_else(|| panic!("{at}: no volume {}", mount["name"]));
        let items = list(&volume["secret"]["items"]);
        let file = path.rsplit('/').next().unwrap_or_default();
        let has_file = items.is_empty() || items.iter().any(|item| item["path"] == file);
        assert!(has_file, "{at}: {name}={path} is not in its volume");
    }
}

#[test]
fn the_stores_are_in_their_volumes() {
    for (overlay, manifests) in overlays() {
        for workload in manifests
            .workloads()
            .filter(|one| one.kind == "StatefulSet")
        {
            let set = manifests.named("StatefulSet", workload.name);
            let claims: Vec<&Value> = list(&set["spec"]["volumeClaimTemplates"])
                .iter()
                .map(|claim| &claim["metadata"]["name"])
                .collect();
            let container = workload.containers().next().expect("it has one");
            let store = match workload.name {
                "nats" => list(&container["args"])
                    .iter()
                    .find_map(|argument| text(argument).strip_prefix("--store_dir="))
                    .map(str::to_owned),
                _ => manifests.environment(container)["PGDATA"].clone(),
            };
            let store = store.expect("it says where");
            let is_kept = list(&container["volumeMounts"]).iter().any(|mount| {
                claims.contains(&&mount["name"]) && store.starts_with(text(&mount["mountPath"]))
            });
            assert!(
                is_kept,
                "{overlay}: {} keeps {store} outside its volume",
                workload.name
            );
        }
    }
}

#[test]
fn a_rollout_never_drops_below_demand_and_a_stop_has_its_time() {
    for (overlay, manifests) in overlays() {
        for deployment in manifests.of_kind("Deployment") {
            let name = text(&deployment["metadata"]["name"]);
            let at = format!("{overlay}: {name}");
            let update = &deployment["spec"]["strategy"]["rollingUpdate"];
            assert_eq!(*update, json!({"maxSurge": 1, "maxUnavailable": 0}), "{at}");
            assert!(
                deployment["spec"]["minReadySeconds"].as_u64() >= Some(10),
                "{at}"
            );
            let mut budgets = manifests.of_kind("PodDisruptionBudget");
            assert!(
                budgets.any(|budget| text(&budget["metadata"]["name"]) == name),
                "{at}"
            );
            let spec = &deployment["spec"]["template"]["spec"];
            assert!(!list(&spec["topologySpreadConstraints"]).is_empty(), "{at}");
            let environment = manifests.environment(&spec["containers"][0]);
            let seconds = |setting: &str, default: u64| match environment.get(setting) {
                Some(Some(value)) => value.parse().expect("seconds"),
                _ => default,
            };
            // The defaults of --help.
            let stop = seconds("NATTER_SHUTDOWN_SECONDS", 25);
            let delay = seconds("NATTER_SHUTDOWN_DELAY_SECONDS", 0);
            assert!(delay >= 5, "{at} stops before its endpoint is withdrawn");
            assert!(
                stop > seconds("NATTER_DRAIN_SECONDS", 15),
                "{at} is cut off while it drains"
            );
            assert!(
                spec["terminationGracePeriodSeconds"].as_u64() > Some(delay + stop),
                "{at} is killed while it stops"
            );
        }
    }
}

/// Each replica keeps all its connections open: as many as autoscalers may start must have room.
#[test]
fn the_connections_of_all_replicas_fit_into_postgres() {
    /// For the set-up, an operator, and the three that Postgres keeps for superusers.
    const OTHERS: u64 = 13;
    for (overlay, manifests) in overlays() {
        // Those of the pool by default, and five writers of messages.
        let services = [("users", 10), ("friendships", 10), ("messages", 12 + 5)];
        // A rolling update starts one more of each.
        let wanted = services.map(|(service, connections)| {
            (most_replicas(&manifests, &format!("natter-{service}")) + 1) * connections
        });
        let wanted = wanted.iter().sum::<u64>() + OTHERS;
        let most = max_connections(&manifests);
        assert!(wanted <= most, "{overlay}: {wanted} connections of {most}");
    }
}

fn most_replicas(manifests: &Manifests, deployment: &str) -> u64 {
    let scaled = ["HorizontalPodAutoscaler", "ScaledObject"]
        .into_iter()
        .flat_map(|kind| manifests.of_kind(kind))
        .map(|scaler| &scaler["spec"])
        .find(|spec| spec["scaleTargetRef"]["name"] == deployment);
    let number = match scaled {
        Some(spec) => spec["maxReplicas"]
            .as_u64()
            .or_else(|| spec["maxReplicaCount"].as_u64()),
        None => manifests.named("Deployment", deployment)["spec"]["replicas"].as_u64(),
    };
    number.expect("a number")
}

fn max_connections(manifests: &Manifests) -> u64 {
    let by_operator = manifests
        .of_kind("Cluster")
        .map(|cluster| text(&cluster["spec"]["postgresql"]["parameters"]["max_connections"]));
    let by_argument = manifests
        .of_kind("StatefulSet")
        .flat_map(|set| list(&set["spec"]["template"]["spec"]["containers"][0]["args"]))
        .filter_map(|argument| text(argument).strip_prefix("max_connections="));
    let found = by_operator.chain(by_argument).next();
    found
        .and_then(|number| number.parse().ok())
        .expect("a number")
}

#[test]
fn routes_are_those_of_the_code() {
    let mut code: Vec<(&str, &str)> = Vec::new();
    for (service, paths) in [
        ("natter-users", natter_users::PATHS),
        ("natter-friendships", natter_friendships::PATHS),
        ("natter-messages", natter_messages::PATHS),
        ("natter-gateway", natter_gateway::PATHS),
        ("natter-gateway", natter_site::PATHS),
    ] {
        code.extend(paths.iter().map(|path| (*path, service)));
    }
    code.sort_unstable();
    for (overlay, manifests) in overlays() {
        let mut routes: Vec<(&str, &str)> = Vec::new();
        for rule in manifests
            .of_kind("HTTPRoute")
            .flat_map(|route| list(&route["spec"]["rules"]))
        {
            // No deadline of the ingress: a WebSocket lives, and the services keep their own.
            assert_eq!(rule["timeouts"]["request"], "0s", "{overlay}");
            let service = text(&rule["backendRefs"][0]["name"]);
            let matches = list(&rule["matches"]).iter();
            routes.extend(matches.map(|matched| (text(&matched["path"]["value"]), service)));
        }
        let rules = manifests
            .of_kind("Ingress")
            .flat_map(|ingress| list(&ingress["spec"]["rules"]));
        for path in rules.flat_map(|rule| list(&rule["http"]["paths"])) {
            routes.push((
                text(&path["path"]),
                text(&path["backend"]["service"]["name"]),
            ));
        }
        routes.sort_unstable();
        assert_eq!(routes, code, "{overlay}");
    }
    let caddy = include_str!("../../../../deploy/Caddyfile");
    for (path, service) in code.into_iter().filter(|(path, _)| *path != "/") {
        let short = service.trim_start_matches("natter-");
        let line = caddy
            .lines()
            .find(|line| line.trim().starts_with(&format!("@{short} path")));
        let line = line.unwrap_or_else(|| panic!("the Caddyfile has no {short}"));
        assert!(
            line.split_whitespace().any(|word| word == path),
            "{line} lacks {path}"
        );
    }
}

#[test]
fn nobody_has_more_secrets_than_their_own() {
    for (overlay, manifests) in overlays() {
        for workload in manifests.workloads().filter(|one| one.kind == "Deployment") {
            let service = workload.name.trim_start_matches("natter-");
            for volume in list(&workload.template["spec"]["volumes"]) {
                let secret = &volume["secret"];
                let at = format!("{overlay}: {service} {secret}");
                match text(&secret["secretName"]) {
                    "" | "postgres-ca" | "natter-media-s3" => {}
                    "natter-nats" => {
                        let own = format!("NATTER_{}_NATS_PASSWORD", service.to_uppercase());
                        let keys: Vec<&Value> = list(&secret["items"])
                            .iter()
                            .map(|item| &item["key"])
                            .collect();
                        assert_eq!(keys, [&json!(own)], "{at}");
                    }
                    other => assert_eq!(other, format!("natter-postgres-{service}"), "{at}"),
                }
            }
        }
    }
}

fn servers(manifests: &Manifests) -> impl Iterator<Item = Workload<'_>> {
    manifests
        .workloads()
        .filter(|one| ["Deployment", "StatefulSet"].contains(&one.kind))
}

/// Whether labels have all that a selector wants.
fn selects(selector: &Value, labels: &Value) -> bool {
    let mut wanted = selector.as_object().into_iter().flatten();
    wanted.all(|(name, value)| labels[name] == *value)
}

/// Whether a policy's selector takes these labels; one that is not there takes all.
pub fn selects_pod(selector: &Value, labels: &Value) -> bool {
    let by_expressions = list(&selector["matchExpressions"])
        .iter()
        .all(|expression| list(&expression["values"]).contains(&labels[text(&expression["key"])]));
    selects(&selector["matchLabels"], labels) && by_expressions
}

/// What a program prints without any settings.
fn run(program: &str, arguments: &[&str], more: &str) -> String {
    let mut command = Command::new(binary(program));
    command.env_clear().args(arguments);
    if !more.is_empty() {
        command.arg(more);
    }
    let output = command.output().expect("it is built");
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).into_owned()
}

/// The names of settings in a text.
fn settings_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
    let settings = words.filter(|word| {
        word.starts_with("NATTER_") || *word == "RUST_LOG" || word.starts_with("OTEL_")
    });
    settings.map(str::to_owned).collect()
}
