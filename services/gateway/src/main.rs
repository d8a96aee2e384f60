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
    gateway: natter_gateway::Settings,
}

fn main() -> ExitCode {
    natter_process::run(
        "natter-gateway",
        "Natter's gateway: WebSocket connections of users.",
        |settings: Settings, process| async move {
            let media = MediaStore::open(&settings.media).await?;
            let gateway = natter_gateway::start(
                settings.gateway,
                &settings.bus,
                &settings.auth,
                media,
                &process,
            )
            .await?;
            // The pages too: like the gateway they need no database and no signing key.
            let site = natter_site::router(&process.settings.http);
            Ok(natter_http::by_path(
                [(natter_gateway::PATHS, gateway)],
                site,
            ))
        },
    )
}
