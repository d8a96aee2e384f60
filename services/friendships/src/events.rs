//! NATS handlers: the calls that this service answers, the users service's events, and the relay of
//! the outbox.

use natter_bus::{Calls, Consumer, Failure, Stream, consume};
use natter_outbox::{audit, relay};
use natter_process::Process;
use natter_protocol::{
    UserId,
    call::{GetFriendship, ListFriendships, ListOpen, ListedChannel, MAX_FRIENDSHIPS, MAX_OPEN},
    event::{Event, UserEvent},
    friendship::{Friendship, Status},
    subject,
};

use crate::{
    Friendships,
    change::{cards, set_side},
    error::Error,
    friendship::{Side, side_of},
    store::note_gone,
};

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
                Ok::<_, sqlx::Error>(listed_channels(&call, all))
            }
        })
        .await?;
    let paging = store.clone();
    calls
        .answer(move |call: ListFriendships| {
            let store = paging.clone();
            async move {
                let limit = i64::try_from(MAX_FRIENDSHIPS).unwrap_or(i64::MAX);
                store.of_user_after(call.user, call.after, limit).await
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

    let state = friendships.clone();
    process.tasks.spawn(consume(
        bus.clone(),
        Consumer {
            stream: Stream::Users,
            durable: "friendships",
            filter: subject::DELETED_USERS,
        },
        process.shutdown.clone(),
        move |event: Event<UserEvent>| {
            let state = state.clone();
            async move {
                let UserEvent::Deleted { user } = event.body else {
                    return Ok(());
                };
                close_all(&state, user).await.map_err(|error| match &error {
                    Error::Database(cause) if !natter_pg::is_unavailable(cause) => {
                        Failure::Final(cause.to_string())
                    }
                    _ => Failure::Passing(error.to_string()),
                })
            }
        },
    ));

    let (pool, stop) = (store.pool(), &process.shutdown);
    process
        .tasks
        .spawn(relay(pool.clone(), bus.clone(), stop.clone()));
    process
        .tasks
        .spawn(audit(pool, bus.clone(), Stream::Friendships, stop.clone()));
    Ok(())
}

fn listed_channels(call: &ListOpen, mut all: Vec<Friendship>) -> Vec<ListedChannel> {
    all.sort_unstable_by_key(|one| one.id);
    let limit = call.limit.map_or(usize::MAX, |limit| limit.min(MAX_OPEN));
    all.into_iter()
        .filter(|one| (one.is_open || call.closed) && Some(one.id) > call.after)
        .take(limit)
        .map(|one| ListedChannel {
            channel: one.id,
            friend: if one.from_user == call.user {
                one.to_user
            } else {
                one.from_user
            },
            revision: one.revision,
            is_closed: !one.is_open,
        })
        .collect()
}

/// Rejects every friendship of a deleted user, on that user's side. Each is a transaction of its
/// own, and one that is rejected already is left out: a repeat goes on where a crash left off.
async fn close_all(friendships: &Friendships, user: UserId) -> Result<(), Error> {
    note_gone(&friendships.store, user).await?;
    let mut all = friendships.store.of_user(user).await?;
    all.retain(|one| match side_of(user, one.from_user, one.to_user) {
        Some(Side::From) => one.status_from_user != Status::Rejected,
        Some(Side::To) => one.status_to_user != Status::Rejected,
        None => false,
    });
    let users = all.iter().flat_map(|one| [one.from_user, one.to_user]);
    let cards = cards(&friendships.bus, users).await?;
    for one in all {
        let Some(side) = side_of(user, one.from_user, one.to_user) else {
            continue;
        };
        set_side(&friendships.store, one.id, side, Status::Rejected, &cards).await?;
    }
    Ok(())
}
