//! What is stopped, frozen or killed loses nothing that was acknowledged.

use futures_util::future::join_all;
use natter_e2e::{Log, Subscriber, Talker, Topology, World};
use natter_test_support::{Friends, Link, PATIENCE, Person, Signal, Socket, until};
use serde_json::json;
use sqlx::Connection;
use std::time::Instant;

/// A send while something is down is answered, and the sockets stay.
async fn is_unavailable(alice: &mut Socket, bob: &mut Socket, channel: &str) {
    let asked = Instant::now();
    let refused = alice.say(channel, "while-down", "Are you there?").await;
    // Promised within 3 s; not asserted, since a busy machine is no failure.
    eprintln!("unavailable after {:?}", asked.elapsed());
    assert_eq!(
        (&refused["type"], &refused["code"]),
        (&json!("error"), &json!("unavailable"))
    );
    assert_eq!(refused["answers"], "friendship");
    for socket in [alice, bob] {
        socket.send(json!({"type": "ping"})).await;
        socket.frame("pong").await;
    }
}

/// The same client id is acknowledged once everything is back, on the same sockets.
async fn flows_again(alice: &mut Socket, bob: &mut Socket, channel: &str) {
    let sent = alice.say_until_decided(channel, "while-down", "Are you there?");
    assert_eq!(sent.await["type"], "ack");
    let came = bob.frame("friendship_message").await;
    assert_eq!(came["message"]["content"], "Are you there?");
    // Another replica may take this one, and find out with it that its connection is dead.
    let sent = bob.say_until_decided(channel, "bob-1", "Yes");
    assert_eq!(sent.await["type"], "ack");
    alice
        .find(|frame| frame["message"]["content"] == "Yes")
        .await;
}

#[tokio::test]
async fn what_waits_for_a_stopped_postgres_is_unavailable_until_it_returns() {
    let mut world = World::start(Topology::Apart).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let mut alice_socket = alice.connect(&world.gateway()).await;
    let mut bob_socket = bob.connect(&world.gateway_2()).await;
    world.postgres.stop(Signal::Int).await;
    is_unavailable(&mut alice_socket, &mut bob_socket, &channel).await;
    let (status, body) = alice
        .get(&format!("{}/api/users/profile/", world.users()))
        .await;
    assert_eq!(
        (status.as_u16(), &body["code"]),
        (503, &json!("unavailable"))
    );
    world.postgres.start_again().await;
    flows_again(&mut alice_socket, &mut bob_socket, &channel).await;
    // A pooled connection that Postgres has closed is noticed by the request that takes it: a 503.
    let url = format!(
        "{}/api/messages/status/friendship/{channel}/messages/",
        world.messages()
    );
    let history = until("history is there again", || async {
        let (status, history) = alice.get(&url).await;
        assert!(matches!(status.as_u16(), 200 | 503), "{history}");
        (status == 200).then_some(history)
    })
    .await;
    assert_eq!(history["count"], 2);
}

#[tokio::test]
async fn what_waits_for_a_frozen_postgres_is_unavailable_until_it_thaws() {
    let world = World::start(Topology::Apart).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let mut alice_socket = alice.connect(&world.gateway()).await;
    let mut bob_socket = bob.connect(&world.gateway_2()).await;
    assert_eq!(
        alice_socket.say(&channel, "first", "Hi").await["type"],
        "ack"
    );
    bob_socket.frame("friendship_message").await;
    world.postgres.signal_all(Signal::Stop).await;
    is_unavailable(&mut alice_socket, &mut bob_socket, &channel).await;
    world.postgres.signal_all(Signal::Cont).await;
    flows_again(&mut alice_socket, &mut bob_socket, &channel).await;
    assert_eq!(alice.history(&world.messages(), &channel).await.len(), 3);
}

#[tokio::test]
async fn what_waits_for_a_stopped_nats_is_unavailable_until_it_returns() {
    let mut world = World::start(Topology::Apart).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let mut alice_socket = alice.connect(&world.gateway()).await;
    let mut bob_socket = bob.connect(&world.gateway_2()).await;
    world.nats.stop(Signal::Term).await;
    is_unavailable(&mut alice_socket, &mut bob_socket, &channel).await;
    world.nats.start_again().await;
    flows_again(&mut alice_socket, &mut bob_socket, &channel).await;
    assert_eq!(alice.history(&world.messages(), &channel).await.len(), 2);
}

/// What is killed in [`a_killed_process_loses_nothing`].
#[derive(Clone, Copy, Debug)]
enum Victim {
    Service(&'static str),
    Postgres,
    Nats,
}

#[tokio::test]
async fn a_killed_process_loses_nothing() {
    let mut world = World::start(Topology::Apart).await;
    let mut victims: Vec<Victim> = world.names().into_iter().map(Victim::Service).collect();
    victims.extend([Victim::Postgres, Victim::Nats]);
    // Another service counts what is said, and is killed too.
    let mut subscriber = Subscriber::start(&world.nats);
    let mut messages = 0;
    for (round, victim) in victims.into_iter().enumerate() {
        messages += kill_while_talking(&mut world, victim).await;
        subscriber.restart().await;
        let counted = json!({
            "messages": messages, "edits": 0, "deletions": 0, "open_friendships": round + 1,
            "missing": 0,
        });
        subscriber.counts(&counted).await;
        assert_eq!(
            subscriber.last(),
            Some(counted),
            "it counted more than there is"
        );
    }
}

#[tokio::test]
async fn the_one_process_killed_loses_nothing() {
    let mut world = World::start(Topology::Standalone).await;
    kill_while_talking(&mut world, Victim::Service("standalone")).await;
}

/// How many messages were said.
async fn kill_while_talking(world: &mut World, victim: Victim) -> usize {
    const MESSAGES: usize = 150;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let gateways = vec![world.gateway(), world.gateway_2()];
    let mut alice_talks = Talker::new(alice.clone(), gateways.clone(), &channel);
    let mut bob_talks = Talker::new(bob, gateways.into_iter().rev().collect(), &channel);
    let kill = async {
        // In the midst of it: once something was stored, and long before everything was.
        natter_test_support::until("messages flow", || async {
            let stored = alice.history(&world.messages(), &channel).await.len();
            assert!(
                stored < 2 * MESSAGES,
                "everything was said before {victim:?} was killed"
            );
            (stored >= 10).then_some(())
        })
        .await;
        match victim {
            Victim::Service(name) => world.restart(name, Signal::Kill).await,
            Victim::Postgres => {
                world.postgres.stop(Signal::Kill).await;
                world.postgres.start_again().await;
            }
            Victim::Nats => {
                world.nats.stop(Signal::Kill).await;
                world.nats.start_again().await;
            }
        }
        world.ready().await;
    };
    tokio::join!(
        alice_talks.talk("alice", MESSAGES),
        bob_talks.talk("bob", MESSAGES),
        kill
    );
    let history = alice.history(&world.messages(), &channel).await;
    let newest = history.len() as u64;
    tokio::join!(alice_talks.follow_to(newest), bob_talks.follow_to(newest));
    assert_eq!(history.len(), 2 * MESSAGES, "{victim:?}");
    Log::check(&[&alice_talks.log, &bob_talks.log], &history);
    history.len()
}

#[tokio::test]
async fn when_nothing_is_heard_of_ended_sessions_nobody_is_believed() {
    let mut world = World::start(Topology::Standalone).await;
    let Friends { alice, .. } = world.friends().await;
    let mut socket = alice.connect(&world.gateway()).await;
    let profile = format!("{}/api/users/profile/", world.users());
    world.nats.stop(Signal::Term).await;
    // After half a minute of silence: longer than a test waits otherwise.
    assert_eq!(socket.closed_within(3 * PATIENCE).await, Some(1013));
    // Each service counts the silence from a moment of its own.
    let (status, body) = until("nobody is believed", || async {
        let answer = alice.get(&profile).await;
        (answer.0 != 200).then_some(answer)
    })
    .await;
    assert_eq!(
        (status.as_u16(), &body["code"]),
        (503, &json!("unavailable"))
    );
    world.nats.start_again().await;
    until("sessions are believed again", || async {
        (alice.get(&profile).await.0 == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_database_that_is_gone_without_a_word_is_connected_to_again() {
    const CONNECTIONS: usize = 4;
    let mut world = World::start(Topology::Apart).await;
    let Friends { alice, channel, .. } = world.friends().await;
    let setting = "NATTER_FRIENDSHIPS_DATABASE_CONNECTIONS";
    world.set("friendships", setting, &CONNECTIONS.to_string());
    let link = world
        .link_to_postgres("friendships", &["friendships"])
        .await;

    // More than once: each time some of the pool's connections are lost in the midst of a request.
    let url = format!("{}/api/users/friendship/", world.friendships());
    for _ in 0..CONNECTIONS {
        fall_silent(&world, &link, &alice, &url).await;
        until("the service answers again", || async {
            let (status, _) = alice.get(&url).await;
            (status.as_u16() == 200).then_some(())
        })
        .await;
    }
    let reject = json!({"friendship_id": channel, "status": "rejected"});
    let (status, _) = alice.patch(&url, reject).await;
    assert_eq!(status.as_u16(), 200);
    world.published().await;
}

/// Silences the way to the database while requests wait for it.
async fn fall_silent(world: &World, link: &Link, alice: &Person, url: &str) {
    let locked = world
        .lock("friendships.friendships", "ACCESS EXCLUSIVE")
        .await;
    let asked = futures_util::future::join_all((0..2).map(|_| alice.get(url)));
    let silenced = async {
        world.waits_for_lock("friendships").await;
        link.silence();
    };
    let (answers, ()) = tokio::join!(asked, silenced);
    for (status, body) in answers {
        assert_eq!(status.as_u16(), 503, "{body}");
    }
    locked.close().await.expect("it ends");
}

#[tokio::test]
async fn a_process_that_is_ready_answers_a_crowd_at_once() {
    let mut world = World::start(Topology::Standalone).await;
    let Friends { alice, channel, .. } = world.friends().await;
    for round in 1..=3 {
        // It is ready again when this returns.
        world.restart("standalone", Signal::Term).await;
        let url = format!(
            "{}/api/messages/status/friendship/{channel}/messages/",
            world.messages()
        );
        let sends = (1..=60).map(|number| {
            let text = format!("{round}-{number}");
            let (alice, url) = (&alice, &url);
            async move {
                let send = json!({"payload": text, "client_id": text});
                let (status, body) = alice.post(url, send).await;
                if status.as_u16() != 201 {
                    return Some(body);
                }
                let (status, page) = alice.get(url).await;
                (status.as_u16() != 200).then_some(page)
            }
        });
        let refused: Vec<_> = join_all(sends).await.into_iter().flatten().collect();
        assert!(
            refused.is_empty(),
            "{refused:?}\n{}",
            world.log(["standalone"])
        );
    }
}

/// Each writer of the messages service has connected before there is something to write.
#[tokio::test]
async fn messages_and_marks_go_on_where_no_new_connection_can_be_made() {
    let mut world = World::start(Topology::Apart).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let link = world
        .link_to_postgres("messages", &["messages", "messages-2"])
        .await;
    let mut alice_socket = alice.connect(&world.gateway()).await;
    let mut bob_socket = bob.connect(&world.gateway_2()).await;
    // Of each replica the 12 of its pool and those of its 5 writers.
    until("every connection is made", || async {
        let mut admin = world.postgres.admin("natter").await;
        let made = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'messages'";
        let made: i64 = sqlx::query_scalar(made).fetch_one(&mut admin).await.ok()?;
        (made >= 2 * (12 + 5)).then_some(())
    })
    .await;
    link.shut();
    let ack = alice_socket.say(&channel, "a-1", "still there?").await;
    assert_eq!(ack["type"], "ack", "{ack}");
    bob_socket.frame("friendship_message").await;
    let received = alice_socket.frame("chat_friendship_notification").await;
    assert_eq!(received["received_seq"], 1, "{received}");
}
