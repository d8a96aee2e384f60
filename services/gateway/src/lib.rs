//! WebSocket connections of users: stateless, nothing here that a restart could lose.
//!
//! A connection sends frames as requests to the messages service, whose reply is the `ack`, and
//! gets what the [`hub`] delivers. The hub takes broker interest in a channel with its first local
//! member and drops it with the last, puts each channel's events into `seq` order, and fetches
//! what is missing before it delivers what comes after. Queues are bounded: who cannot keep up is
//! closed with a code that says to resume.

mod close;
mod config;
mod connection;
mod delivery;
mod epoch;
mod handshake;
mod http;
mod hub;
mod inspect;
mod marks;
mod peer;
mod presence;
mod queue;
mod registry;
mod socket;

use std::sync::Arc;

use axum::Router;
use natter_auth::{AuthSettings, Verifier, follow_keys, follow_revocations};
use natter_bus::{Bus, BusSettings};
use natter_media::MediaStore;
use natter_process::Process;
use natter_protocol::subject;
use tokio::sync::Semaphore;

pub use config::Settings;

use crate::{
    close::Close, epoch::Epoch, hub::Hub, marks::MarkSender, presence::Presence, registry::Registry,
};

/// What this service answers: these paths and all below them.
pub const PATHS: &[&str] = &["/ws"];

/// What every connection shares.
struct Gateway {
    settings: Settings,
    bus: Bus,
    verifier: Verifier,
    epoch: Epoch,
    hub: Hub,
    marks: MarkSender,
    presence: Presence,
    media: MediaStore,
    registry: Arc<Registry>,
    /// The right to ask for what a connection needs to be opened.
    opening: Semaphore,
    process: Process,
}

/// Connections that are being opened at a time.
const MAX_OPENING: usize = 64;

/// Says what each metric is, and shows every counter from the start on.
fn register_metrics() {
    for (name, means) in [
        ("gateway_frames_received_total", "Frames of clients"),
        (
            "gateway_deliveries_total",
            "Events taken off the connections' queues",
        ),
        ("sends_unavailable_total", "Sends answered `unavailable`"),
        (
            "gaps_fetched_total",
            "Times that missing entries of a channel were fetched",
        ),
    ] {
        metrics::describe_counter!(name, means);
        metrics::counter!(name).increment(0);
    }
    metrics::describe_gauge!("gateway_connections", "Open WebSockets");
    metrics::gauge!("gateway_connections").increment(0);
    metrics::describe_counter!(
        "websocket_closes_total",
        "Closed WebSockets by code and cause"
    );
    Close::register();
    metrics::describe_histogram!(
        "send_to_ack_seconds",
        "From the arrival of a send to its answer, including its wait behind earlier sends of the same channel"
    );
    metrics::describe_histogram!(
        "send_to_friend_seconds",
        "From a log entry's time, taken before its commit, to the queues of this gateway's connections"
    );
}

/// Starts the gateway and returns its routes.
pub async fn start(
    settings: Settings,
    bus: &BusSettings,
    auth: &AuthSettings,
    media: MediaStore,
    process: &Process,
) -> anyhow::Result<Router> {
    let patience = process.settings.start_patience();
    let bus = Bus::connect(bus, "gateway", &settings.gateway_nats_password, patience).await?;
    let verifier = Verifier::new(auth);
    follow_keys(&verifier, &bus, process);
    follow_revocations(&verifier, &bus, process);
    register_metrics();
    let registry = Arc::new(Registry::default());
    let gateway = Arc::new(Gateway {
        epoch: Epoch::default(),
        hub: Hub::start(&bus, process),
        marks: MarkSender::start(&bus, &registry, process),
        presence: Presence::start(&bus, process).await?,
        media,
        registry,
        opening: Semaphore::new(MAX_OPENING),
        process: process.clone(),
        settings,
        bus: bus.clone(),
        verifier,
    });
    process.tasks.spawn(registry::close_ended(gateway.clone()));
    epoch::ask(&gateway).await;
    process.tasks.spawn(epoch::follow(gateway.clone()));
    let mut notices = bus.subscribe(vec![subject::ALL_NOTICES.to_owned()]).await?;
    if let Some(notices) = notices.pop() {
        let gateway = gateway.clone();
        process
            .tasks
            .spawn(registry::follow_notices(gateway, notices));
    }
    let questions = vec![subject::CONNECTIONS.to_owned()];
    if let Some(asked) = bus.subscribe(questions).await?.pop() {
        process.tasks.spawn(inspect::answer(gateway.clone(), asked));
    }
    process
        .health
        .require("broker", move || std::future::ready(bus.is_connected()));
    Ok(http::router(gateway))
}
