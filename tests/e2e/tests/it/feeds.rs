//! The feeds for other services: nothing is lost and nothing invented, whatever happens between a
//! commit and the broker's word, and after the broker lost what it had.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    time::Duration,
};

use natter_e2e::{
    Talker, Topology, World,
    feeds::{FEEDS, are_whole, events, expected},
    jetstream,
};
use natter_test_support::{Friends, PATIENCE, Person, Signal, until};
use serde_json::{Value, json};
use sqlx::{Executor, PgConnection};
use tokio::time::{Instant, sleep};

/// Without their repeats, the events of one key are in order.
async fn are_in_order(world: &World) {
    let mut newest: BTreeMap<String, u64> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (id, event) in events(&world.nats, "CHAT").await.expect("the stream") {
        if seen.insert(id) {
            let channel = event["channel"].to_string();
            let seq = event["seq"].as_u64().expect("a seq");
            assert_eq!(seq, newest.insert(channel, seq).unwrap_or_default() + 1);
        }
    }
    let mut revisions: BTreeMap<String, u64> = BTreeMap::new();
    for (id, event) in events(&world.nats, "FRIENDSHIPS")
        .await
        .expect("the stream")
    {
        if seen.insert(id) {
            let key = event["friendship"]["id"].to_string();
            let revision = event["revision"].as_u64().expect("a revision");
            assert!(revision > revisions.insert(key, revision).unwrap_or_default());
        }
    }
}

async fn talk(world: &World, person: &Person, channel: &str, name: &str) {
    let mut socket = person.connect(&world.gateway()).await;
    for number in 1..=5 {
        let client_id = format!("{name}-{number}");
        let ack = socket.say(channel, &client_id, &client_id).await;
        assert_eq!(ack["type"], "ack", "{ack}");
    }
}

/// Which process ends, and at which point.
const CRASHES: [(&str, &str); 9] = [
    ("users", "outbox-publish"),
    ("users", "outbox-published"),
    ("users", "outbox-marked"),
    ("friendships", "outbox-publish"),
    ("friendships", "outbox-published"),
    ("friendships", "outbox-marked"),
    ("messages", "feed-publish"),
    ("messages", "feed-sent"),
    ("messages", "feed-confirmed"),
];

#[tokio::test]
async fn a_crash_between_commit_and_publish_loses_and_invents_nothing() {
    let mut world = World::start(Topology::Apart).await;
    // Stopped: it would publish what the crashed replica has left.
    world.process("messages-2").end(Signal::Term).await;
    for (round, (process, point)) in CRASHES.into_iter().enumerate() {
        let Friends { alice, channel, .. } = world.friends().await;
        let carol = Person::sign_up(&world.users(), "carol").await;
        let mut socket = alice.connect(&world.gateway()).await;
        world.published().await;
        world.set(process, "FAILPOINTS", &format!("{point}=return"));
        world.restart(process, Signal::Term).await;
        // Committed; whether it is answered is another matter.
        match process {
            "users" => {
                let change = json!({"first_name": format!("Round {round}")});
                let url = format!("{}/api/users/profile/", world.users());
                let request = alice.http.patch(url).bearer_auth(&alice.access);
                let _ = request.json(&change).send().await;
            }
            "friendships" => {
                let ask = json!({"to_user": carol.id, "status": "accepted"});
                let url = format!("{}/api/users/friendship/", world.friendships());
                let request = alice.http.post(url).bearer_auth(&alice.access);
                let _ = request.json(&ask).send().await;
            }
            _ => {
                let send = json!({"type": "friendship", "channel": channel, "payload": "Hi"});
                socket.send(send).await;
            }
        }
        world.process(process).ended().await;
        let before = counts(&world).await;
        world.set(process, "FAILPOINTS", "");
        world.restart(process, Signal::Kill).await;
        are_whole(&world).await;
        assert_eq!(counts(&world).await, before, "{process} {point}");
        talk(&world, &alice, &channel, "after").await;
    }
    are_whole(&world).await;
    are_in_order(&world).await;
}

#[tokio::test]
async fn several_replicas_publish_once_and_in_order() {
    const CHANGES: usize = 40;
    let mut world = World::start(Topology::Apart).await;
    world.add("friendships-2", "friendships").await;
    world.add("friendships-3", "friendships").await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let replicas = ["friendships", "friendships-2", "friendships-3"];
    let urls = replicas.map(|name| format!("{}/api/users/friendship/", world.url(name)));
    // Both sides change their minds, each at whichever replica comes.
    let change = async |person: &Person, first: usize| {
        for number in 0..CHANGES {
            let status = if number % 2 == 0 {
                "rejected"
            } else {
                "accepted"
            };
            let body = json!({"friendship_id": channel, "status": status});
            let (code, body) = person
                .patch(&urls[(first + number) % urls.len()], body)
                .await;
            assert_eq!(code, 200, "{body}");
        }
    };
    tokio::join!(change(&alice, 0), change(&bob, 1));
    are_whole(&world).await;
    are_in_order(&world).await;
    let all = events(&world.nats, "FRIENDSHIPS")
        .await
        .expect("the stream");
    let ids: BTreeSet<&String> = all.iter().map(|(id, _)| id).collect();
    assert_eq!(ids.len(), all.len(), "something was published twice");
    // The broker drops repeats; there were none for it to drop.
    world.published().await;
    let mut admin = world.postgres.admin("natter").await;
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM friendships.outbox")
        .fetch_one(&mut admin)
        .await
        .expect("the table is there");
    let mut published = 0;
    for name in replicas {
        let metrics = world.metrics(name).await.expect("metrics");
        let lines = metrics.lines();
        let count = lines.filter_map(|line| line.strip_prefix("outbox_published_total "));
        published += count
            .filter_map(|count| count.parse::<i64>().ok())
            .sum::<i64>();
    }
    assert_eq!(published, rows, "something was published twice");
}

#[tokio::test]
async fn calls_answer_ping_info_and_stats() {
    let world = World::start(Topology::Apart).await;
    let operator = jetstream(&world.nats, "admin").await.client();
    for (service, calls) in [("users", 3), ("friendships", 3), ("messages", 7)] {
        for verb in ["PING", "INFO", "STATS"] {
            let subject = format!("$SRV.{verb}.{service}");
            let answer = operator.request(subject, "".into()).await;
            let answer = answer.expect("an answer").payload;
            let answer: Value = serde_json::from_slice(&answer).expect("JSON");
            assert_eq!(answer["name"], service, "{verb}");
            if verb != "PING" {
                let endpoints = answer["endpoints"].as_array().map(Vec::len);
                assert_eq!(endpoints, Some(calls), "{answer}");
            }
        }
    }
}

/// How many events the tables have of each feed.
async fn counts(world: &World) -> Vec<usize> {
    let mut counts = Vec::new();
    for stream in FEEDS {
        counts.push(expected(world, stream).await.len());
    }
    counts
}

/// Runs the set-up, which makes streams and buckets.
async fn set_up(world: &World) {
    let done = world.admin(&["setup"], &[]).await;
    assert!(done.status.success(), "{done:?}");
}

#[tokio::test]
async fn a_stream_that_lost_what_it_had_is_filled_again() {
    let mut world = World::start(Topology::Apart).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    talk(&world, &alice, &channel, "kept").await;
    are_whole(&world).await;
    world.published().await;
    // As a power cut leaves it: everything is as it was some time ago.
    world.nats.stop(Signal::Term).await;
    let before = world.nats.copy();
    world.nats.start_again().await;
    talk(&world, &bob, &channel, "lost").await;
    let Friends {
        alice: carol,
        channel: other,
        ..
    } = world.friends().await;
    talk(&world, &carol, &other, "lost").await;
    are_whole(&world).await;
    world.published().await;
    world.nats.stop(Signal::Kill).await;
    world.nats.restore(&before);
    world.nats.start_again().await;
    // At once there are newer events, with the numbers of those that were lost, and more of them.
    let gateways = vec![world.gateway(), world.gateway_2()];
    let mut later = Talker::new(alice.clone(), gateways, &channel);
    later.talk("later", 20).await;
    are_whole(&world).await;

    // Nothing is left at all, and the set-up makes it anew.
    world.published().await;
    let session = alice.log_in(&world.users()).await;
    end_session(&world, &session).await;
    world.nats.stop(Signal::Kill).await;
    world.nats.forget();
    world.nats.start_again().await;
    set_up(&world).await;
    are_whole(&world).await;
    are_in_order(&world).await;
    // The ended sessions too: a process that learns them from the bucket alone refuses the token.
    has_ended_sessions(&world).await;
    world.restart("friendships", Signal::Kill).await;
    let url = format!("{}/api/users/friendship/", world.friendships());
    let (status, _) = session.get(&url).await;
    assert_eq!(status, 401);
}

async fn has_ended_sessions(world: &World) {
    until("the bucket has the ended session", || async {
        let broker = jetstream(&world.nats, "subscriber").await;
        let bucket = broker.get_stream("KV_revoked_sessions").await.ok()?;
        (bucket.cached_info().state.messages > 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn events_that_get_no_answer_hold_back_no_ended_session() {
    let world = World::start(Topology::Apart).await;
    let alice = Person::sign_up(&world.users(), "alice").await;
    let session = alice.log_in(&world.users()).await;
    let mut socket = session.connect(&world.gateway()).await;
    // More than the relay reads at a time. Somebody listens to the subject, and no stream does: to
    // the relay that is a stream that does not answer.
    sqlx::query(
        "INSERT INTO users.outbox (event_id, subject, payload, durable)
         SELECT id, 'notify.user.' || id, '{}', true
         FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, 150)) AS stuck",
    )
    .execute(&mut world.postgres.admin("natter").await)
    .await
    .expect("the table is there");
    end_session(&world, &session).await;
    assert_eq!(socket.closed().await, Some(4001));
    has_ended_sessions(&world).await;
}

#[tokio::test]
async fn what_is_marked_after_the_comparison_is_published_again_too() {
    let mut world = World::start(Topology::Standalone).await;
    let Friends { alice, .. } = world.friends().await;
    let session = alice.log_in(&world.users()).await;
    end_session(&world, &session).await;
    world.published().await;
    // As while the mark is on its way to the database: the broker has acknowledged the row, which
    // does not say so yet.
    let mut admin = world.postgres.admin("natter").await;
    let marked: (i64, i64) = sqlx::query_as(
        "SELECT id, stream_seq FROM users.outbox WHERE stream = 'KV_revoked_sessions'",
    )
    .fetch_one(&mut admin)
    .await
    .expect("it is marked");
    let mut mark = async |stream: Option<&str>, seq: Option<i64>| {
        let marking = sqlx::query(
            "UPDATE users.outbox SET stream = $1, stream_seq = $2, stream_first = $2 WHERE id = $3",
        );
        let marking = marking.bind(stream).bind(seq).bind(marked.0);
        marking.execute(&mut admin).await.expect("a superuser may");
    };
    mark(None, None).await;
    world.nats.stop(Signal::Kill).await;
    world.nats.forget();
    world.nats.start_again().await;
    set_up(&world).await;
    are_whole(&world).await;
    mark(Some("KV_revoked_sessions"), Some(marked.1)).await;
    has_ended_sessions(&world).await;
}

#[tokio::test]
async fn what_newer_events_took_the_numbers_of_is_published_again_too() {
    lose_and_go_on(Lost::Lately).await;
}

#[tokio::test]
async fn what_was_lost_long_ago_is_published_again_too() {
    lose_and_go_on(Lost::LongAgo).await;
}

#[tokio::test]
async fn what_was_lost_of_a_replica_whose_clock_was_ahead_is_published_again_too() {
    lose_and_go_on(Lost::ByClockAhead).await;
}

#[tokio::test]
async fn what_was_lost_of_a_stream_that_kept_its_last_number_is_published_again_too() {
    lose_and_go_on(Lost::InAHole).await;
}

#[tokio::test]
async fn what_was_lost_and_marked_late_is_published_again_too() {
    lose_and_go_on(Lost::MarkedLate).await;
}

#[derive(PartialEq, Eq)]
enum Lost {
    Lately,
    /// Marked after the newer events, as by a replica that was frozen.
    MarkedLate,
    /// Newer events do not take the numbers of those that were lost.
    InAHole,
    /// Published hours before it is lost, and compared since.
    LongAgo,
    /// Published by a replica whose clock is ahead.
    ByClockAhead,
}

#[allow(
    clippy::disallowed_methods,
    reason = "a test's setting, not a service's"
)]
fn faketime() -> String {
    env::var("NATTER_TEST_FAKETIME").expect("deploy/test says where it is")
}

/// The stream loses events, and before anybody compares it newer ones take their numbers.
async fn lose_and_go_on(lost: Lost) {
    let mut world = World::start(Topology::Apart).await;
    let Friends { alice, channel, .. } = world.friends().await;
    talk(&world, &alice, &channel, "kept").await;
    are_whole(&world).await;
    world.published().await;
    world.nats.stop(Signal::Term).await;
    let before = world.nats.copy();
    world.nats.start_again().await;
    let mut busy = world.postgres.admin("natter").await;
    if lost == Lost::ByClockAhead {
        compare(&mut world, &mut busy).await;
        world.process("messages-2").end(Signal::Term).await;
        world.set("messages", "LD_PRELOAD", &faketime());
        world.set("messages", "FAKETIME_DONT_FAKE_MONOTONIC", "1");
        world.set("messages", "FAKETIME", "+40");
        world.restart("messages", Signal::Term).await;
    }
    let gateways = vec![world.gateway(), world.gateway_2()];
    let mut talker = Talker::new(alice, gateways, &channel);
    talker.talk("lost", 5).await;
    are_whole(&world).await;
    world.published().await;
    let newest = "SELECT max(id) FROM messages.outbox";
    let newest: i64 = sqlx::query_scalar(newest)
        .fetch_one(&mut busy)
        .await
        .expect("there are rows");
    if lost == Lost::LongAgo {
        compare(&mut world, &mut busy).await;
        let age = "UPDATE messages.outbox SET published_at = published_at - interval '2 hours';
             UPDATE messages.outbox_checkpoints SET compared_at = compared_at - interval '1 hour'";
        sqlx::raw_sql(age)
            .execute(&mut busy)
            .await
            .expect("a superuser may");
    }
    // No replica compares the stream before more events were published than were lost.
    let lock = "SELECT pg_advisory_lock(28258, hashtext('CHAT'))";
    busy.execute(lock).await.expect("a superuser may");
    if lost == Lost::InAHole {
        world.nats.stop(Signal::Term).await;
        world.nats.restore_messages(&before);
    } else {
        world.nats.stop(Signal::Kill).await;
        world.nats.restore(&before);
    }
    world.nats.start_again().await;
    if lost == Lost::ByClockAhead {
        world.set("messages", "FAKETIME", "+0");
        world.restart("messages", Signal::Term).await;
    }
    talker.talk("later", 20).await;
    world.published().await;
    if lost == Lost::MarkedLate {
        sqlx::query("UPDATE messages.outbox SET published_at = clock_timestamp() WHERE id <= $1")
            .bind(newest)
            .execute(&mut busy)
            .await
            .expect("a superuser may");
    }
    drop(busy);
    for replica in ["messages", "messages-2"] {
        world.restart(replica, Signal::Term).await;
    }
    are_whole(&world).await;
}

/// Each row since the checkpoint is looked up in the stream, in time for the session that holds the
/// lock.
#[tokio::test]
async fn a_comparison_ends_however_many_rows_there_are() {
    let mut world = World::start(Topology::Standalone).await;
    let Friends { alice, channel, .. } = world.friends().await;
    talk(&world, &alice, &channel, "kept").await;
    world.published().await;
    let link = world.link_to_nats("standalone").await;
    // Each answer takes some 50 ms: one after the other they would take more than a minute.
    link.slow(1_000_000);
    let mut admin = world.postgres.admin("natter").await;
    sqlx::query(
        "INSERT INTO messages.outbox (channels, first_seqs, last_seqs, published_at, stream,
                                      stream_first, stream_seq, event_id)
         SELECT channels, first_seqs, last_seqs, clock_timestamp(), stream, stream_first,
                stream_seq, event_id
         FROM (SELECT * FROM messages.outbox ORDER BY stream_seq DESC LIMIT 1) AS newest,
              generate_series(1, 1500)",
    )
    .execute(&mut admin)
    .await
    .expect("the table is there");
    let inserted: String = sqlx::query_scalar("SELECT clock_timestamp()::text")
        .fetch_one(&mut admin)
        .await
        .expect("a time");
    until("the stream is compared", || async {
        let mut admin = world.postgres.admin("natter").await;
        let is_compared: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM messages.outbox_checkpoints
                            WHERE stream = 'CHAT' AND compared_at > $1::timestamptz)",
        )
        .bind(&inserted)
        .fetch_one(&mut admin)
        .await
        .ok()?;
        is_compared.then_some(())
    })
    .await;
    let refilled = world.count("standalone", "outbox_refilled_total").await;
    assert_eq!(refilled, 0.0);
}

/// Has the stream CHAT compared up to its newest event.
async fn compare(world: &mut World, admin: &mut PgConnection) {
    world.restart("messages", Signal::Term).await;
    let give_up = Instant::now() + PATIENCE;
    loop {
        let compared: bool = sqlx::query_scalar(
            "SELECT coalesce((SELECT seq FROM messages.outbox_checkpoints), 0)
                  = (SELECT max(stream_seq) FROM messages.outbox)",
        )
        .fetch_one(&mut *admin)
        .await
        .expect("the tables are there");
        if compared {
            return;
        }
        assert!(Instant::now() < give_up, "nothing is compared");
        sleep(Duration::from_millis(50)).await;
    }
}

async fn end_session(world: &World, person: &Person) {
    let url = format!("{}/api/users/logout/", world.users());
    let (status, body) = person.post(&url, json!({"refresh": person.refresh})).await;
    assert!(status.is_success(), "{body}");
}

#[tokio::test]
async fn the_set_up_refuses_limits_that_would_lose_something() {
    let world = World::start(Topology::Standalone).await;
    let Friends { alice, channel, .. } = world.friends().await;
    // More than a MiB.
    let mut socket = alice.connect(&world.gateway()).await;
    let text = "x".repeat(8_000);
    for number in 1..=140 {
        let ack = socket.say(&channel, &format!("big-{number}"), &text).await;
        assert_eq!(ack["type"], "ack", "{ack}");
    }
    are_whole(&world).await;
    let smaller = [("NATTER_CHAT_MAX_BYTES", "1048576")];
    let refused = world.admin(&["setup"], &smaller).await;
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        said.starts_with("natter-admin: the stream CHAT holds "),
        "{said}"
    );
    assert!(
        said.trim_end().ends_with("so no stream was changed"),
        "{said}"
    );
    are_whole(&world).await;
    // A set-up that discards no event succeeds, also when it is repeated.
    let larger = [("NATTER_CHAT_MAX_BYTES", "4194304")];
    for _ in 0..2 {
        let done = world.admin(&["setup"], &larger).await;
        assert!(done.status.success(), "{done:?}");
    }
    let stream = jetstream(&world.nats, "subscriber")
        .await
        .get_stream("CHAT")
        .await;
    let config = stream.expect("the stream").cached_info().config.clone();
    assert_eq!(config.max_bytes, 4_194_304);
}

/// A stream that is full discards its oldest events, and so does the outbox: chat goes on, and the
/// database keeps nothing for a listener that does not come.
#[tokio::test]
async fn a_full_feed_discards_its_oldest_and_grows_nothing() {
    let limit = [("NATTER_CHAT_MAX_BYTES", "1048576")];
    let mut world = World::start_with(Topology::Standalone, &limit).await;
    let Friends { alice, channel, .. } = world.friends().await;
    let mut socket = alice.connect(&world.gateway()).await;
    let text = "x".repeat(8_000);
    for number in 1..=300 {
        let ack = socket.say(&channel, &format!("big-{number}"), &text).await;
        assert_eq!(ack["type"], "ack", "{ack}");
    }
    world.published().await;
    let stream = jetstream(&world.nats, "subscriber")
        .await
        .get_stream("CHAT")
        .await;
    let state = stream.expect("the stream").cached_info().state.clone();
    assert_eq!(state.last_sequence, 300);
    assert!(state.first_sequence > 100, "{state:?}");
    // The comparison forgets the rows of what was discarded, and takes nothing for lost.
    world.restart("standalone", Signal::Term).await;
    let mut admin = world.postgres.admin("natter").await;
    let give_up = Instant::now() + PATIENCE;
    loop {
        let rows: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM messages.outbox WHERE stream_seq < $1 OR published_at IS NULL",
        )
        .bind(i64::try_from(state.first_sequence).expect("a number"))
        .fetch_one(&mut admin)
        .await
        .expect("the table is there");
        if rows == 0 {
            break;
        }
        assert!(Instant::now() < give_up, "{rows} rows are kept");
        sleep(Duration::from_millis(50)).await;
    }
}
