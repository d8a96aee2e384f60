//! Who may import whom. A new edge is a decision: write it down here with its reason.

use std::{collections::BTreeMap, process::Command};

use serde_json::Value;

/// What each crate of the workspace may import of the others.
fn allowed(package: &str) -> &'static [&'static str] {
    match package {
        "natter-protocol" | "natter-http" | "natter-startup" => &[],
        // It serves a service's router in the test's own process.
        "natter-test-support" => &["natter-bus", "natter-http", "natter-process"],
        // The process listens, with the settings and the server of the HTTP conventions.
        "natter-process" => &["natter-http"],
        // A start waits for a database or a broker, and their passwords are never shown.
        "natter-pg" => &["natter-startup"],
        "natter-bus" => &["natter-startup", "natter-protocol"],
        // The relay publishes rows, and compares the streams with what they acknowledged.
        "natter-outbox" => &["natter-bus", "natter-pg"],
        // The files of a message on its way: the shapes of the frame and of the send.
        "natter-media" => &["natter-protocol"],
        // Keys and ended sessions come over the bus; a refused caller is answered with the error
        // body that all services share, and the feeds run as tasks of the process.
        "natter-auth" => &[
            "natter-protocol",
            "natter-bus",
            "natter-http",
            "natter-process",
        ],
        "natter-users" | "natter-messages" => &[
            "natter-protocol",
            "natter-auth",
            "natter-bus",
            "natter-http",
            "natter-media",
            "natter-outbox",
            "natter-pg",
            "natter-process",
            "natter-startup",
        ],
        "natter-friendships" => &[
            "natter-protocol",
            "natter-auth",
            "natter-bus",
            "natter-http",
            "natter-outbox",
            "natter-pg",
            "natter-process",
            "natter-startup",
        ],
        // It keeps nothing: no database. Its process serves the pages.
        "natter-gateway" => &[
            "natter-protocol",
            "natter-auth",
            "natter-bus",
            "natter-http",
            "natter-media",
            "natter-process",
            "natter-site",
            "natter-startup",
        ],
        // No keys, no database, no broker.
        "natter-site" => &["natter-http"],
        "natter-standalone" => &[
            "natter-auth",
            "natter-bus",
            "natter-media",
            "natter-http",
            "natter-process",
            "natter-site",
            "natter-users",
            "natter-friendships",
            "natter-messages",
            "natter-gateway",
        ],
        // It migrates every schema, checks every service's settings, and traces messages.
        "natter-admin" => &[
            "natter-auth",
            "natter-bus",
            "natter-media",
            "natter-pg",
            "natter-process",
            "natter-protocol",
            "natter-startup",
            "natter-users",
            "natter-friendships",
            "natter-messages",
            "natter-gateway",
        ],
        "natter-e2e" => &["natter-test-support"],
        // Its figures come from the same running Natter as the tests. Of the messages service it has
        // what the search index makes of a text, to fill its table with millions of rows.
        "natter-bench" => &["natter-e2e", "natter-test-support", "natter-messages"],
        "natter-faults" => &["natter-e2e", "natter-test-support"],
        // The manifests route to the paths of the services, and are used as the tests use Natter.
        "natter-k8s" => &[
            "natter-e2e",
            "natter-test-support",
            "natter-site",
            "natter-users",
            "natter-friendships",
            "natter-messages",
            "natter-gateway",
        ],
        "natter-architecture" => &[],
        other => panic!("{other} is new: say here what it may import"),
    }
}

/// What a crate's tests may import beside that.
fn allowed_in_tests(package: &str) -> &'static [&'static str] {
    match package {
        // Services that this one asks are beside it.
        "natter-friendships" => &["natter-media", "natter-users"],
        "natter-messages" => &["natter-friendships", "natter-users"],
        // The AsyncAPI document is made from the types on the wire.
        "natter-site" => &["natter-process", "natter-protocol"],
        _ => &[],
    }
}

#[test]
fn every_import_is_allowed() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("a name");
        let imports = seen.entry(name.to_owned()).or_default();
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let imported = dependency["name"].as_str().expect("a name");
            if !imported.starts_with("natter-") {
                continue;
            }
            if dependency["kind"] == "dev" && allowed_in_tests(name).contains(&imported) {
                continue;
            }
            if imported == "natter-test-support"
                && !["natter-e2e", "natter-bench", "natter-faults", "natter-k8s"].contains(&name)
            {
                assert_eq!(
                    dependency["kind"], "dev",
                    "{name} ships what is for tests only"
                );
                continue;
            }
            imports.push(imported.to_owned());
        }
    }
    for (name, imports) in seen {
        for imported in &imports {
            assert!(
                allowed(&name).contains(&imported.as_str()),
                "{name} imports {imported}"
            );
        }
        let unused = allowed(&name)
            .iter()
            .find(|one| !imports.iter().any(|i| i == *one));
        assert_eq!(unused, None, "{name} may import it and does not");
    }
}
