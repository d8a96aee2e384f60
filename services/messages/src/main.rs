use std::process::ExitCode;

use clap::Args;
use natter_auth::AuthSettings;
use natter_bus::BusSettings;

#[derive(Args)]
#[group(skip)]
struct Settings {
    #[command(flatten)]
    bus: BusSettings,
    #[command(flatten)]
    auth: AuthSettings,
    #[command(flatten)]
    messages: natter_messages::Settings,
}

fn main() -> ExitCode {
    natter_service::run(
        "natter-messages",
        "Natter's message-history service: the log of every channel.",
        |settings: Settings, process| async move {
            natter_messages::start(settings.messages, &settings.bus, &settings.auth, &process).await
        },
    )
}
