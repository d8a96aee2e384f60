//! Another key signs tokens, and nobody is logged out.

use std::collections::BTreeSet;

use natter_e2e::{Topology, World};
use natter_test_support::{Friends, Person, until};
use serde_json::Value;

/// The ids of the published keys.
async fn published(world: &World) -> BTreeSet<String> {
    let url = format!("{}/.well-known/jwks.json", world.users());
    let keys: Value = reqwest::get(url)
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    let keys = keys["keys"].as_array().expect("keys").iter();
    keys.map(|key| key["kid"].as_str().expect("an id").to_owned())
        .collect()
}

/// Fails unless every service, the gateway too, accepts the person's tokens.
async fn is_taken(world: &World, person: &Person) {
    for url in [
        format!("{}/api/users/profile/", world.users()),
        format!("{}/api/users/friendship/", world.friendships()),
        format!("{}/api/messages/conversations/", world.messages()),
        format!("{}/api/messages/conversations/", world.url("messages-2")),
    ] {
        let (status, body) = person.get(&url).await;
        assert_eq!(status, 200, "{url}: {body}");
    }
    for gateway in [world.gateway(), world.gateway_2()] {
        person.connect(&gateway).await;
    }
}

/// The head of an access token, which names its key.
fn header(access: &str) -> &str {
    access.split('.').next().unwrap_or_default()
}

#[tokio::test]
async fn another_key_signs_and_nobody_is_logged_out() {
    let world = World::start(Topology::Apart).await;
    let Friends { alice, .. } = world.friends().await;
    let before = published(&world).await;
    assert_eq!(before.len(), 1);
    // Longer than the users service takes to read the keys (2 s) and the others to ask it (11 s).
    let rotated = world.admin(&["rotate-key", "--after", "20"], &[]).await;
    assert!(rotated.status.success(), "{rotated:?}");
    let said = String::from_utf8(rotated.stdout).expect("text");
    let new = said.split(' ').nth(2).expect("the key's id").to_owned();

    // It is published first. All the while tokens of whichever key are taken everywhere.
    until("the new key is published", || async {
        published(&world).await.contains(&new).then_some(())
    })
    .await;
    let early = alice.log_in(&world.users()).await;
    assert_eq!(
        header(&early.access),
        header(&alice.access),
        "it signs already"
    );
    let signed = until("the new key signs", || async {
        let again = alice.log_in(&world.users()).await;
        is_taken(&world, &again).await;
        (header(&again.access) != header(&alice.access)).then_some(again)
    })
    .await;
    is_taken(&world, &alice).await;
    is_taken(&world, &signed).await;
    // What the old key signed is exchanged for what the new one signs.
    let refresh = format!("{}/api/users/refresh-token/", world.users());
    let body = serde_json::json!({"refresh": alice.refresh});
    let (status, pair) = alice.post(&refresh, body).await;
    assert_eq!(status, 200, "{pair}");
    let access = pair["access"].as_str().expect("a token");
    assert_eq!(header(access), header(&signed.access));
}

#[tokio::test]
async fn a_key_is_deleted_when_its_last_token_has_expired() {
    let world = World::start(Topology::Standalone).await;
    let before = published(&world).await;
    let alice = Person::sign_up(&world.users(), "alice").await;
    let rotated = world.admin(&["rotate-key", "--after", "0"], &[]).await;
    assert!(rotated.status.success(), "{rotated:?}");
    // Sets the time since which the new key signs.
    let signs_for = async |age: &str| {
        let mut admin = world.postgres.admin("natter").await;
        let sql = format!(
            "UPDATE users.signing_keys SET signs_from = CASE
                 WHEN created_at = (SELECT max(created_at) FROM users.signing_keys)
                 THEN now() - interval '{age}' ELSE now() - interval '100 days' END"
        );
        let aged = sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut admin);
        aged.await.expect("a superuser may");
    };
    // A refresh token lives for 30 days.
    signs_for("29 days").await;
    until("the new key signs", || async {
        let again = alice.log_in(&world.users()).await;
        (header(&again.access) != header(&alice.access)).then_some(())
    })
    .await;
    assert_eq!(published(&world).await.len(), 2);
    signs_for("31 days").await;
    until("the old key is deleted", || async {
        published(&world).await.is_disjoint(&before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_key_is_added_only_to_those_that_the_service_made() {
    let world = World::start(Topology::Standalone).await;
    let mut admin = world.postgres.admin("natter").await;
    let emptied = sqlx::raw_sql("DELETE FROM users.signing_keys").execute(&mut admin);
    emptied.await.expect("a superuser may");
    let refused = world.admin(&["rotate-key"], &[]).await;
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("NATTER_SIGNING_KEY_FILE"), "{said}");
}
