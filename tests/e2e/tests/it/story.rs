//! The README's example, in one process and apart.

use natter_e2e::{Addresses, Topology, World, story};

#[tokio::test]
async fn two_people_talk_through_one_process() {
    play(World::start(Topology::Standalone).await).await;
}

#[tokio::test]
async fn two_people_talk_through_separate_processes() {
    play(World::start(Topology::Apart).await).await;
}

async fn play(world: World) {
    story(&Addresses {
        users: world.users(),
        friendships: world.friendships(),
        messages: world.messages(),
        gateways: [world.gateway(), world.gateway_2()],
    })
    .await;
}
