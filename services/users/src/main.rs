use std::process::ExitCode;

use clap::Args;
use natter_auth::AuthSettings;
use natter_bus::BusSettings;
use natter_media::{MediaSettings, MediaStore};

#[derive(Args)]
#[group(skip)]
struct Settings {
    #[command(flatten)]
    bus: BusSettings,
    #[command(flatten)]
    auth: AuthSettings,
    #[command(flatten)]
    media: MediaSettings,
    #[command(flatten)]
    users: natter_users::Settings,
}

fn main() -> ExitCode {
    natter_process::run(
        "natter-users",
        "Natter's users service: accounts, sessions and tokens.",
        |settings: Settings, process| async move {
            let media = MediaStore::open(&settings.media).await?;
            natter_users::start(
                settings.users,
                &settings.bus,
                &settings.auth,
                media,
                &process,
            )
            .await
        },
    )
}
