//! The messages service on its real router, with a Postgres and a NATS of its own. The services that
//! it asks are beside it: users and friendships.

mod media;
mod sends;

use clap::Args;
use natter_auth::AuthSettings;
use natter_media::{MediaSettings, MediaStore};
use natter_test_support::{App, Friends, Person, befriend};

#[derive(Args)]
#[group(skip)]
struct Settings {
    #[command(flatten)]
    auth: AuthSettings,
    #[command(flatten)]
    media: MediaSettings,
    #[command(flatten)]
    users: natter_users::Settings,
    #[command(flatten)]
    friendships: natter_friendships::Settings,
    #[command(flatten)]
    messages: natter_messages::Settings,
}

async fn start() -> App {
    let services = ["users", "friendships", "messages"];
    App::start(
        &services,
        &[],
        async |own: Settings, bus, postgres, process| {
            let owner = |role: &str| postgres.url(role).parse().expect("a URL");
            natter_users::migrate(&owner("users_owner")).await?;
            natter_friendships::migrate(&owner("friendships_owner")).await?;
            natter_messages::migrate(&owner("messages_owner")).await?;
            let media = MediaStore::open(&own.media).await?;
            let (users, friendships, messages) = tokio::try_join!(
                natter_users::start(own.users, &bus, &own.auth, media.clone(), process),
                natter_friendships::start(own.friendships, &bus, &own.auth, process),
                natter_messages::start(own.messages, &bus, &own.auth, media.clone(), process),
            )?;
            Ok(natter_http::by_path(
                [
                    (natter_messages::PATHS, messages),
                    (natter_friendships::PATHS, friendships),
                ],
                users,
            ))
        },
    )
    .await
}

async fn friends(app: &App) -> Friends {
    let alice = Person::sign_up(app.url(), "alice").await;
    let bob = Person::sign_up(app.url(), "bob").await;
    let channel = befriend(app.url(), &alice, &bob).await;
    Friends {
        alice,
        bob,
        channel,
    }
}
