//! The configuration of three NATS servers, run by three.

use std::fs;

use natter_test_support::{Nats, Process, free_port, until};
use serde_json::Value;
use tempfile::TempDir;

const CLUSTER: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../k8s/components/nats-cluster/cluster.conf"
);
const PASSWORD: &str = "nats-cluster-secret";

#[tokio::test]
async fn three_servers_become_one_cluster() {
    let folder = TempDir::new().expect("a temporary folder");
    let cluster = fs::read_to_string(CLUSTER).expect("it is there");
    fs::copy(Nats::CONFIG, folder.path().join("nats.conf")).expect("it is there");
    let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let monitors: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let mut variables = Nats::passwords();
    variables.push((
        "NATTER_NATS_CLUSTER_PASSWORD".to_owned(),
        PASSWORD.to_owned(),
    ));
    for (number, port) in ports.iter().enumerate() {
        let route = format!("nats://cluster:{PASSWORD}@127.0.0.1:{port}");
        variables.push((format!("NATS_ROUTE_{number}"), route));
    }
    let mut servers = Vec::new();
    for number in 0..3 {
        // On one machine each needs a port of its own. (On the command line it would take the
        // password of the cluster away.)
        let listen = format!("listen: 127.0.0.1:{}", ports[number]);
        assert!(cluster.contains("port: 6222"), "{cluster}");
        let config = folder.path().join(format!("cluster-{number}.conf"));
        fs::write(&config, cluster.replace("port: 6222", &listen)).expect("it is ours");
        let arguments = [
            format!("--config={}", config.display()),
            format!("--name=nats-{number}"),
            "--addr=127.0.0.1".to_owned(),
            format!("--port={}", free_port()),
            format!("--http_port={}", monitors[number]),
            format!("--store_dir={}/{number}", folder.path().display()),
        ];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        servers.push(Process::start(&Nats::program(), &arguments, &variables));
    }
    for port in monitors {
        let url = format!("http://127.0.0.1:{port}/jsz");
        until("each knows the two others and who leads", || async {
            let state: Value = reqwest::get(&url).await.ok()?.json().await.ok()?;
            let cluster = &state["meta_cluster"];
            let has_leader = cluster["leader"]
                .as_str()
                .is_some_and(|leader| !leader.is_empty());
            (has_leader && cluster["cluster_size"] == 3).then_some(())
        })
        .await;
    }
}
