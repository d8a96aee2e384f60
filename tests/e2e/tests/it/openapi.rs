//! The served documents against the services that serve them.

use std::io::Write;

use natter_e2e::{Topology, World, python};
use natter_test_support::Friends;
use reqwest::StatusCode;

/// For each operation and each of schemathesis' phases.
const EXAMPLES: &str = "30";

#[tokio::test]
async fn schemathesis_finds_nothing() {
    let world = World::start(Topology::Standalone).await;
    for document in ["users", "friendships", "messages"] {
        let Friends { alice, channel, .. } = world.friends().await;
        let url = world.users();
        let done = python(&["-m", "schemathesis.cli"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("NATTER_TEST_FRIENDSHIP", channel)
            .args(["run", &format!("{url}/api/openapi/{document}.json")])
            .args(["--url", &url, "--checks", "all"])
            .args([
                "--header",
                &format!("Authorization: Bearer {}", alice.access),
            ])
            .args([
                "--seed",
                "1",
                "--max-examples",
                EXAMPLES,
                "--continue-on-failure",
                "--no-color",
            ])
            .output()
            .await
            .expect("python3 is there");
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success(), "{document}:\n{said}");
        let last = said.lines().last().unwrap_or_default();
        // Written to standard error itself, which the test harness does not capture: the closing
        // line of schemathesis is always shown.
        let closing = format!(
            "schemathesis, {document}: {}\n",
            last.trim_matches(['=', ' '])
        );
        std::io::stderr()
            .write_all(closing.as_bytes())
            .expect("it is open");
    }
}

#[tokio::test]
async fn the_pages_need_nothing_from_elsewhere() {
    // The gateway's own process has them.
    let world = World::start(Topology::Apart).await;
    let get = async |path: &str| {
        let answer = reqwest::get(format!("{}{path}", world.gateway())).await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        let policy = answer.headers().get("content-security-policy").cloned();
        (answer.text().await.expect("a text"), policy)
    };
    for path in ["/api/docs", "/api/docs/"] {
        let (page, policy) = get(path).await;
        let policy = policy.expect("a policy");
        assert!(policy.as_bytes().starts_with(b"default-src 'self';"));
        assert!(page.contains("<base href=\"/api/docs/\">"));
        // What the page names is there.
        let names = page
            .split(['"'])
            .filter(|name| name.ends_with(".js") || name.ends_with(".css"));
        for name in names {
            get(&format!("/api/docs/{name}")).await;
        }
    }
    let (initializer, _) = get("/api/docs/swagger-initializer.js").await;
    for name in ["users", "friendships", "messages"] {
        let path = format!("/api/openapi/{name}.json");
        assert!(initializer.contains(&path));
        let document = reqwest::get(format!("{}{path}", world.url(name))).await;
        let document: serde_json::Value = document.expect("an answer").json().await.expect("JSON");
        assert_eq!(document["openapi"], "3.1.0");
    }
    let (welcome, _) = get("/").await;
    assert!(welcome.contains("<title>Natter</title>"));
    // What nobody answers gets the error body of the contract.
    for path in ["/nothing", "/api/nothing/", "/api/userss/", "/wsx/"] {
        let answer = reqwest::get(format!("{}{path}", world.gateway())).await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
        let body: serde_json::Value = answer.json().await.expect("JSON");
        assert_eq!(body["code"], "not_found", "{path}");
        assert!(body["error"].is_string(), "{path}: {body}");
    }
}
