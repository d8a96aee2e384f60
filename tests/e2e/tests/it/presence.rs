//! Who is online, through two gateways.

use natter_e2e::{Topology, World};
use natter_test_support::{Friends, Person, Signal, Socket, befriend, until};
use serde_json::{Value, json};
use sqlx::Connection;

/// The next word about a user.
async fn presence_of(socket: &mut Socket, person: &Person) -> Value {
    loop {
        let frame = socket.frame("presence").await;
        if frame["user"] == person.id.as_str() {
            return frame;
        }
    }
}

#[tokio::test]
async fn friends_see_each_other_come_and_go() {
    let world = World::start(Topology::Apart).await;
    let Friends { alice, bob, .. } = world.friends().await;
    let mut at_one = alice.connect(&world.gateway()).await;

    // Through another gateway, and both ways: who comes later is told who is there.
    let mut at_two = bob.connect(&world.gateway_2()).await;
    assert_eq!(presence_of(&mut at_one, &bob).await["online"], true);
    let seen = presence_of(&mut at_two, &alice).await;
    assert_eq!(seen["online"], true);
    assert!(seen["last_seen"].is_string());

    // A second device, or a move to another gateway, changes nothing: the next frame about Bob
    // comes when his last connection has ended.
    let also = bob.connect(&world.gateway()).await;
    drop(at_two);
    let again = bob.connect(&world.gateway_2()).await;
    drop(also);
    drop(again);
    let gone = presence_of(&mut at_one, &bob).await;
    assert_eq!(gone["online"], false);
    assert!(gone["last_seen"].is_string());
    let all = at_one
        .seen()
        .iter()
        .filter(|frame| frame["type"] == "presence");
    let all: Vec<&Value> = all.map(|frame| &frame["online"]).collect();
    assert_eq!(all, [true, false]);
}

#[tokio::test]
async fn strangers_see_nothing_and_former_friends_nothing_more() {
    let world = World::start(Topology::Apart).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let eve = Person::sign_up(&world.users(), "eve").await;
    let mut eves = eve.connect(&world.gateway()).await;
    let mut alices = alice.connect(&world.gateway()).await;
    let bobs = bob.connect(&world.gateway_2()).await;
    assert_eq!(presence_of(&mut alices, &bob).await["online"], true);

    let friendships = format!("{}/api/users/friendship/", world.friendships());
    let reject = json!({"friendship_id": channel, "status": "rejected"});
    assert_eq!(alice.patch(&friendships, reject).await.0, 200);
    alices.frame("friendship_update").await;
    drop(bobs);
    // What comes next to either is the presence of a friend of both, made now.
    let mutual = Person::sign_up(&world.users(), "mutual").await;
    for person in [&alice, &eve] {
        befriend(&world.friendships(), person, &mutual).await;
    }
    let _mutuals = mutual.connect(&world.gateway_2()).await;
    for socket in [&mut alices, &mut eves] {
        let frame = socket.frame("presence").await;
        assert_eq!(
            (&frame["user"], &frame["online"]),
            (&json!(mutual.id), &json!(true))
        );
    }
}

/// A channel that is closed again while a connection still joins it.
#[tokio::test]
async fn a_friend_who_left_while_the_channel_was_joined_is_not_shown() {
    let world = World::start(Topology::Apart).await;
    let Friends {
        alice,
        bob,
        channel,
    } = world.friends().await;
    let friendships = format!("{}/api/users/friendship/", world.friendships());
    let set = async |status: &str| {
        let change = json!({"friendship_id": channel, "status": status});
        assert_eq!(bob.patch(&friendships, change).await.0, 200);
    };
    // Joining the channel again soon begins with this message, whose log cannot be read yet.
    let mut bobs = bob.connect(&world.gateway_2()).await;
    bobs.say(&channel, "b-1", "Hello").await;
    drop(bobs);
    set("rejected").await;
    world.published().await;
    let mut alices = alice.connect(&world.gateway()).await;
    let locked = world.lock("messages.log", "ACCESS EXCLUSIVE").await;
    set("accepted").await;
    let opened = alices.frame("friendship_update").await;
    assert_eq!(opened["friendship"]["is_open"], true);
    set("rejected").await;
    world.published().await;
    locked.close().await.expect("it ends");
    let closed = alices.frame("friendship_update").await;
    assert_eq!(closed["friendship"]["is_open"], false);

    let _bobs = bob.connect(&world.gateway_2()).await;
    let mutual = Person::sign_up(&world.users(), "mutual").await;
    befriend(&world.friendships(), &alice, &mutual).await;
    let _mutuals = mutual.connect(&world.gateway_2()).await;
    let shown = alices.frame("presence").await;
    assert_eq!(shown["user"], mutual.id, "{shown}");
}

#[tokio::test]
async fn a_new_friend_is_shown_and_one_who_left_unheard_is_missed() {
    let mut world = World::start(Topology::Apart).await;
    let alice = Person::sign_up(&world.users(), "alice").await;
    let bob = Person::sign_up(&world.users(), "bob").await;
    let mut alices = alice.connect(&world.gateway()).await;
    let bobs = bob.connect(&world.gateway_2()).await;
    befriend(&world.friendships(), &alice, &bob).await;
    assert_eq!(presence_of(&mut alices, &bob).await["online"], true);

    // While the broker is away nobody hears that the other left.
    world.nats.stop(Signal::Kill).await;
    drop(bobs);
    world.nats.start_again().await;
    // Nobody answers for him any more.
    assert_eq!(presence_of(&mut alices, &bob).await["online"], false);
}

/// Two people come while only their gateway has lost the broker: the other gateway, which missed
/// nothing, does not ask about them.
#[tokio::test]
async fn who_came_while_a_gateway_was_cut_off_is_shown() {
    let mut world = World::start(Topology::Apart).await;
    let link = world.link_to_nats("gateway").await;
    let mut pairs = Vec::new();
    for _ in 0..2 {
        let Friends { alice, bob, .. } = world.friends().await;
        let watching = bob.connect(&world.gateway_2()).await;
        let (coming, _) = alice.connect_full(&world.gateway()).await;
        pairs.push((alice, coming, watching));
    }
    link.partition();
    until("the gateway has lost the broker", async || {
        (!world.is_ready("gateway").await).then_some(())
    })
    .await;
    for (_, coming, _) in &mut pairs {
        coming.send(json!({"type": "resume", "channels": {}})).await;
        coming.frame("resumed").await;
    }
    link.cut();
    link.mend();
    for (person, _, watching) in &mut pairs {
        assert_eq!(presence_of(watching, person).await["online"], true);
    }
}
