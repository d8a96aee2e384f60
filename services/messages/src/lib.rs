//! The log of every channel: stored, then acknowledged and delivered.
//!
//! Sends are requests on `send.friendship.<id>`. [`commit`] gathers what is waiting into one
//! transaction, gives each entry its `seq` there, and only then answers; [`feed`] publishes what
//! was committed to `chat.friendship.<id>.log`, and again until the broker has confirmed it.
//! Who is in a channel and whether it is open is a projection of the friendships service's events;
//! a channel that is not known is asked for. [`search`] follows the log to find messages by their
//! words. Owner of the schema `messages`, the stream `CHAT` and the calls `rpc.messages.*`.

mod channel;
mod channels;
mod commit;
mod config;
mod epoch;
mod error;
mod events;
mod feed;
mod files;
mod history;
mod http;
mod marks;
mod plan;
mod search;
mod store;
mod trace;

pub use search::{SLICE, grams_of, slice};

use axum::{Router, extract::FromRef};
use natter_auth::{AuthSettings, Verifier, follow_keys, follow_revocations};
use natter_bus::{Bus, BusSettings, Stream};
use natter_media::MediaStore;
use natter_pg::{DatabaseUrl, Role, Schema};
use natter_process::Process;

pub use config::Settings;
pub use store::{BACKUP, CHANNELS};
pub use trace::{Step, Trace, trace};

use crate::{
    channels::Channels, commit::Committer, epoch::Epochs, feed::Feed, marks::Marker, search::Index,
    store::Store,
};

/// What this service answers: these paths and all below them.
pub const PATHS: &[&str] = &["/api/messages", "/api/openapi/messages.json"];

const SCHEMA: &str = "messages";
static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

#[derive(Clone, FromRef)]
struct Messages {
    store: Store,
    channels: Channels,
    committer: Committer,
    marker: Marker,
    verifier: Verifier,
    bus: Bus,
    media: MediaStore,
}

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
    media: MediaStore,
    process: &Process,
) -> anyhow::Result<Router> {
    let sweep_every = settings.sweep_every();
    let pool = natter_pg::connect(
        &settings.database(),
        SCHEMA,
        settings.messages_database_connections,
        &MIGRATIONS,
        process.settings.start_patience(),
    )
    .await?;
    let patience = process.settings.start_patience();
    let bus = Bus::connect(bus, "messages", &settings.messages_nats_password, patience).await?;
    bus.require_stream(Stream::Chat, patience).await?;

    let verifier = Verifier::new(auth);
    follow_keys(&verifier, &bus, process);
    follow_revocations(&verifier, &bus, process);
    let store = Store::new(pool.clone());
    let channels = Channels::new(store.clone(), bus.clone());
    let epochs = Epochs::new(&bus);
    epochs.check(&mut *pool.acquire().await?).await?;
    let feed = Feed::start(&store, &epochs, &bus, process);
    let index = Index::start(&store, process);
    let messages = Messages {
        committer: Committer::start(&store, &channels, &epochs, &bus, &feed, &index, process),
        marker: Marker::start(&store, &channels, &bus, process),
        store,
        channels,
        verifier,
        bus: bus.clone(),
        media,
    };
    files::sweep(&messages.store, &messages.media, sweep_every, process);
    events::start(&messages, process).await?;
    process
        .health
        .require("database", move || natter_pg::is_ready(pool.clone()));
    process
        .health
        .require("broker", move || std::future::ready(bus.is_connected()));
    Ok(http::router(messages, &process.settings.http))
}
