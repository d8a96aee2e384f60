//! A Postgres cluster that Patroni keeps: its primary is killed under traffic.

use std::sync::atomic::{AtomicBool, Ordering};

use natter_e2e::{Log, Talker, Topology, World};
use natter_test_support::{Patroni, Person, befriend, until};
use serde_json::json;

use crate::{
    cluster::has_all_processes,
    setback::{connect, send},
};

/// How many messages are acknowledged before and after each failover.
const MESSAGES: i64 = 20;

/// The newest `seq` of the one channel, if the primary says it.
async fn newest(postgres: &Patroni) -> Option<i64> {
    let mut admin = postgres.admin("natter").await;
    let newest = sqlx::query_scalar("SELECT max(last_seq) FROM messages.channels");
    newest.fetch_one(&mut admin).await.ok()
}

/// Waits until some more messages are stored.
async fn goes_on(postgres: &Patroni) {
    let before = until("the log is read", || newest(postgres)).await;
    until("more messages are stored", || async {
        (newest(postgres).await? >= before + MESSAGES).then_some(())
    })
    .await;
}

/// With a synchronous standby nothing that was acknowledged is lost, no process is restarted, and
/// the sockets that are told to come back do.
#[tokio::test]
async fn the_primary_is_killed_twice_and_nothing_is_lost() {
    let postgres = Patroni::start(true).await;
    let settings = postgres.settings();
    let settings: Vec<_> = settings
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let mut world = World::start_with(Topology::Apart, &settings).await;
    let alice = Person::sign_up(&world.users(), "alice").await;
    let bob = Person::sign_up(&world.users(), "bob").await;
    let channel = befriend(&world.friendships(), &alice, &bob).await;
    let gateways = vec![world.gateway(), world.gateway_2()];
    let mut from_alice = Talker::new(alice.clone(), gateways.clone(), &channel);
    let mut to_bob = Talker::new(bob.clone(), gateways, &channel);
    let stop = AtomicBool::new(false);
    let talking = async {
        from_alice.talk_until("a", &stop).await;
        let sent = u64::try_from(from_alice.log.acknowledged.len()).expect("a number");
        from_alice.follow_to(sent).await;
        sent
    };
    let faulty = async {
        for _ in 0..2 {
            goes_on(&postgres).await;
            postgres.fail_over().await;
            goes_on(&postgres).await;
            postgres.replicated(true).await;
        }
        stop.store(true, Ordering::Relaxed);
    };
    let (sent, ()) = tokio::join!(talking, faulty);
    to_bob.follow_to(sent).await;
    let history = alice.history(&world.messages(), &channel).await;
    Log::check(&[&from_alice.log, &to_bob.log], &history);
    has_all_processes(&mut world);
}

/// Asynchronous standbys may lack what was acknowledged. Then the epoch changes, every connection is
/// closed, and whoever resumes with the epoch before is told to fetch again: no `seq` is two messages
/// to anybody.
#[tokio::test]
async fn a_failover_that_loses_commits_is_told_to_everyone() {
    let postgres = Patroni::start(false).await;
    let settings = postgres.settings();
    let settings: Vec<_> = settings
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let world = World::start_with(Topology::Apart, &settings).await;
    let alice = Person::sign_up(&world.users(), "alice").await;
    let bob = Person::sign_up(&world.users(), "bob").await;
    let channel = befriend(&world.friendships(), &alice, &bob).await;
    assert_eq!(send(&alice, &world.messages(), &channel, "kept").await, 1);
    postgres.caught_up().await;
    let (mut bobs, ready) = connect(&bob, &world.gateway()).await;
    let epoch = ready["epoch"].clone();
    bobs.send(json!({"type": "resume", "channels": {&channel: 1}, "epoch": epoch}))
        .await;
    bobs.frame("resumed").await;

    postgres.cut(true);
    assert_eq!(send(&alice, &world.messages(), &channel, "lost").await, 2);
    assert_eq!(bobs.frame("friendship_message").await["seq"], 2);
    postgres.fail_over().await;
    postgres.cut(false);
    assert_eq!(send(&alice, &world.messages(), &channel, "other").await, 2);
    assert_eq!(bobs.closed().await, Some(4008));

    // The gateway may learn of the epoch a moment after it has seen that the log is shorter.
    let mut bobs = until("the new epoch", || async {
        let (socket, ready) = connect(&bob, &world.gateway()).await;
        (ready["epoch"] != epoch).then_some(socket)
    })
    .await;
    bobs.send(json!({"type": "resume", "channels": {&channel: 2}, "epoch": epoch}))
        .await;
    let resync = bobs.frame("resync").await;
    assert_eq!(resync["channels"][&channel], 2);
    bobs.frame("resumed").await;
    for person in [&alice, &bob] {
        let history = person.history(&world.messages(), &channel).await;
        let contents = history.iter().map(|item| &item["message"]["content"]);
        assert_eq!(contents.collect::<Vec<_>>(), ["kept", "other"]);
    }
}
