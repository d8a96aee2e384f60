//! NATS handlers: the calls that this service answers, and the relay of its outbox.

use natter_bus::{Bus, Calls, Stream};
use natter_outbox::{audit, relay};
use natter_process::Process;
use natter_protocol::{
    UserId,
    call::{GetJwks, GetUsers, MAX_USERS, RefreshSession, TokenPair},
    friendship::UserCard,
};

use crate::{
    Users,
    account::image_path,
    error::Error,
    exchange::{Presented, exchange},
    store::Account,
};

pub async fn start(users: &Users, bus: &Bus, process: &Process) -> anyhow::Result<()> {
    let calls = Calls::start(
        bus,
        "users",
        process.shutdown.clone(),
        process.tasks.clone(),
    )
    .await?;

    let state = users.clone();
    calls
        .answer(move |call: GetUsers| get_many(state.clone(), call))
        .await?;
    let state = users.clone();
    calls
        .answer(move |call: RefreshSession| refresh_session(state.clone(), call))
        .await?;
    let signer = users.signer.clone();
    calls
        .answer(move |_: GetJwks| std::future::ready(Ok::<_, Error>(signer.jwks())))
        .await?;

    let (pool, stop) = (users.store.pool(), &process.shutdown);
    process
        .tasks
        .spawn(relay(pool.clone(), bus.clone(), stop.clone()));
    for stream in [Stream::Users, Stream::RevokedSessions] {
        process
            .tasks
            .spawn(audit(pool.clone(), bus.clone(), stream, stop.clone()));
    }
    Ok(())
}

async fn get_many(users: Users, call: GetUsers) -> Result<Vec<UserCard>, Error> {
    let asked = call.users.into_iter().take(MAX_USERS);
    let ids: Vec<_> = asked.map(|UserId(id)| id).collect();
    let accounts = users.store.accounts(&ids).await?;
    Ok(accounts.into_iter().map(card).collect())
}

fn card(account: Account) -> UserCard {
    UserCard {
        id: UserId(account.id),
        personal_image: account.image.as_deref().map(image_path),
        username: account.username,
        fields: account.fields,
        email: account.email,
        deleted: false,
    }
}

/// A refusal is an answer (`None`), a dependency that is down is not.
async fn refresh_session(users: Users, call: RefreshSession) -> Result<Option<TokenPair>, Error> {
    let presented = Presented {
        refresh: &call.refresh,
        sid: call.sid,
    };
    match exchange(&users, presented).await {
        Ok(pair) => Ok(Some(pair)),
        Err(Error::InvalidRefresh) => Ok(None),
        Err(error) => Err(error),
    }
}
