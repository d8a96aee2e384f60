//! The door to the broker: the calls that this service answers, and the relay of its outbox.

use natter_bus::Calls;
use natter_pg::outbox;
use natter_protocol::call::{GetFriendship, ListOpen};
use natter_service::Process;

use crate::Friendships;

pub async fn start(friendships: &Friendships, process: &Process) -> anyhow::Result<()> {
    let Friendships { store, bus, .. } = friendships;
    let calls = Calls::start(
        bus,
        "friendships",
        process.shutdown.clone(),
        process.tasks.clone(),
    )
    .await?;
    let listing = store.clone();
    calls
        .answer(move |call: ListOpen| {
            let store = listing.clone();
            async move {
                let all = store.of_user(call.user).await?;
                let open = all.into_iter().filter(|friendship| friendship.is_open);
                Ok::<_, sqlx::Error>(open.map(|friendship| friendship.id).collect())
            }
        })
        .await?;
    let getting = store.clone();
    calls
        .answer(move |call: GetFriendship| {
            let store = getting.clone();
            async move { store.get(call.friendship).await }
        })
        .await?;

    let bus = bus.clone();
    process.tasks.spawn(outbox::relay(
        store.pool(),
        process.shutdown.clone(),
        move |row| {
            let bus = bus.clone();
            async move {
                let id = row.event_id.to_string();
                bus.publish_outgoing(row.subject, &id, row.payload, row.durable)
                    .await
            }
        },
    ));
    Ok(())
}
