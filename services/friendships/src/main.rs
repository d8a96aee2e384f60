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
    friendships: natter_friendships::Settings,
}

fn main() -> ExitCode {
    natter_process::run(
        "natter-friendships",
        "Natter's friendships service: who may talk to whom.",
        |settings: Settings, process| async move {
            natter_friendships::start(
                settings.friendships,
                &settings.bus,
                &settings.auth,
                &process,
            )
            .await
        },
    )
}
