//! The NetworkPolicies open exactly the arrows of the picture in `k8s/README.md`.

use std::collections::BTreeSet;

use natter_k8s::Manifests;
use serde_json::{Value, json};

use crate::manifests::{list, selects_pod};

/// Every port that anything listens on.
const PORTS: [u16; 8] = [4222, 5432, 6222, 8000, 8080, 8222, 9090, 9187];
const SERVICES: [&str; 4] = ["users", "friendships", "messages", "gateway"];

/// Somebody who talks or is talked to.
struct Peer {
    name: String,
    /// Labels of the namespace.
    namespace: Value,
    labels: Value,
}

impl Peer {
    fn is_inside(&self) -> bool {
        self.namespace["kubernetes.io/metadata.name"] == "natter"
    }
}

#[test]
fn the_policies_open_exactly_the_arrows() {
    for (overlay, needs_setup, has_cluster) in [
        ("overlays/kind", true, false),
        ("overlays/production", false, true),
    ] {
        let mut wanted = BTreeSet::new();
        let mut arrow = |from: &str, to: &str, port| {
            wanted.insert((from.to_owned(), to.to_owned(), port));
        };
        for service in SERVICES {
            arrow(service, "nats", 4222);
            arrow("ingress", service, 8080);
            arrow("metrics", service, 9090);
        }
        arrow("metrics", "nats", 8222);
        arrow("setup", "nats", 4222);
        for client in ["users", "friendships", "messages", "setup", "rotate-key"] {
            arrow(client, "postgres", 5432);
        }
        if needs_setup {
            arrow("postgres-setup", "postgres", 5432);
        }
        if has_cluster {
            arrow("nats", "nats", 6222);
            arrow("postgres", "postgres", 5432);
            arrow("postgres", "postgres", 8000);
            arrow("metrics", "postgres", 9187);
        }
        let manifests = Manifests::build(overlay);
        let peers = peers(&manifests, has_cluster);
        let mut open = BTreeSet::new();
        for from in &peers {
            // A port of the ingress is no arrow of ours.
            for to in peers.iter().filter(|to| to.is_inside()) {
                for port in PORTS {
                    if allows(&manifests, from, to, port) {
                        open.insert((from.name.clone(), to.name.clone(), port));
                    }
                }
            }
        }
        let missing: Vec<_> = wanted.difference(&open).collect();
        let unwanted: Vec<_> = open.difference(&wanted).collect();
        assert!(
            missing.is_empty() && unwanted.is_empty(),
            "{overlay}: missing {missing:?}, and open without need {unwanted:?}"
        );
    }
}

fn peers(manifests: &Manifests, has_cluster: bool) -> Vec<Peer> {
    let inside = json!({"kubernetes.io/metadata.name": "natter"});
    let mut peers: Vec<Peer> = manifests
        .workloads()
        .map(|workload| Peer {
            name: workload.name.trim_start_matches("natter-").to_owned(),
            namespace: inside.clone(),
            labels: workload.template["metadata"]["labels"].clone(),
        })
        .collect();
    if has_cluster {
        // As the operator labels its pods.
        peers.push(Peer {
            name: "postgres".to_owned(),
            namespace: inside,
            labels: json!({"cnpg.io/cluster": "postgres"}),
        });
    }
    for name in ["ingress", "metrics", "stranger"] {
        peers.push(Peer {
            name: name.to_owned(),
            namespace: json!({format!("natter/{name}"): "true"}),
            labels: json!({}),
        });
    }
    peers
}

fn allows(manifests: &Manifests, from: &Peer, to: &Peer, port: u16) -> bool {
    let leaves = !from.is_inside() || opens(manifests, from, "egress", "to", to, port);
    leaves && opens(manifests, to, "ingress", "from", from, port)
}

/// Whether a policy of `whose` has a rule for the other and the port.
fn opens(
    manifests: &Manifests,
    whose: &Peer,
    direction: &str,
    side: &str,
    other: &Peer,
    port: u16,
) -> bool {
    let policies = manifests.of_kind("NetworkPolicy").filter(|policy| {
        assert_eq!(policy["metadata"]["namespace"], "natter", "{policy}");
        selects_pod(&policy["spec"]["podSelector"], &whose.labels)
    });
    let mut rules = policies.flat_map(|policy| list(&policy["spec"][direction]));
    rules.any(|rule| {
        let ports = list(&rule["ports"]);
        let has_port = ports.is_empty() || ports.iter().any(|one| one["port"] == port);
        let others = list(&rule[side]);
        has_port && (others.is_empty() || others.iter().any(|one| is_meant(one, other)))
    })
}

fn is_meant(peer: &Value, other: &Peer) -> bool {
    let in_namespace = if peer["namespaceSelector"].is_object() {
        selects_pod(&peer["namespaceSelector"], &other.namespace)
    } else {
        other.is_inside()
    };
    in_namespace && selects_pod(&peer["podSelector"], &other.labels)
}
