//! Accounts, credentials, sessions and tokens: the only signer of tokens.
//!
//! A login is a session with a family of refresh tokens, of which one counts at a time. Ending a
//! session commits together with its events; the relay then puts it into the bucket of revoked
//! sessions, which every service watches. Owner of the schema `users`, the stream `USERS`, the
//! bucket `revoked_sessions` and the calls `rpc.users.*`.

/// The allocator of the processes that hash passwords. In each thread glibc's allocator would keep,
/// for ever, the 19 MiB of every hash that ran at the same time. A gateway in a process of its own
/// keeps glibc's allocator, with which its connections take less memory.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod account;
mod config;
mod error;
mod events;
mod exchange;
mod export;
mod http;
mod image;
mod password;
mod session;
mod store;
mod throttle;
mod token;

use std::time::Duration;

use anyhow::{Context, ensure};
use axum::{Router, extract::FromRef};
use natter_auth::{AuthSettings, Verifier, follow_revocations};
use natter_bus::{Bus, BusSettings, Stream};
use natter_media::MediaStore;
use natter_pg::{Backup, DatabaseUrl, Role, Schema};
use natter_process::Process;

pub use config::Settings;

use crate::{
    export::Exports, image::Images, password::Passwords, store::Store, throttle::Throttle,
    token::Signer,
};

/// What this service answers: these paths and all below them.
pub const PATHS: &[&str] = &["/api/users", "/.well-known", "/api/openapi/users.json"];

const SCHEMA: &str = "users";
/// A backup has every table. It needs no checks: the constraints of the tables say what must hold.
pub const BACKUP: Backup = Backup {
    schema: SCHEMA,
    left_out: &[],
    checks: &[],
};
static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

#[derive(Clone, FromRef)]
struct Users {
    store: Store,
    signer: Signer,
    verifier: Verifier,
    passwords: Passwords,
    images: Images,
    throttle: Throttle,
    policy: session::Policy,
    exports: Exports,
}

/// Brings the schema up to date, in the role that owns it.
pub async fn migrate(owner: &DatabaseUrl) -> anyhow::Result<()> {
    natter_pg::migrate(owner, SCHEMA, &MIGRATIONS).await
}

/// Reads the schema as the role finds it.
pub async fn inspect(url: &DatabaseUrl, role: Role) -> anyhow::Result<Schema> {
    natter_pg::inspect(url, SCHEMA, role, &MIGRATIONS).await
}

/// Reads the key of `NATTER_SIGNING_KEY_FILE`, where it is set.
pub fn check_signing_key(settings: &Settings) -> anyhow::Result<()> {
    match &settings.signing_key_file {
        Some(path) => token::read_key(path).map(drop),
        None => Ok(()),
    }
}

/// Adds to the schema's keys one that signs tokens once `after` has passed, when every service
/// knows it; returns its id.
pub async fn rotate_key(owner: &DatabaseUrl, after: Duration) -> anyhow::Result<String> {
    let key = token::generate()?;
    let kid = key.kid.clone();
    let mut db = natter_pg::open(owner, SCHEMA, Role::Owner).await?;
    let is_added = store::add_signing_key(&mut db, key, after).await;
    let is_added = is_added.context("natter-admin setup of this version must run first")?;
    ensure!(
        is_added,
        "the schema users has no signing key: the users service makes the first when it starts, or signs with that of NATTER_SIGNING_KEY_FILE"
    );
    Ok(kid)
}

/// Starts the service and returns its routes.
pub async fn start(
    settings: Settings,
    bus: &BusSettings,
    auth: &AuthSettings,
    media: MediaStore,
    process: &Process,
) -> anyhow::Result<Router> {
    let pool = natter_pg::connect(
        &settings.database(),
        SCHEMA,
        settings.users_database_connections,
        &MIGRATIONS,
        process.settings.start_patience(),
    )
    .await?;
    let patience = process.settings.start_patience();
    let bus = Bus::connect(bus, "users", &settings.users_nats_password, patience).await?;
    bus.require_stream(Stream::Users, patience).await?;
    let remembered = bus
        .require_stream(Stream::RevokedSessions, patience)
        .await?;
    ensure!(
        remembered >= settings.access_lifetime(),
        "revoked sessions are forgotten after {} seconds, and NATTER_ACCESS_TOKEN_SECONDS is longer: run natter-admin setup with the same value",
        remembered.as_secs()
    );

    let store = Store::new(pool.clone());
    let images = Images::new(media.clone(), store.clone());
    images.sweep(process);
    let signer = Signer::start(&settings, auth, &store).await?;
    let has_file = settings.signing_key_file.is_some();
    let verifier = Verifier::new(auth);
    verifier
        .set_keys(signer.jwks())
        .context("the signing keys cannot be used")?;
    follow_revocations(&verifier, &bus, process);
    if !has_file {
        let following = signer.clone().follow_keys(store.clone(), verifier.clone());
        let stop = process.shutdown.clone();
        let following = async move { stop.run_until_cancelled(following).await };
        process.tasks.spawn(following);
    }

    let users = Users {
        store,
        signer,
        verifier,
        passwords: Passwords::new()?,
        images,
        throttle: Throttle::new(process.settings.rate_limits),
        policy: settings.policy(),
        exports: Exports::new(media, bus.clone(), process),
    };
    events::start(&users, &bus, process).await?;
    let ready = (pool, bus);
    process.health.require("database", {
        let pool = ready.0.clone();
        move || natter_pg::is_ready(pool.clone())
    });
    process
        .health
        .require("broker", move || std::future::ready(ready.1.is_connected()));
    Ok(http::router(users, &process.settings.http))
}
