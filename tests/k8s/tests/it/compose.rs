//! `deploy/compose.yaml`, run.

use std::{collections::BTreeSet, process::Stdio};

use natter_e2e::{Addresses, story};
use natter_k8s::{Containers, podman, python};
use natter_test_support::{PATIENCE, free_port};
use serde_json::Value;
use tokio::{
    process::Command,
    time::{Instant, sleep},
};

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy");

#[tokio::test(flavor = "multi_thread")]
async fn compose_brings_everything_up() {
    let Some(_containers) = Containers::available().await else {
        return;
    };
    let secrets = Command::new(format!("{DEPLOY}/secrets")).status().await;
    assert!(secrets.is_ok_and(|status| status.success()), "no secrets");
    let port = free_port().to_string();
    let text = std::fs::read_to_string(format!("{DEPLOY}/compose.yaml")).expect("it is there");
    let file: Value = serde_norway::from_str(&text).expect("it is YAML");
    let services = file["services"].as_object().expect("services");

    // podman-compose waits for no condition of `depends_on`, so that is done here.
    let mut up: BTreeSet<&str> = BTreeSet::new();
    while up.len() < services.len() {
        let next: Vec<(&String, &Value)> = services
            .iter()
            .filter(|(name, service)| {
                let depends = service["depends_on"].as_object().into_iter().flatten();
                !up.contains(name.as_str())
                    && depends
                        .into_iter()
                        .all(|(name, _)| up.contains(name.as_str()))
            })
            .collect();
        assert!(
            !next.is_empty(),
            "a service waits for one that waits for it"
        );
        let mut start = vec!["up", "--detach", "--no-deps", "--no-build"];
        start.extend(next.iter().map(|(name, _)| name.as_str()));
        compose(&port, &start).await;
        for (name, service) in next {
            let is_awaited = |other: &Value| {
                other["depends_on"][name]["condition"] == "service_completed_successfully"
            };
            if services.values().any(is_awaited) {
                completed(&port, name).await
            } else {
                healthy(name, &service["healthcheck"]["test"]).await
            }
            up.insert(name);
        }
    }
    let logs = LogsOfAFailure(port);
    story(&Addresses::behind(&format!("http://127.0.0.1:{}", logs.0))).await;
}

/// Shows what the services have logged if the test fails.
struct LogsOfAFailure(String);

impl Drop for LogsOfAFailure {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let sql = "SELECT * FROM messages.marks; SELECT * FROM messages.channels";
        let subscriptions = "http://127.0.0.1:8222/connz?subs=1";
        for command in [
            ["logs", "--timestamps", "natter_gateway_1"].as_slice(),
            &["logs", "--timestamps", "natter_messages_1"],
            &["logs", "--timestamps", "natter_nats_1"],
            &["logs", "--timestamps", "natter_postgres_1"],
            &["exec", "natter_nats_1", "wget", "-qO-", subscriptions],
            &[
                "exec",
                "natter_postgres_1",
                "psql",
                "-U",
                "postgres",
                "natter",
                "-c",
                sql,
            ],
        ] {
            let shown = std::process::Command::new("podman").args(command).output();
            let shown = shown.map(|shown| [shown.stdout, shown.stderr].concat());
            let shown = shown.unwrap_or_default();
            eprintln!("podman {command:?}: {}", String::from_utf8_lossy(&shown));
        }
    }
}

async fn completed(port: &str, name: &str) {
    let container = format!("natter_{name}_1");
    let code = podman(&["wait", &container]).await;
    let log = compose(port, &["logs", name]).await;
    assert_eq!(code, "0", "{name}: {log}");
}

/// Until the health check of a service is passed; one without is up when it runs.
async fn healthy(name: &str, test: &Value) {
    let container = format!("natter_{name}_1");
    let command = test.as_array().into_iter().flatten().skip(1);
    let command: Vec<&str> = command.filter_map(Value::as_str).collect();
    if command.is_empty() {
        return;
    }
    let give_up = Instant::now() + 3 * PATIENCE;
    loop {
        let mut check = Command::new("podman");
        check.args(["exec", &container]).args(&command);
        let output = check
            .stdin(Stdio::null())
            .output()
            .await
            .expect("podman is there");
        if output.status.success() {
            return;
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if Instant::now() >= give_up {
            panic!("{name}: {said}{}", podman(&["logs", &container]).await);
        }
        sleep(std::time::Duration::from_millis(200)).await;
    }
}

async fn compose(port: &str, arguments: &[&str]) -> String {
    let file = format!("{DEPLOY}/compose.yaml");
    let start = ["-m", "podman_compose", "--file", &file];
    let mut command = python(&start);
    command
        .args(arguments)
        .env("NATTER_PORT", port)
        .stdin(Stdio::null());
    let output = command.output().await.expect("Python is there");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    said
}
