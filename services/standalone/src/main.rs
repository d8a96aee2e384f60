//! All four services and the pages in one process behind one port, still over real NATS and real
//! Postgres: the same code and contracts as apart, for a laptop.

use std::process::ExitCode;

use anyhow::Context;
use axum::Router;
use clap::Args;
use natter_auth::AuthSettings;
use natter_bus::BusSettings;
use natter_media::{MediaSettings, MediaStore};
use natter_process::Process;

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
    #[command(flatten)]
    friendships: natter_friendships::Settings,
    #[command(flatten)]
    messages: natter_messages::Settings,
    #[command(flatten)]
    gateway: natter_gateway::Settings,
}

fn main() -> ExitCode {
    natter_process::run(
        "natter-standalone",
        "Natter in one process: users, friendships, messages, gateway and pages.",
        start,
    )
}

async fn start(settings: Settings, process: Process) -> anyhow::Result<Router> {
    let (bus, auth) = (&settings.bus, &settings.auth);
    let media = MediaStore::open(&settings.media).await?;
    let (users, friendships, messages, gateway) = tokio::try_join!(
        natter_users::start(settings.users, bus, auth, media.clone(), &process),
        natter_friendships::start(settings.friendships, bus, auth, &process),
        natter_messages::start(settings.messages, bus, auth, media.clone(), &process),
        natter_gateway::start(settings.gateway, bus, auth, media.clone(), &process),
    )
    .context("not every service could start")?;
    let services = [
        (natter_gateway::PATHS, gateway),
        (natter_messages::PATHS, messages),
        (natter_friendships::PATHS, friendships),
        (natter_users::PATHS, users),
    ];
    let site = natter_site::router(&process.settings.http);
    Ok(natter_http::by_path(services, site))
}
