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

/// Whether every service takes the person's tokens, the gateway too.
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
fn header(person: &Person) -> &str {
    person.access.split('.').next().unwrap_or_default()
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
    let signed = until("the new key signs", || async {
        let again = alice.log_in(&world.users()).await;
        is_taken(&world, &again).await;
        (header(&again) != header(&alice)).then_some(again)
    })
    .await;
    is_taken(&world, &alice).await;
    is_taken(&world, &signed).await;
    // What the old key signed is exchanged for what the new one signs.
    let refresh = format!("{}/api/users/refresh-token/", world.users());
    let body = serde_json::json!({"refresh": alice.refresh});
    let (status, pair) = alice.post(&refresh, body).await;
    assert_eq!(status, 200, "{pair}");
}

#[tokio::test]
async fn a_key_is_forgotten_when_its_last_token_has_expired() {
    let settings = [("NATTER_REFRESH_TOKEN_SECONDS", "8")];
    let world = World::start_with(Topology::Standalone, &settings).await;
    let before = published(&world).await;
    let rotated = world.admin(&["rotate-key", "--after", "0"], &[]).await;
    assert!(rotated.status.success(), "{rotated:?}");
    until("both keys are published", || async {
        let keys = published(&world).await;
        (keys.len() == 2 && keys.is_superset(&before)).then_some(())
    })
    .await;
    until("the old key is forgotten", || async {
        published(&world).await.is_disjoint(&before).then_some(())
    })
    .await;
}
