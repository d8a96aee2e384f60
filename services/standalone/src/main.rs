//! All four services in one process behind one port, still over real NATS and real Postgres: the
//! same code and contracts as apart, for a laptop.

use std::process::ExitCode;

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
    let front = service_fn(move |request: Request<Body>| {
        // The rules of the ingress gateway in front of the services apart: see k8s/.
        let path = request.uri().path();
        let service = match path {
            "/" => welcome.clone(),
            "/api/openapi/friendships.json" => friendships.clone(),
            "/api/openapi/messages.json" => messages.clone(),
            path if is_below(path, "/api/users/friendship") => friendships.clone(),
            path if is_below(path, "/api/messages") => messages.clone(),
            path if is_below(path, "/ws") => gateway.clone(),
            _ => users.clone(),
        };
        service.oneshot(request)
    });
    Ok(Router::new().fallback_service(front))
}

fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
