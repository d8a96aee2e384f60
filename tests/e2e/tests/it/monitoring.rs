//! What `deploy/monitoring` watches is what the services show.

use std::{
    collections::BTreeSet,
    env, fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use natter_e2e::{Topology, World};
use natter_test_support::Friends;
use serde_json::Value;
use tempfile::TempDir;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/monitoring");
const RUNBOOK: &str = include_str!("../../../../deploy/README.md");
const ALERTS: &str = include_str!("../../../../deploy/monitoring/alerts.yaml");
const ALERTS_TEST: &str = include_str!("../../../../deploy/monitoring/alerts_test.yaml");
const DASHBOARD: &str = include_str!("../../../../deploy/monitoring/dashboard.json");

#[allow(
    clippy::disallowed_methods,
    reason = "a test's setting, not a service's"
)]
fn program() -> PathBuf {
    let fetched = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.tools/promtool");
    env::var_os("NATTER_TEST_PROMTOOL").map_or_else(|| fetched.into(), PathBuf::from)
}

fn promtool(arguments: &[&str], input: &str) {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("input");
    fs::write(&file, input).expect("it is ours");
    let done = Command::new(program())
        .args(arguments)
        .current_dir(FOLDER)
        .stdin(fs::File::open(file).expect("it is there"))
        .stderr(Stdio::piped())
        .output()
        .expect("promtool runs");
    let said = [done.stdout, done.stderr].concat();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&said));
}

/// The names after `- alert:`.
fn alerts() -> BTreeSet<&'static str> {
    let lines = ALERTS.lines().map(str::trim);
    lines
        .filter_map(|line| line.strip_prefix("- alert: "))
        .collect()
}

/// Every expression of the dashboard.
fn queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let targets = panels
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    let queries = targets.map(|target| target["expr"].as_str().expect("a query"));
    let queries = queries.map(|query| query.replace("$__rate_interval", "5m"));
    queries.collect()
}

/// The names in a text that can be metrics of Natter: words with an underscore that are neither
/// functions nor values of labels.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let functions = ["histogram_quantile", "max_over_time", "min_over_time"];
    let values = ["deliveries_full", "write_timeout", "log_set_back"];
    let names = words
        .filter(|word| word.contains('_') && !functions.contains(word) && !values.contains(word));
    names.map(str::to_owned).collect()
}

#[test]
fn every_alert_is_valid_tested_and_in_the_runbook() {
    promtool(&["check", "rules", "alerts.yaml"], "");
    promtool(&["test", "rules", "alerts_test.yaml"], "");
    // Debian's promtool knows nothing of Kubernetes.
    let example = include_str!("../../../../deploy/monitoring/prometheus.yaml");
    let (before, rest) = example
        .split_once("    kubernetes_sd_configs:")
        .expect("it has");
    let (_, after) = rest.split_once("    relabel_configs:").expect("it has");
    let example = format!("{before}    relabel_configs:{after}").replace("alerts.yaml", "");
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("prometheus.yaml");
    fs::write(&file, example.replace("rule_files:\n  - \n", "")).expect("it is ours");
    promtool(&["check", "config", &file.to_string_lossy()], "");
    let alerts = alerts();
    assert!(!alerts.is_empty());
    for alert in alerts {
        for case in ["fires", "is quiet"] {
            assert!(
                ALERTS_TEST.contains(&format!("name: {alert} {case}")),
                "{alert} {case}"
            );
        }
        assert!(
            RUNBOOK.contains(&format!("| `{alert}` |")),
            "{alert} is not in the runbook"
        );
    }
}

#[tokio::test]
async fn everything_that_is_watched_is_shown() {
    let world = World::start(Topology::Apart).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let mut alices = alice.connect(&world.gateway()).await;
    let mut bobs = bob.connect(&world.gateway()).await;
    alices.say(&channel, "a-1", "Hello").await;
    bobs.frame("friendship_message").await;
    let mut shown = BTreeSet::new();
    let mut all = String::new();
    // Which of two replicas stored the message is not known.
    for process in world.names() {
        let metrics = world.metrics(process).await.expect("metrics");
        promtool(&["check", "metrics"], &metrics);
        let lines = metrics.lines().filter(|line| !line.starts_with('#'));
        let names = lines.filter_map(|line| line.split(['{', ' ']).next());
        shown.extend(names.map(str::to_owned));
        all += &metrics;
    }
    // What alerts select by is there as well: a misspelt cause would never fire.
    for selected in [
        "code=\"1013\",cause=\"overloaded\"",
        "cause=\"log_set_back\"",
        "cause=\"deliveries_full\"",
        "cause=\"write_timeout\"",
        "state=\"idle\"",
        "state=\"used\"",
    ] {
        let selects = selected.split(',').next_back().unwrap_or_default();
        let value = selects.split('"').nth(1).unwrap_or_default();
        assert!(ALERTS.contains(value), "no alert selects {value}");
        assert!(all.contains(selected), "{selected} is not shown");
    }
    let queries = queries();
    let exprs: Vec<&str> = ALERTS
        .lines()
        .filter(|line| !line.contains("summary:"))
        .collect();
    let watched = metrics_in(&(exprs.join("\n") + &queries.join("\n")));
    let missing: Vec<_> = watched.difference(&shown).collect();
    assert!(
        missing.is_empty(),
        "{missing:?} are not shown; {shown:?} are"
    );

    // A query is valid as the expression of a rule.
    let rules = queries.iter().enumerate().map(|(number, query)| {
        format!(
            "  - record: query_{number}\n    expr: {}\n",
            Value::from(query.as_str())
        )
    });
    let rules = format!(
        "groups:\n- name: dashboard\n  rules:\n{}",
        rules.collect::<String>()
    );
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("dashboard.yaml");
    fs::write(&file, rules).expect("it is ours");
    promtool(&["check", "rules", &file.to_string_lossy()], "");
}
