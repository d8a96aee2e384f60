//! A NATS cluster of three: whatever happens to one server, and to all of them, nothing that was
//! acknowledged is lost, and whoever is connected goes on.

use natter_e2e::{Place, Topology, World, feeds::are_whole, talk_during};
use natter_test_support::{Friends, Signal, until};

/// How many messages are stored after each fault before the next.
const MESSAGES: i64 = 10;

/// The newest `seq` of the one channel.
pub(crate) async fn newest(world: &World) -> i64 {
    let mut admin = world.postgres.admin("natter").await;
    let newest = sqlx::query_scalar("SELECT max(last_seq) FROM messages.channels");
    newest
        .fetch_one(&mut admin)
        .await
        .expect("the table is there")
}

/// Waits until some more messages are stored.
pub(crate) async fn goes_on(world: &World) {
    let before = newest(world).await;
    until("more messages are stored", || async {
        (newest(world).await >= before + MESSAGES).then_some(())
    })
    .await;
}

/// Nothing had to be started again.
pub(crate) fn has_all_processes(world: &mut World) {
    for name in world.names() {
        assert!(!world.process(name).has_ended(), "{name} has ended");
    }
}

/// Lets two people talk while `faults` happen; then everything is on both sides, and every stream has
/// what the tables have.
async fn while_they_talk(mut world: World, faults: impl AsyncFnOnce(&mut World)) {
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let place = Place {
        gateways: vec![world.gateway(), world.gateway_2()],
        messages: world.messages(),
        channel,
    };
    talk_during(place, &alice, &bob, async {
        goes_on(&world).await;
        faults(&mut world).await;
        goes_on(&world).await;
    })
    .await;
    world.published().await;
    world.replicated().await;
    are_whole(&world).await;
    has_all_processes(&mut world);
}

#[tokio::test]
async fn chat_goes_on_while_any_server_is_killed() {
    let world = World::start_clustered(Topology::Apart).await;
    while_they_talk(world, async |world| {
        for number in 0..3 {
            world.nats.stop_node(number, Signal::Kill).await;
            goes_on(world).await;
            world.nats.start_node(number).await;
            world.replicated().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_cluster_that_is_killed_as_a_whole_loses_nothing() {
    let world = World::start_clustered(Topology::Apart).await;
    while_they_talk(world, async |world| {
        for number in 0..3 {
            world.nats.stop_node(number, Signal::Kill).await;
        }
        for number in 0..3 {
            world.nats.start_node(number).await;
        }
        world.replicated().await;
    })
    .await;
}

#[tokio::test]
async fn chat_goes_on_while_a_server_has_lost_its_disk() {
    let world = World::start_clustered(Topology::Apart).await;
    while_they_talk(world, async |world| {
        world.nats.stop_node(1, Signal::Kill).await;
        world.nats.forget_node(1);
        goes_on(world).await;
        world.nats.start_node(1).await;
        world.replicated().await;
    })
    .await;
}

#[tokio::test]
async fn chat_goes_on_while_any_server_is_frozen() {
    let world = World::start_clustered(Topology::Apart).await;
    while_they_talk(world, async |world| {
        for number in 0..3 {
            world.nats.signal_node(number, Signal::Stop).await;
            goes_on(world).await;
            world.nats.signal_node(number, Signal::Cont).await;
            world.replicated().await;
        }
    })
    .await;
}
