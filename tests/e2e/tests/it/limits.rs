//! Connections that are too many, too slow or silent, and a gateway that drains.

use futures_util::future::join_all;
use natter_e2e::{Log, Talker, Topology, World};
use natter_test_support::{Friends, PATIENCE, Person, Signal, Socket, until};
use serde_json::json;
use tokio::time::timeout;

/// Connections of the gateway that drains.
const CROWD: usize = 2_000;

#[tokio::test]
async fn past_the_limit_the_oldest_connection_is_closed() {
    let two = [("NATTER_USER_CONNECTIONS", "2")];
    let world = World::start_with(Topology::Standalone, &two).await;
    let alice = Person::sign_up(&world.users(), "alice").await;
    let mut oldest = alice.connect(&world.gateway()).await;
    let mut older = alice.connect(&world.gateway()).await;
    let mut newest = alice.connect(&world.gateway()).await;
    assert_eq!(oldest.closed().await, Some(4009));
    for socket in [&mut older, &mut newest] {
        socket.send(json!({"type": "ping"})).await;
        socket.frame("pong").await;
    }
}

#[tokio::test]
async fn a_slow_reader_is_closed_and_its_neighbour_notices_nothing() {
    let world = World::start(Topology::Apart).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let mut slow = bob.connect(&world.gateway_2()).await;
    let mut neighbour = Talker::new(bob.clone(), vec![world.gateway_2()], &channel);
    let mut writer = alice.connect(&world.gateway()).await;
    let is_closed = async || {
        let metrics = world.metrics("gateway-2").await.unwrap_or_default();
        // Its queue was full, or it did not take one frame for 10 seconds: whichever came first.
        ["deliveries_full", "write_timeout"].iter().any(|cause| {
            let count = format!("websocket_closes_total{{code=\"4008\",cause=\"{cause}\"}} 1");
            metrics.contains(&count)
        })
    };
    let long = "x".repeat(8_000);
    let mut sent = 0;
    while !is_closed().await {
        for _ in 0..50 {
            sent += 1;
            writer.say(&channel, &format!("a-{sent}"), &long).await;
        }
        neighbour.follow_to(sent).await;
        assert!(sent < 20_000, "it is never too slow");
    }
    assert_eq!(slow.closed().await, Some(4008));
    // The neighbour had everything, in order, on one connection; the slow one resumes.
    assert_eq!(neighbour.log.events.len() as u64, sent);
    let newest = slow
        .seen()
        .iter()
        .filter_map(|frame| frame["seq"].as_u64())
        .max();
    let (mut back, _) = bob.connect_full(&world.gateway_2()).await;
    back.send(json!({"type": "resume", "channels": {&channel: newest.unwrap_or_default()}}))
        .await;
    let resumed = back.frame("resumed").await;
    assert_eq!(resumed["channels"][&channel], sent);
}

#[tokio::test]
async fn who_answers_no_pings_is_dropped() {
    let quick = [("NATTER_HEARTBEAT_SECONDS", "1")];
    let world = World::start_with(Topology::Standalone, &quick).await;
    let alice = Person::sign_up(&world.users(), "alice").await;
    let mut lively = alice.connect(&world.gateway()).await;
    // A client answers pings when it reads: this one does not.
    let mut silent = alice.connect(&world.gateway()).await;
    let one_is_left = until("the silent one is dropped", || async {
        let metrics = world.metrics("standalone").await.ok()?;
        metrics
            .lines()
            .any(|line| line == "gateway_connections 1")
            .then_some(())
    });
    tokio::select! {
        () = one_is_left => {}
        closed = lively.closed() => panic!("closed with {closed:?}"),
    }
    silent.closed().await;
}

#[tokio::test]
async fn a_rolling_restart_under_traffic_loses_nothing_and_tells_everyone() {
    let many = [
        ("NATTER_USER_CONNECTIONS", "5000"),
        ("NATTER_DRAIN_SECONDS", "3"),
    ];
    let mut world = World::start_with(Topology::Apart, &many).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let carol = Person::sign_up(&world.users(), "carol").await;
    let mut crowd = Vec::with_capacity(CROWD);
    for _ in 0..CROWD / 50 {
        let gateway = world.gateway();
        let some = (0..50).map(|_| carol.connect(&gateway));
        crowd.extend(futures_util::future::join_all(some).await);
    }
    let gateways = vec![world.gateway(), world.gateway_2()];
    let mut alice_talks = Talker::new(alice.clone(), gateways.clone(), &channel);
    let mut bob_talks = Talker::new(bob, gateways.into_iter().rev().collect(), &channel);
    let talking = async {
        tokio::join!(alice_talks.talk("a", 400), bob_talks.talk("b", 400));
    };
    let restarting = async {
        world.process("gateway").signal(Signal::Term).await;
        let told = crowd.iter_mut().map(|socket: &mut Socket| async {
            let goaway = socket.frame("goaway").await;
            let delay = goaway["reconnect_after_ms"].as_u64().expect("milliseconds");
            assert_eq!(socket.closed().await, Some(1012));
            delay
        });
        let unready = until("it says that it drains", || async {
            let is_ready = world.is_ready("gateway").await;
            (!is_ready).then_some(())
        });
        unready.await;
        let delays = futures_util::future::join_all(told).await;
        let spread = delays.iter().max().zip(delays.iter().min());
        assert!(
            spread.is_some_and(|(most, least)| most - least > 1_000),
            "all at once: {spread:?}"
        );
        assert_eq!(
            timeout(PATIENCE, world.process("gateway").ended()).await,
            Ok(Some(0))
        );
        // Its last line may be read a moment after its end.
        let process = world.process("gateway");
        let stopped = |line: &str| line.contains("stopped").then_some(());
        process.line("that it stopped", stopped).await;
        let lines = process.lines().join("\n");
        assert!(!lines.contains("not everything finished"), "{lines}");
        world.restart("gateway", Signal::Term).await;
        world.restart("gateway-2", Signal::Term).await;
    };
    tokio::join!(talking, restarting);
    tokio::join!(alice_talks.follow_to(800), bob_talks.follow_to(800));
    let history = alice.history(&world.messages(), &channel).await;
    Log::check(&[&alice_talks.log, &bob_talks.log], &history);
}

#[tokio::test]
async fn asking_for_friendship_is_limited_for_an_account() {
    let settings = [
        ("NATTER_RATE_LIMITS", "on"),
        ("NATTER_FRIENDSHIP_REQUESTS_PER_MINUTE", "3"),
        ("NATTER_FRIENDSHIP_REQUESTS_PER_DAY", "1000"),
    ];
    let world = World::start_with(Topology::Standalone, &settings).await;
    let url = format!("{}/api/users/friendship/", world.friendships());
    let alice = Person::sign_up(&world.users(), "alice").await;
    let mut others = Vec::new();
    for _ in 0..4 {
        others.push(Person::sign_up(&world.users(), "other").await);
    }
    let body = |other: &Person| json!({"to_user": other.id, "status": "accepted"});
    for other in &others[..3] {
        assert_eq!(alice.post(&url, body(other)).await.0.as_u16(), 201);
    }
    let request = alice.http.post(&url).bearer_auth(&alice.access);
    let refused = request
        .json(&body(&others[3]))
        .send()
        .await
        .expect("an answer");
    assert_eq!(refused.status(), 429);
    let seconds = refused.headers()["retry-after"].to_str().expect("text");
    let seconds: u32 = seconds.parse().expect("seconds");
    assert!((1..=60).contains(&seconds), "{seconds}");
    let told: serde_json::Value = refused.json().await.expect("JSON");
    assert_eq!(told["code"], "rate_limited");
    assert!(told["detail"].is_string());
    // Being asked does not count towards one's own limit.
    assert_eq!(others[0].post(&url, body(&others[3])).await.0.as_u16(), 201);

    // Requests that are sent at the same time are counted too.
    let mut crowd = Vec::new();
    for _ in 0..12 {
        crowd.push(Person::sign_up(&world.users(), "one").await);
    }
    let hasty = Person::sign_up(&world.users(), "hasty").await;
    let asked = crowd.iter().map(|one| hasty.post(&url, body(one)));
    let statuses = join_all(asked).await.into_iter().map(|(status, _)| status);
    assert_eq!(statuses.filter(|status| *status == 201).count(), 3);
}
