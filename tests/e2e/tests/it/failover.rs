//! A Postgres cluster that Patroni manages: its primary is killed under traffic.

use natter_e2e::{Place, Topology, World, talk_during};
use natter_test_support::{Patroni, Person, befriend, until};
use serde_json::json;

use crate::{
    cluster::has_all_processes,
    setback::{connect, send},
};

/// How many messages are acknowledged before and after each failover.
const MESSAGES: i64 = 20;

/// Starts Natter on the cluster.
async fn start_on(postgres: &Patroni) -> World {
    let settings = postgres.settings();
    let settings = settings
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    World::start_with(Topology::Apart, &settings.collect::<Vec<_>>()).await
}

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
    let mut world = start_on(&postgres).await;
    let alice = Person::sign_up(&world.users(), "alice").await;
    let bob = Person::sign_up(&world.users(), "bob").await;
    let channel = befriend(&world.friendships(), &alice, &bob).await;
    let place = Place {
        gateways: vec![world.gateway(), world.gateway_2()],
        messages: world.messages(),
        channel,
    };
    talk_during(place, &alice, &bob, async {
        for _ in 0..2 {
            goes_on(&postgres).await;
            postgres.fail_over().await;
            goes_on(&postgres).await;
            postgres.replicated(true).await;
        }
    })
    .await;
    has_all_processes(&mut world);
}

/// Asynchronous standbys may lack what was acknowledged. Then the epoch changes, every connection is
/// closed, and whoever resumes with the previous epoch is told to fetch again: no `seq` is two messages
/// to anybody.
#[tokio::test]
async fn a_failover_that_loses_commits_is_told_to_everyone() {
    let postgres = Patroni::start(false).await;
    let world = start_on(&postgres).await;
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

    // As clients do, bob comes back as often as he is told to: the gateway may learn of the epoch a
    // moment after it has seen that the log is shorter, and then closes every connection once more.
    let resume = json!({"type": "resume", "channels": {&channel: 2}, "epoch": epoch});
    let (mut bobs, resync) = until("the new epoch", || async {
        let (mut socket, ready) = connect(&bob, &world.gateway()).await;
        if ready["epoch"] == epoch {
            return None;
        }
        socket.send(resume.clone()).await;
        match socket.next().await {
            Ok(frame) => Some((socket, frame)),
            Err(Some(4008)) => None,
            Err(code) => panic!("closed with {code:?}"),
        }
    })
    .await;
    assert_eq!(resync["type"], "resync");
    assert_eq!(resync["channels"][&channel], 2);
    bobs.frame("resumed").await;
    for person in [&alice, &bob] {
        let history = person.history(&world.messages(), &channel).await;
        let contents = history.iter().map(|item| &item["message"]["content"]);
        assert_eq!(contents.collect::<Vec<_>>(), ["kept", "other"]);
    }
}
