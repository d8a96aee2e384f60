//! Who may talk to whom.
//!
//! One row for each unordered pair of users; each side has its own status and changes nothing but
//! that. The friendship is also the chat channel, which is open or closed by the rule in
//! [`friendship`]. Every change commits together with its event and the notices that act on both
//! users' live connections. Owner of the schema `friendships`, the stream `FRIENDSHIPS` and the
//! calls `rpc.friendships.*`; asks the users service for names and profile images.

mod change;
mod config;
mod error;
mod events;
mod friendship;
mod http;
mod store;

use axum::{Router, extract::FromRef};
use natter_auth::{AuthSettings, Verifier, follow_keys, follow_revocations};
use natter_bus::{Bus, BusSettings, Stream};
use natter_pg::{Backup, DatabaseUrl, Role, Schema};
use natter_process::{Process, RateLimits};

pub use config::Settings;
pub use store::FRIENDSHIPS;

use crate::store::Store;

/// What this service answers: these paths and all below them.
pub const PATHS: &[&str] = &["/api/users/friendship", "/api/openapi/friendships.json"];

const SCHEMA: &str = "friendships";
/// A backup has every table. It needs no checks: the constraints of the tables say what must hold.
pub const BACKUP: Backup = Backup {
    schema: SCHEMA,
    left_out: &[],
    checks: &[],
};
static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

#[derive(Clone, FromRef)]
struct Friendships {
    store: Store,
    bus: Bus,
    verifier: Verifier,
    request_limits: RequestLimits,
}

/// The limits on requests: each is how many an account may make, and within how many seconds. Empty
/// if limits are off.
#[derive(Clone)]
struct RequestLimits(Vec<(u32, u32)>);

/// Brings the schema up to date, in the role that owns it.
pub async fn migrate(owner: &DatabaseUrl) -> anyhow::Result<()> {
    natter_pg::migrate(owner, SCHEMA, &MIGRATIONS).await
}

/// Reads the schema as the role finds it.
pub async fn inspect(url: &DatabaseUrl, role: Role) -> anyhow::Result<Schema> {
    natter_pg::inspect(url, SCHEMA, role, &MIGRATIONS).await
}

/// Starts the service and returns its routes.
pub async fn start(
    settings: Settings,
    bus: &BusSettings,
    auth: &AuthSettings,
    process: &Process,
) -> anyhow::Result<Router> {
    let pool = natter_pg::connect(
        &settings.database(),
        SCHEMA,
        settings.friendships_database_connections,
        &MIGRATIONS,
        process.settings.start_patience(),
    )
    .await?;
    let patience = process.settings.start_patience();
    let bus = Bus::connect(
        bus,
        "friendships",
        &settings.friendships_nats_password,
        patience,
    )
    .await?;
    bus.require_stream(Stream::Friendships, patience).await?;

    let verifier = Verifier::new(auth);
    follow_keys(&verifier, &bus, process);
    follow_revocations(&verifier, &bus, process);
    let request_limits = RequestLimits(match process.settings.rate_limits {
        RateLimits::On => settings.request_limits().to_vec(),
        RateLimits::Off => Vec::new(),
    });
    let friendships = Friendships {
        store: Store::new(pool.clone()),
        bus: bus.clone(),
        verifier,
        request_limits,
    };
    events::start(&friendships, process).await?;
    process
        .health
        .require("database", move || natter_pg::is_ready(pool.clone()));
    process
        .health
        .require("broker", move || std::future::ready(bus.is_connected()));
    Ok(http::router(friendships, &process.settings.http))
}
