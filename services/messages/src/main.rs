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
    messages: natter_messages::Settings,
}

fn main() -> ExitCode {
    natter_process::run(
        "natter-messages",
        "Natter's message-history service: the log of every channel.",
        |settings: Settings, process| async move {
            let media = MediaStore::open(&settings.media).await?;
            natter_messages::start(
                settings.messages,
                &settings.bus,
                &settings.auth,
                media,
                &process,
            )
            .await
        },
    )
}
