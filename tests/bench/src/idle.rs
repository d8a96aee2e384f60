//! What an idle connection costs the gateway.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use anyhow::Context;
use futures_util::{StreamExt, stream};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use natter_e2e::{Topology, World};
use natter_test_support::Socket;
use serde_json::json;
use uuid::Uuid;

use crate::table::line;

const SIZES: [usize; 2] = [1_000, 10_000];
/// Connections that are being opened at a time.
const OPENING: usize = 50;
/// For what the opening left behind to settle.
const SETTLE: Duration = Duration::from_secs(5);

pub async fn run() -> anyhow::Result<()> {
    let world = World::start(Topology::Apart).await;
    let most = SIZES.into_iter().max().unwrap_or_default();
    let users: Vec<Uuid> = (0..most).map(|_| Uuid::now_v7()).collect();
    befriend(&world, &users).await?;
    let tokens = tokens(&world, &users).await?;
    let mut sockets = Vec::with_capacity(most);
    let id = world.process_id("gateway").context("the gateway runs")?;
    // One connection warms everything up that is there once.
    let gateway = world.gateway();
    open(&gateway, &tokens[..1], &mut sockets).await?;
    tokio::time::sleep(SETTLE).await;
    let empty = resident_bytes(id)?;
    line("| connections | RSS of the gateway | for each |")?;
    line("| --- | --- | --- |")?;
    line(&format!("| 1 | {:.1} MiB | |", mib(empty)))?;
    for size in SIZES {
        let from = sockets.len();
        open(&gateway, &tokens[from..size], &mut sockets).await?;
        tokio::time::sleep(SETTLE).await;
        let now = resident_bytes(id)?;
        let each = now.saturating_sub(empty) as f64 / size as f64 / 1_024.0;
        line(&format!("| {size} | {:.1} MiB | {each:.1} KiB |", mib(now)))?;
    }
    Ok(())
}

/// Makes each two users friends, with a channel that is open.
async fn befriend(world: &World, users: &[Uuid]) -> anyhow::Result<()> {
    let mut admin = world.postgres.admin("natter").await;
    let (ones, others): (Vec<Uuid>, Vec<Uuid>) =
        users.chunks_exact(2).map(|pair| (pair[0], pair[1])).unzip();
    sqlx::query(
        "INSERT INTO friendships.friendships (id, from_user, to_user, status_from_user, status_to_user)
         SELECT gen_random_uuid(), one, other, 'accepted', 'accepted'
         FROM unnest($1::uuid[], $2::uuid[]) AS pair (one, other)",
    )
    .bind(ones)
    .bind(others)
    .execute(&mut admin)
    .await?;
    Ok(())
}

/// Access tokens, signed with the users service's own key: ten thousand logins would take minutes.
async fn tokens(world: &World, users: &[Uuid]) -> anyhow::Result<Vec<String>> {
    let mut admin = world.postgres.admin("natter").await;
    let (kid, pkcs8): (String, Vec<u8>) =
        sqlx::query_as("SELECT kid, pkcs8 FROM users.signing_keys")
            .fetch_one(&mut admin)
            .await?;
    let key = EncodingKey::from_ed_der(&pkcs8);
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = Some(kid);
    #[allow(
        clippy::disallowed_methods,
        reason = "a benchmark's clock, not a service's"
    )]
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)?
        .as_secs();
    users
        .iter()
        .map(|user| {
            let claims = json!({
                "token_type": "access", "user_id": user, "sub": user, "sid": Uuid::new_v4(),
                "jti": Uuid::new_v4(), "iat": now, "exp": now + 86_400, "iss": "natter", "aud": "natter",
            });
            Ok(encode(&header, &claims, &key)?)
        })
        .collect()
}

async fn open(gateway: &str, tokens: &[String], sockets: &mut Vec<Socket>) -> anyhow::Result<()> {
    let opening = stream::iter(tokens).map(async |token| {
        let offer = [(
            "sec-websocket-protocol",
            format!("natter.v1, bearer.{token}"),
        )];
        let mut socket = Socket::connect(gateway, &offer).await?;
        let ready = socket.frame("ready").await;
        anyhow::ensure!(
            ready["channels"]
                .as_object()
                .is_some_and(|open| open.len() == 1),
            "{ready}"
        );
        socket.send(json!({"type": "resume", "channels": {}})).await;
        socket.frame("resumed").await;
        Ok(socket)
    });
    let mut opened = std::pin::pin!(opening.buffer_unordered(OPENING));
    while let Some(socket) = opened.next().await {
        sockets.push(socket?);
    }
    Ok(())
}

fn resident_bytes(process: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .context("VmRSS")?;
    Ok(kib.trim().parse::<u64>()? * 1_024)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1 << 20) as f64
}
