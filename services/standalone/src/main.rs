//! All four services in one process behind one port, still over real NATS and real Postgres: the
//! same code and contracts as apart, for a laptop.

use std::{process::ExitCode, sync::Arc};

use anyhow::Context;
use axum::{Router, body::Body, extract::Request, response::Html, routing::get};
use clap::Args;
use natter_auth::AuthSettings;
use natter_bus::BusSettings;
use natter_media::{MediaSettings, MediaStore};
use natter_service::{ErrorKey, Process};
use tower::{ServiceExt, service_fn};

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
    natter_service::run(
        "natter-standalone",
        "Natter in one process: users, friendships, messages and gateway.",
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
    let welcome = Router::new().route("/", get(async || Html(include_str!("index.html"))));
    let welcome = natter_service::wrap(welcome, ErrorKey::Error, &process.settings);
    let services = Arc::new([
        (natter_gateway::PATHS, gateway),
        (natter_messages::PATHS, messages),
        (natter_friendships::PATHS, friendships),
        (natter_users::PATHS, users),
    ]);
    // As the ingress of k8s/ does: the longest path that fits.
    let front = service_fn(move |request: Request<Body>| {
        let path = request.uri().path();
        let longest = |paths: &[&str]| {
            let fitting = paths.iter().filter(|prefix| is_below(path, prefix));
            fitting.map(|prefix| prefix.len()).max()
        };
        let service = match path {
            "/" => &welcome,
            _ => {
                let service = services.iter().max_by_key(|(paths, _)| longest(paths));
                service.map_or(&welcome, |(_, service)| service)
            }
        };
        service.clone().oneshot(request)
    });
    Ok(Router::new().fallback_service(front))
}

fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix.trim_end_matches('/'))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
