//! The users service on its real router, with a Postgres and a NATS of its own.

mod accounts;
mod limits;
mod names;
mod sessions;

use clap::Args;
use natter_auth::AuthSettings;
use natter_media::{MediaSettings, MediaStore};
use natter_test_support::App;
use reqwest::Client;
use serde_json::Value;

#[derive(Args)]
#[group(skip)]
struct Settings {
    #[command(flatten)]
    auth: AuthSettings,
    #[command(flatten)]
    media: MediaSettings,
    #[command(flatten)]
    users: natter_users::Settings,
}

async fn start(settings: &[(&str, &str)]) -> App {
    App::start(
        &["users"],
        settings,
        async |own: Settings, bus, postgres, process| {
            let owner = postgres.url("users_owner").parse().expect("a URL");
            natter_users::migrate(&owner).await?;
            let media = MediaStore::open(&own.media).await?;
            natter_users::start(own.users, &bus, &own.auth, media, process).await
        },
    )
    .await
}

async fn post(url: &str, body: Value) -> (u16, Value) {
    let answer = Client::new().post(url).json(&body).send().await;
    let answer = answer.expect("an answer");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}
