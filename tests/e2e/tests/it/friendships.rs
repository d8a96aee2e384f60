//! Friendships: changed over HTTP, and told to connections.

use natter_e2e::{Topology, World, jetstream};
use natter_test_support::{Friends, Person};
use serde_json::{Value, json};

#[tokio::test]
async fn a_rejection_is_taken_back_by_its_own_side_only() {
    let world = World::start(Topology::Standalone).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let url = format!("{}/api/users/friendship/", world.friendships());
    let set = |status: &str| json!({"friendship_id": channel, "status": status});
    let is_open = |answer: (_, serde_json::Value)| answer.1["is_open"].clone();
    assert_eq!(is_open(alice.patch(&url, set("rejected")).await), false);
    assert_eq!(is_open(bob.patch(&url, set("accepted")).await), false);
    assert_eq!(is_open(alice.patch(&url, set("pending")).await), true);

    // And the channel is open again for both, live.
    let mut alice_socket = alice.connect(&world.gateway()).await;
    let mut bob_socket = bob.connect(&world.gateway()).await;
    alice.patch(&url, set("rejected")).await;
    bob_socket.frame("friendship_update").await;
    alice.patch(&url, set("accepted")).await;
    bob_socket.frame("friendship_update").await;
    assert_eq!(
        alice_socket.say(&channel, "a-1", "Sorry").await["type"],
        "ack"
    );
    let came = bob_socket.frame("friendship_message").await;
    assert_eq!(came["message"]["content"], "Sorry");
}

#[tokio::test]
async fn a_notice_from_before_changes_and_shows_nothing() {
    let world = World::start(Topology::Apart).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let url = format!("{}/api/users/friendship/", world.friendships());
    let (status, opened) = bob.get(&format!("{url}?expand=users")).await;
    assert_eq!((status.as_u16(), &opened[0]["revision"]), (200, &json!(2)));
    let reject = json!({"friendship_id": channel, "status": "rejected"});
    let (_, closed) = bob.patch(&url, reject).await;
    assert_eq!(
        (&closed["revision"], &closed["is_open"]),
        (&json!(3), &json!(false))
    );
    world.published().await;

    let mut alices = alice.connect(&world.gateway()).await;
    let broker = jetstream(&world.nats, "friendships").await.client();
    let tell = async |friendship: &Value| {
        let notice = json!({
            "id": "0199f6b8-0000-7000-8000-000000000001", "time": "2026-11-27T12:00:00.000000Z",
            "version": 1, "type": "friendship_update", "friendship": friendship,
        });
        let subject = format!("notify.user.{}", alice.id);
        let sent = broker.publish(subject, notice.to_string().into()).await;
        sent.expect("it is let");
        broker.flush().await.expect("it is connected");
    };
    // Both are older than the connection: neither is shown, and the first opens nothing.
    tell(&opened[0]).await;
    tell(&closed).await;
    let refused = alices.say_until_decided(&channel, "a-1", "Hello").await;
    assert_eq!(refused["code"], "channel_closed");
    let accept = json!({"friendship_id": channel, "status": "accepted"});
    let (_, again) = bob.patch(&url, accept).await;
    let shown = alices.frame("friendship_update").await;
    assert_eq!(shown["friendship"]["revision"], 4, "a stale one was shown");
    assert_eq!(shown["friendship"], again);
    assert_eq!(alices.say(&channel, "a-1", "Hello").await["type"], "ack");
    // Older than what was shown.
    tell(&closed).await;
    tell(&again).await;
    assert_eq!(alices.say(&channel, "a-2", "Hello").await["type"], "ack");
    let told = alices
        .seen()
        .iter()
        .filter(|frame| frame["type"] == "friendship_update");
    assert_eq!(told.count(), 1);
}

#[tokio::test]
async fn somebody_with_many_friends_connects() {
    const FRIENDS: i64 = 15_000;
    let world = World::start(Topology::Standalone).await;
    let alice = Person::sign_up(&world.users(), "alice").await;
    let mut admin = world.postgres.admin("natter").await;
    // About twice what one message of the broker can carry.
    let made = sqlx::query(
        "INSERT INTO friendships.friendships
             (id, from_user, to_user, status_from_user, status_to_user)
         SELECT gen_random_uuid(), $1::uuid, gen_random_uuid(), 'accepted', 'accepted'
         FROM generate_series(1, $2)",
    )
    .bind(&alice.id)
    .bind(FRIENDS)
    .execute(&mut admin)
    .await;
    made.expect("a superuser may");
    let (_, channels) = alice.connect_full(&world.gateway()).await;
    let channels = channels.as_object().map_or(0, |channels| channels.len());
    assert_eq!(channels as i64, FRIENDS);
}
