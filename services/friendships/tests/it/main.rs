//! The friendships service on its real router, with a Postgres and a NATS of its own. The users
//! service is beside it: it has the keys and the cards that this one asks for.

mod requests;

use clap::Args;
use natter_auth::AuthSettings;
use natter_media::{MediaSettings, MediaStore};
use natter_test_support::App;

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
}

async fn start() -> App {
    start_with(&[]).await
}

async fn start_with(settings: &[(&str, &str)]) -> App {
    App::start(
        &["users", "friendships"],
        settings,
        async |own: Settings, bus, postgres, process| {
            let owner = |role: &str| postgres.url(role).parse().expect("a URL");
            natter_users::migrate(&owner("users_owner")).await?;
            natter_friendships::migrate(&owner("friendships_owner")).await?;
            let media = MediaStore::open(&own.media).await?;
            let (users, friendships) = tokio::try_join!(
                natter_users::start(own.users, &bus, &own.auth, media, process),
                natter_friendships::start(own.friendships, &bus, &own.auth, process),
            )?;
            Ok(natter_http::by_path(
                [(natter_friendships::PATHS, friendships)],
                users,
            ))
        },
    )
    .await
}
