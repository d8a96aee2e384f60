//! What live connections are told of their friendships, whatever becomes of who tells it.

use natter_e2e::{Topology, World};
use natter_test_support::{Friends, Link, Person, Signal, Socket, until};
use serde_json::json;
use sqlx::Connection;

use crate::setback::connect;

/// Rejects the friendship; nothing where the answer is lost with the process.
async fn reject(world: &World, person: &Person, channel: &str) -> Option<u16> {
    let url = format!("{}/api/users/friendship/", world.friendships());
    let request = person.http.patch(url).bearer_auth(&person.access);
    let request = request.json(&json!({"friendship_id": channel, "status": "rejected"}));
    let answer = request.send().await.ok()?;
    Some(answer.status().as_u16())
}

/// Waits until both are told that their channel is closed.
async fn are_told(sockets: [&mut Socket; 2]) {
    for socket in sockets {
        let told = socket.frame("friendship_update").await;
        assert_eq!(told["friendship"]["is_open"], false, "{told}");
    }
}

/// What was written into a connection that nobody reads any more was not told.
#[tokio::test]
async fn what_was_told_into_silence_is_told_again() {
    let mut world = World::start(Topology::Apart).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let link = Link::start(world.nats.port()).await;
    let through = format!("nats://127.0.0.1:{}", link.port());
    world.set("friendships", "NATTER_NATS_URL", &through);
    world.restart("friendships", Signal::Term).await;
    let mut alice_socket = alice.connect(&world.gateway()).await;
    let mut bob_socket = bob.connect(&world.gateway_2()).await;

    let locked = world.lock("friendships.friendships", "SHARE").await;
    let silenced = async {
        // It has asked the other services all that it must know.
        world.waits_for_lock("friendships").await;
        link.silence();
        locked.close().await.expect("it ends");
    };
    let (status, ()) = tokio::join!(reject(&world, &alice, &channel), silenced);
    assert_eq!(status, Some(200));
    are_told([&mut alice_socket, &mut bob_socket]).await;
}

/// The notices of a change go out before its event, which waits for a stream: the process ends in
/// between, and everyone has been told.
#[tokio::test]
async fn who_listens_is_told_before_a_stream_is() {
    let mut world = World::start(Topology::Apart).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    world.published().await;
    world.set("friendships", "FAILPOINTS", "outbox-publish=2*off->return");
    world.restart("friendships", Signal::Term).await;
    let mut alice_socket = alice.connect(&world.gateway()).await;
    let mut bob_socket = bob.connect(&world.gateway_2()).await;
    reject(&world, &alice, &channel).await;
    world.process("friendships").ended().await;
    are_told([&mut alice_socket, &mut bob_socket]).await;
}

/// The lock of the one replica that publishes is let go of while that replica is frozen.
#[tokio::test]
async fn a_frozen_replica_leaves_telling_to_the_other() {
    let mut world = World::start(Topology::Apart).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    world.published().await;
    // It freezes with the lock in hand.
    world.set("friendships", "FAILPOINTS", "outbox-publish=pause");
    world.restart("friendships", Signal::Term).await;
    let mut alice_socket = alice.connect(&world.gateway()).await;
    let mut bob_socket = bob.connect(&world.gateway_2()).await;
    let holds_the_lock = until("it holds the lock, with something to tell", || async {
        let mut admin = world.postgres.admin("natter").await;
        let held: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM friendships.outbox WHERE published_at IS NULL)
                AND EXISTS (SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)
                            WHERE locktype = 'advisory' AND application_name = 'friendships')",
        )
        .fetch_one(&mut admin)
        .await
        .ok()?;
        held.then_some(())
    });
    // It may be frozen as a whole before it has answered.
    let asked = async {
        reject(&world, &alice, &channel).await;
        std::future::pending().await
    };
    tokio::select! {
        () = holds_the_lock => {}
        () = asked => {}
    }
    world.set("friendships", "FAILPOINTS", "");
    world.add("friendships-2", "friendships").await;
    are_told([&mut alice_socket, &mut bob_socket]).await;
}

/// A gateway whose connection to the broker breaks misses the marks of that time: nobody keeps them
/// for it.
#[tokio::test]
async fn marks_that_a_gateway_missed_are_told_again() {
    let mut world = World::start(Topology::Apart).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let link = Link::start(world.nats.port()).await;
    let through = format!("nats://127.0.0.1:{}", link.port());
    world.set("gateway", "NATTER_NATS_URL", &through);
    world.restart("gateway", Signal::Term).await;
    let mut alice_socket = alice.connect(&world.gateway()).await;
    let (mut bob_socket, _) = connect(&bob, &world.gateway_2()).await;
    bob_socket
        .send(json!({"type": "resume", "channels": {}}))
        .await;
    bob_socket.frame("resumed").await;
    let ack = alice_socket.say(&channel, "a-1", "seen?").await;
    bob_socket.frame("friendship_message").await;

    link.silence();
    bob_socket
        .send(json!({
            "type": "friendship_notification_seen", "channel": channel, "message": ack["message"],
        }))
        .await;
    let told = alice_socket.frame("chat_friendship_notification").await;
    assert_eq!(
        (&told["seen_seq"], &told["message"], &told["user"]),
        (&json!(1), &ack["message"], &json!(bob.id))
    );
}
