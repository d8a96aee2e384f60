//! A policy scan by a tool that others use too, with each finding that is accepted justified.

use natter_k8s::{Manifests, python};
use serde_json::Value;

/// Findings that are accepted, and why.
const ACCEPTED: [(&str, &str); 5] = [
    (
        "CKV_K8S_11",
        "CPU limits throttle a service that could use what is free, and are heard as latency",
    ),
    (
        "CKV_K8S_15",
        "tags are of one version and never moved: what is on the node is the same image",
    ),
    (
        "CKV_K8S_35",
        "the images of NATS and psql take passwords from variables alone",
    ),
    ("CKV_K8S_40", "the image of Postgres knows the user 999"),
    (
        "CKV_K8S_43",
        "operators pin digests in their overlay, of the images that they built or mirrored",
    ),
];

#[tokio::test]
async fn the_policy_scan_finds_nothing_else() {
    for overlay in ["overlays/kind", "overlays/production"] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("all.yaml");
        std::fs::write(&file, Manifests::text(overlay)).expect("it is ours");
        let program = "import sys; from checkov.main import Checkov; sys.exit(Checkov().run())";
        let file = file.to_string_lossy();
        let scan = [
            "-c",
            program,
            "--framework",
            "kubernetes",
            "--file",
            &file,
            "--output",
            "json",
            "--quiet",
            "--skip-download",
        ];
        let output = python(&scan).output().await.expect("Python is there");
        let said = String::from_utf8_lossy(&output.stdout);
        let report: Value = serde_json::from_str(&said)
            .unwrap_or_else(|_| panic!("{said}{}", String::from_utf8_lossy(&output.stderr)));
        assert!(
            report["summary"]["passed"].as_u64() > Some(500),
            "{}",
            report["summary"]
        );
        let failed = report["results"]["failed_checks"]
            .as_array()
            .expect("a list");
        for check in failed {
            let id = check["check_id"].as_str().expect("an id");
            let is_accepted = ACCEPTED.iter().any(|(accepted, _)| *accepted == id);
            assert!(
                is_accepted,
                "{overlay}: {id} {} of {}",
                check["check_name"], check["resource"]
            );
        }
        for (accepted, _) in ACCEPTED {
            let is_found = failed.iter().any(|check| check["check_id"] == accepted);
            // Postgres is the operator's in production.
            assert!(
                is_found || overlay == "overlays/production",
                "{accepted} is no finding any more"
            );
        }
    }
}
