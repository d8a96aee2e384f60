//! What live connections are told of friendships and marks, whatever happens to those who tell it.

use std::time::Duration;

use async_nats::{Client, Message, Subscriber};
use futures_util::{StreamExt, future::join_all};
use natter_e2e::{Topology, World, jetstream};
use natter_test_support::{Friends, PATIENCE, Person, Signal, Socket, befriend, until};
use serde_json::{Value, json};
use sqlx::Connection;
use tokio::time::{Instant, timeout};

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

/// A notice that was written into a broken connection to the broker is published again.
#[tokio::test]
async fn what_was_told_into_silence_is_told_again() {
    let mut world = World::start(Topology::Apart).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let link = world.link_to_nats("friendships").await;
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
    let link = world.link_to_nats("gateway").await;
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

/// Takes the place of every replica of a service: the test itself answers the requests to it.
async fn impersonate(world: &mut World, service: &str, replicas: &[&str]) -> (Client, Subscriber) {
    for name in replicas {
        world.process(name).end(Signal::Term).await;
    }
    let client = jetstream(&world.nats, service).await.client();
    let subject = format!("rpc.{service}.*");
    let asked = client.queue_subscribe(subject, service.to_owned()).await;
    let asked = asked.expect("it may");
    client.flush().await.expect("it is connected");
    (client, asked)
}

async fn reply(client: &Client, request: &Message, answer: &Value) {
    let to = request.reply.clone().expect("a request");
    let answered = client.publish(to, answer.to_string().into()).await;
    answered.expect("it is connected");
    client.flush().await.expect("it is connected");
}

/// The broker drops a gateway that opens a connection and has the list of its channels already: a
/// channel that opens before the broker is back is told all the same.
#[tokio::test]
async fn a_notice_that_was_missed_while_a_connection_opened_is_told() {
    let mut world = World::start(Topology::Apart).await;
    let Friends {
        alice,
        channel: old,
        ..
    } = world.friends().await;
    let link = world.link_to_nats("gateway").await;
    let give_up = Instant::now() + PATIENCE;
    let (client, mut asked) =
        impersonate(&mut world, "messages", &["messages", "messages-2"]).await;
    loop {
        let carol = Person::sign_up(&world.users(), "carol").await;
        let gateway = world.gateway();
        let opening = async {
            let mut socket = Socket::connect(&gateway, &alice.headers()).await.ok()?;
            let ready = socket.next().await.ok()?;
            assert_eq!(ready["type"], "ready");
            Some(socket)
        };
        let during = async {
            // Asked with the channels of the list.
            let heads = loop {
                let request = asked.next().await.expect("the subscription stays");
                if request.subject.ends_with(".heads") {
                    break request;
                }
            };
            link.partition();
            let channel = befriend(&world.friendships(), &carol, &alice).await;
            world.published().await;
            let connects = || {
                world
                    .log(["gateway"])
                    .matches(r#""event":"connected""#)
                    .count()
            };
            let before = connects();
            link.cut();
            link.mend();
            let again = async || (connects() > before).then_some(());
            until("the gateway has the broker again", again).await;
            reply(&client, &heads, &json!({&old: 0})).await;
            channel
        };
        let opened = async {
            let (socket, channel) = tokio::join!(opening, during);
            Some((socket?, channel))
        };
        // The gateway gave up on a machine that was busy: once more.
        let Some((mut socket, channel)) = opened.await else {
            assert!(
                Instant::now() < give_up,
                "not opened: {}",
                world.log(["gateway"])
            );
            continue;
        };
        let told = socket.frame("friendship_update").await;
        assert_eq!(told["friendship"]["id"], channel.as_str(), "{told}");
        return;
    }
}

/// Every connection of a gateway that lost the broker lists its channels again, and not all of them
/// at once: the friendships service could not answer them in time.
#[tokio::test]
async fn after_the_broker_returned_connections_ask_in_turn() {
    const CONNECTIONS: usize = 160;
    /// `MAX_OPENING` of the gateway.
    const AT_ONCE: usize = 64;
    let mut world = World::start(Topology::Apart).await;
    let link = world.link_to_nats("gateway").await;
    let mut people = Vec::new();
    for number in 0..16 {
        people.push(Person::sign_up(&world.users(), &format!("person-{number}")).await);
    }
    let gateway = world.gateway();
    let mut sockets = Vec::new();
    for _ in 0..CONNECTIONS / people.len() {
        sockets.extend(join_all(people.iter().map(|one| one.connect(&gateway))).await);
    }
    let (client, mut asked) = impersonate(&mut world, "friendships", &["friendships"]).await;
    let give_up = Instant::now() + PATIENCE;
    loop {
        let waits = "channels are not known yet";
        let gave_up = world.log(["gateway"]).matches(waits).count();
        link.cut();
        let mut unanswered = Vec::new();
        let mut most = 0;
        let mut answered = 0;
        while answered < CONNECTIONS {
            // Collects the requests that come while none is answered.
            while let Ok(request) = timeout(Duration::from_millis(300), asked.next()).await {
                unanswered.push(request.expect("the subscription stays"));
                if unanswered.len() > AT_ONCE {
                    break;
                }
            }
            most = most.max(unanswered.len());
            assert!(Instant::now() < give_up, "{answered} were answered");
            for request in unanswered.drain(..) {
                reply(&client, &request, &json!([])).await;
                answered += 1;
            }
        }
        // A connection that gave up let another one ask: this try shows nothing.
        if world.log(["gateway"]).matches(waits).count() == gave_up {
            assert!(most <= AT_ONCE, "{most} asked at once");
            return;
        }
    }
}
