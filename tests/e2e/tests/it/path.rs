//! The way of a message: bursts, and replicas that freeze, leave, or are of the previous version.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use natter_e2e::{Log, Talker, Topology, World, jetstream, tell_marks};
use natter_test_support::{Friends, Signal, Socket, until};
use serde_json::{Value, json};

async fn send(socket: &mut Socket, channel: &str, client_id: &str) {
    let frame = json!({
        "type": "friendship", "channel": channel, "payload": client_id, "client_id": client_id,
    });
    socket.send_text(&frame.to_string()).await;
}

#[tokio::test]
async fn a_burst_of_ten_thousand_is_acknowledged_in_order() {
    const FRAMES: usize = 10_000;
    let world = World::start(Topology::Apart).await;
    let Friends { alice, channel, .. } = world.friends().await;
    let headers = alice.headers();
    let mut socket = Socket::connect(&world.gateway(), &headers)
        .await
        .expect("it is let in");
    socket.frame("ready").await;
    let before = whole_reads(&world).await;
    // What is sent is read as fast as it can be stored: the two go on beside each other.
    let mut acknowledged: Vec<(String, u64)> = Vec::with_capacity(FRAMES);
    let mut sent = 0;
    while acknowledged.len() < FRAMES {
        // At most 2,000 are under way: neither the sender nor the gateway ever waits for the other.
        while sent < FRAMES && sent < acknowledged.len() + 2_000 {
            sent += 1;
            send(&mut socket, &channel, &format!("burst-{sent}")).await;
        }
        let frame = socket.next().await.expect("the connection stays open");
        match frame["type"].as_str() {
            Some("ack") => acknowledged.push((
                frame["client_id"].as_str().expect("an id").to_owned(),
                frame["seq"].as_u64().expect("a seq"),
            )),
            Some("error") => panic!("refused: {frame}"),
            _ => {}
        }
    }
    let expected = (1..=FRAMES).map(|number| (format!("burst-{number}"), number as u64));
    assert!(acknowledged.into_iter().eq(expected), "out of order");
    // Postgres has no statistics of this young table, and must not read it whole for that.
    assert_eq!(whole_reads(&world).await, before, "a table was read whole");
}

/// How often a table on the path was read from its beginning to its end.
async fn whole_reads(world: &World) -> i64 {
    let mut admin = world.postgres.admin("natter").await;
    let reads = sqlx::query_scalar(
        "SELECT sum(seq_scan)::bigint FROM pg_stat_user_tables
         WHERE schemaname = 'messages' AND relname IN ('log', 'marks', 'channels')",
    );
    reads.fetch_one(&mut admin).await.expect("statistics")
}

/// People who talk, each in a channel of their own with a friend, while something happens.
struct Crowd {
    pairs: Vec<Friends>,
}

/// How long one message waited for its `ack`, at most.
struct Waited {
    longest: Duration,
    sent: usize,
}

impl Crowd {
    async fn of(world: &World, count: usize) -> Self {
        let mut pairs = Vec::new();
        for _ in 0..count {
            pairs.push(world.friends().await);
        }
        Self { pairs }
    }

    /// Talks until `stop`; panics when a send is refused or a connection closed.
    async fn talk(&self, world: &World, stop: &AtomicBool) -> Waited {
        let talks = self.pairs.iter().enumerate().map(async |(number, pair)| {
            let gateway = match number % 2 {
                0 => world.gateway(),
                _ => world.gateway_2(),
            };
            let mut socket = pair.alice.connect(&gateway).await;
            let mut waited = Waited {
                longest: Duration::ZERO,
                sent: 0,
            };
            while !stop.load(Ordering::Relaxed) {
                waited.sent += 1;
                let asked = Instant::now();
                let client_id = format!("talk-{}", waited.sent);
                let answer = socket.say(&pair.channel, &client_id, &client_id).await;
                assert_eq!(answer["type"], "ack", "{answer}");
                waited.longest = waited.longest.max(asked.elapsed());
            }
            waited
        });
        let all = futures_util::future::join_all(talks).await;
        Waited {
            longest: all.iter().map(|one| one.longest).max().unwrap_or_default(),
            sent: all.iter().map(|one| one.sent).sum(),
        }
    }

    /// Everything that was acknowledged is there once, in order.
    async fn check(&self, messages: &str, waited: &Waited) {
        let mut stored = 0;
        for pair in &self.pairs {
            let history = pair.bob.history(messages, &pair.channel).await;
            for (place, item) in history.iter().enumerate() {
                let expected = format!("talk-{}", place + 1);
                assert_eq!(item["message"]["content"], expected);
            }
            stored += history.len();
        }
        assert_eq!(stored, waited.sent);
        // Promised within 1.5 s; not asserted, since a busy machine is no failure.
        eprintln!("{} sends, the longest {:?}", waited.sent, waited.longest);
    }
}

#[tokio::test]
async fn a_frozen_replica_keeps_nobody_waiting() {
    let mut world = World::start(Topology::Apart).await;
    let crowd = Crowd::of(&world, 6).await;
    let stop = AtomicBool::new(false);
    let (messages, friendships) = ("messages-2", "friendships-2");
    world.add(friendships, "friendships").await;
    let freezing = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        for (name, other) in [(messages, "messages"), (friendships, "friendships")] {
            world.signal(name, Signal::Stop).await;
            // Whoever connects now asks services of which one replica is frozen.
            for _ in 0..4 {
                let pair = &crowd.pairs[0];
                let (mut socket, _) = pair.bob.connect_full(&world.gateway()).await;
                socket.send(json!({"type": "resume", "channels": {}})).await;
                socket.frame("resumed").await;
            }
            // Longer than anybody waits for an answer: a request to the frozen replica alone would
            // fail.
            tokio::time::sleep(Duration::from_secs(4)).await;
            world.signal(name, Signal::Cont).await;
            assert!(world.is_ready(other).await);
        }
        stop.store(true, Ordering::Relaxed);
    };
    let (waited, ()) = tokio::join!(crowd.talk(&world, &stop), freezing);
    crowd.check(&world.messages(), &waited).await;
}

#[tokio::test]
async fn a_rolling_restart_of_the_messages_service_is_felt_by_nobody() {
    let mut world = World::start(Topology::Apart).await;
    let crowd = Crowd::of(&world, 6).await;
    let stop = AtomicBool::new(false);
    // A new replica comes first, as in a rolling upgrade. The old ones get a signal alone: the crowd
    // holds the world.
    world.add("messages-3", "messages").await;
    let leaving = async {
        for name in ["messages", "messages-2"] {
            tokio::time::sleep(Duration::from_millis(700)).await;
            world.signal(name, Signal::Term).await;
        }
        tokio::time::sleep(Duration::from_millis(700)).await;
        stop.store(true, Ordering::Relaxed);
    };
    let (waited, ()) = tokio::join!(crowd.talk(&world, &stop), leaving);
    let again = world.log(["gateway", "gateway-2"]);
    assert!(!again.contains("have no answer"), "{again}");
    crowd.check(&world.url("messages-3"), &waited).await;
}

/// A replica of the previous version knows no arrays of sends.
#[tokio::test]
async fn a_messages_service_of_the_previous_version_is_asked_one_by_one() {
    let mut world = World::start(Topology::Apart).await;
    let Friends { alice, channel, .. } = world.friends().await;
    let mut socket = alice.connect(&world.gateway()).await;
    for name in ["messages", "messages-2"] {
        world.process(name).end(Signal::Term).await;
    }
    let client = jetstream(&world.nats, "messages").await.client();
    let mut asked = client
        .queue_subscribe("send.friendship.*", "messages".to_owned())
        .await
        .expect("it may");
    client.flush().await.expect("it is connected");
    let old = tokio::spawn(async move {
        let mut seq = 0;
        while let Some(request) = asked.next().await {
            let send: Value = serde_json::from_slice(&request.payload).expect("JSON");
            let reply = if send["sender"].is_string() {
                seq += 1;
                json!({"ack": {
                    "message": uuid::Uuid::now_v7(), "seq": seq,
                    "created_at": "2026-11-27T04:00:00.000000Z", "duplicate": false,
                }})
            } else {
                json!({"refused": "unavailable"})
            };
            let to = request.reply.expect("a request");
            let _ = client.publish(to, reply.to_string().into()).await;
        }
    });
    for number in 1..=20 {
        send(&mut socket, &channel, &format!("old-{number}")).await;
    }
    for number in 1..=20_u64 {
        let answer = socket.answer(&format!("old-{number}")).await;
        assert_eq!(
            (&answer["type"], &answer["seq"]),
            (&json!("ack"), &json!(number))
        );
    }
    old.abort();
}

/// The marks of each user that a socket was shown never move backwards.
fn check_marks(socket: &Socket) {
    let mut newest: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let frames = socket.seen().iter();
    for frame in frames.filter(|frame| frame["type"] == "chat_friendship_notification") {
        let seq = |name: &str| frame[name].as_u64().expect("a seq");
        let mark = (seq("received_seq"), seq("seen_seq"));
        let user = frame["user"].as_str().expect("a user").to_owned();
        let known = newest.entry(user).or_default();
        assert!(mark.0 >= known.0 && mark.1 >= known.1, "backwards: {frame}");
        *known = mark;
    }
}

#[tokio::test]
async fn marks_only_move_forward_whoever_tells_them_first() {
    let world = World::start(Topology::Apart).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let mut socket = alice.connect(&world.gateway()).await;
    let mut messages = Vec::new();
    for number in 1..=3 {
        let ack = socket.say(&channel, &format!("m-{number}"), "Hi").await;
        messages.push(ack["message"].clone());
    }
    // As two replicas would that store a mark one after the other and tell it the other way round.
    let marks = [0, 1, 0, 2, 1].map(|place: usize| {
        let seen = place as u64;
        (seen + 1, seen, &messages[place])
    });
    tell_marks(&world.nats, &channel, &bob.id, &marks).await;
    // Something that is told after all of them.
    let typing = json!({"type": "typing", "channel": channel, "active": true});
    bob.connect(&world.gateway_2()).await.send(typing).await;
    socket.frame("typing").await;
    let marks = socket.seen().iter();
    let marks = marks.filter(|frame| frame["type"] == "chat_friendship_notification");
    assert!(marks.count() >= 3, "none was told");
    check_marks(&socket);
}

/// A mark that was stored and not told, since its replica ended in between, is told when it comes
/// again.
#[tokio::test]
async fn a_receipt_is_told_after_a_crash_between_storing_and_telling() {
    let mut world = World::start(Topology::Apart).await;
    for name in ["messages", "messages-2"] {
        world.set(name, "FAILPOINTS", "marks-stored=return");
        world.restart(name, Signal::Term).await;
    }
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let mut alice_socket = alice.connect(&world.gateway()).await;
    let mut bob_socket = bob.connect(&world.gateway_2()).await;
    let ack = alice_socket.say(&channel, "hello", "Hello").await;
    bob_socket.frame("friendship_message").await;
    // Both replicas end at it, one after the other: the second is asked again.
    for name in ["messages", "messages-2"] {
        let ended = world.process(name).ended().await;
        assert_eq!(ended, None, "{name} was ended by its failpoint");
    }
    for name in ["messages", "messages-2"] {
        world.set(name, "FAILPOINTS", "");
        world.begin(name);
    }
    let mark = alice_socket.frame("chat_friendship_notification").await;
    assert_eq!(
        (&mark["user"], &mark["message"], &mark["is_received"]),
        (&json!(bob.id), &ack["message"], &json!(true))
    );
}

/// Every channel's log stays without gaps and in one order while replicas freeze and thaw under
/// traffic.
#[tokio::test]
async fn what_is_asked_of_two_replicas_is_stored_once() {
    let world = World::start(Topology::Apart).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let gateways = vec![world.gateway(), world.gateway_2()];
    let mut alice_talks = Talker::new(alice.clone(), gateways.clone(), &channel);
    let mut bob_talks = Talker::new(bob, gateways, &channel);
    let stop = AtomicBool::new(false);
    let freezing = async {
        for name in ["messages", "messages-2", "messages"] {
            // Longer than until the other is asked, shorter than until the first is cut off.
            world.signal(name, Signal::Stop).await;
            tokio::time::sleep(Duration::from_millis(900)).await;
            world.signal(name, Signal::Cont).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(
        alice_talks.talk_until("alice", &stop),
        bob_talks.talk_until("bob", &stop),
        freezing
    );
    let history = alice.history(&world.messages(), &channel).await;
    let newest = history.len() as u64;
    tokio::join!(alice_talks.follow_to(newest), bob_talks.follow_to(newest));
    Log::check(&[&alice_talks.log, &bob_talks.log], &history);
}

/// A send that is on its way to a replica which is cut off is not refused for good by the other one:
/// the channel may be open again when the first gets to it.
#[tokio::test]
async fn what_is_refused_is_not_stored_by_another_replica_later() {
    let mut world = World::start(Topology::Apart).await;
    let link = world.link_to_nats("messages").await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let mut socket = alice.connect(&world.gateway()).await;
    let url = format!("{}/api/users/friendship/", world.friendships());
    let set = async |status: &str| {
        let body = json!({"friendship_id": channel, "status": status});
        let (code, answer) = bob.patch(&url, body).await;
        assert_eq!(code, 200, "{answer}");
    };
    link.partition();
    set("rejected").await;
    let mut refused = Vec::new();
    // Eight, so that some go to the replica that is cut off.
    for number in 1..=8 {
        let text = format!("while closed {number}");
        let answer = socket.say(&channel, &text, &text).await;
        if answer["code"] == "channel_closed" {
            refused.push(text);
        }
    }
    set("accepted").await;
    link.mend();
    // And so that some of these go there too, behind them.
    for number in 1..=12 {
        let text = format!("open again {number}");
        let sent = until("the channel is open again", || async {
            let mut socket = alice.connect(&world.gateway()).await;
            let answer = socket.say_until_decided(&channel, &text, &text).await;
            (answer["type"] == "ack").then_some(())
        });
        sent.await;
    }
    let history = alice.history(&world.messages(), &channel).await;
    let stored = history.iter().map(|item| &item["message"]["content"]);
    let stored: Vec<&str> = stored.filter_map(Value::as_str).collect();
    assert!(stored.contains(&"open again 12"), "{stored:?}");
    let both = refused.iter().find(|text| stored.contains(&text.as_str()));
    assert_eq!(both, None, "refused, and stored: {stored:?}");
}

/// Whatever was said in a channel before it opened for a connection is history, also when joining
/// the channel had to be tried more than once.
#[tokio::test]
async fn a_channel_that_could_not_be_joined_at_first_is_not_replayed() {
    let mut world = World::start(Topology::Apart).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let mut bob_socket = bob.connect(&world.gateway_2()).await;
    for number in 1..=30 {
        let client_id = format!("old-{number}");
        let ack = bob_socket.say(&channel, &client_id, &client_id).await;
        assert_eq!(ack["type"], "ack");
    }
    // Long before: what was said just before a channel opened may be shown, since clocks differ.
    let mut admin = world.postgres.admin("natter").await;
    let aged = sqlx::query("UPDATE messages.log SET at = at - interval '1 hour'");
    let aged = aged.execute(&mut admin).await.expect("a superuser may");
    assert_eq!(aged.rows_affected(), 30);
    let url = format!("{}/api/users/friendship/", world.friendships());
    let set = |status: &str| json!({"friendship_id": channel, "status": status});
    bob.patch(&url, set("rejected")).await;
    bob_socket.frame("friendship_update").await;
    // A connection that has never had the channel.
    let mut alice_socket = alice.connect(&world.gateway()).await;
    for name in ["messages", "messages-2"] {
        world.process(name).end(Signal::Term).await;
    }
    let (status, reopened) = bob.patch(&url, set("accepted")).await;
    assert_eq!(status.as_u16(), 200, "{reopened}");
    alice_socket.frame("friendship_update").await;
    until("joining fails", || async {
        let said = world.log(["gateway"]);
        said.contains("a channel cannot be joined yet")
            .then_some(())
    })
    .await;
    for name in ["messages", "messages-2"] {
        world.begin(name);
    }
    world.ready().await;
    let mut bob_socket = bob.connect(&world.gateway_2()).await;
    let ack = bob_socket.say(&channel, "new", "new").await;
    assert_eq!(ack["type"], "ack");
    let first = alice_socket.frame("friendship_message").await;
    assert_eq!(first["message"]["content"], "new");
}

/// What was said in a channel that opened while a gateway was cut off is written, also when joining
/// the channel had to be tried more than once.
#[tokio::test]
async fn a_channel_that_opened_while_its_gateway_was_cut_off_is_replayed() {
    let mut world = World::start(Topology::Apart).await;
    let link = world.link_to_nats("gateway").await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let url = format!("{}/api/users/friendship/", world.friendships());
    let set = |status: &str| json!({"friendship_id": channel, "status": status});
    bob.patch(&url, set("rejected")).await;
    // A connection that has never had the channel.
    let mut alice_socket = alice.connect(&world.gateway()).await;
    link.partition();
    bob.patch(&url, set("accepted")).await;
    let mut bob_socket = bob.connect(&world.gateway_2()).await;
    let ack = bob_socket.say(&channel, "missed", "missed").await;
    assert_eq!(ack["type"], "ack", "{ack}");
    // By now longer ago than clocks may differ.
    until("the gateway has lost the broker", async || {
        (!world.is_ready("gateway").await).then_some(())
    })
    .await;
    for name in ["messages", "messages-2"] {
        world.process(name).end(Signal::Term).await;
    }
    link.cut();
    link.mend();
    until("joining fails", || async {
        let said = world.log(["gateway"]);
        said.contains("a channel cannot be joined yet")
            .then_some(())
    })
    .await;
    for name in ["messages", "messages-2"] {
        world.begin(name);
    }
    world.ready().await;
    let first = alice_socket.frame("friendship_message").await;
    assert_eq!(first["message"]["content"], "missed");
}

/// A replica that has lost its database says at once that it can store nothing: the other one can.
#[tokio::test]
async fn what_one_replica_cannot_store_another_does() {
    let mut world = World::start(Topology::Apart).await;
    let Friends { alice, channel, .. } = world.friends().await;
    let link = world.link_to_postgres("messages", &["messages"]).await;
    let mut socket = alice.connect(&world.gateway()).await;
    link.shut();
    link.cut();
    // So many that some are asked of the replica without a database.
    for number in 1..=40 {
        let client_id = format!("a-{number}");
        let ack = socket.say(&channel, &client_id, "Hi").await;
        assert_eq!(ack["type"], "ack", "{ack}");
    }
}
