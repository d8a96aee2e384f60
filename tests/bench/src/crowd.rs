//! Many people with a connection each.

use std::time::{Duration, Instant, SystemTime};

use futures_util::{StreamExt, TryStreamExt, stream};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use natter_e2e::World;
use natter_test_support::Socket;
use serde_json::json;
use uuid::Uuid;

/// A connection that is ready, and resumed if its user has a channel.
pub struct Opened {
    // Open as long as this is kept.
    _socket: Socket,
    /// From the first byte to `resumed`, or to `ready` without a channel.
    pub took: Duration,
}

/// People in pairs with an open channel each; an access token for each of them.
pub async fn people(world: &World, count: usize) -> anyhow::Result<Vec<String>> {
    let users: Vec<Uuid> = (0..count).map(|_| Uuid::now_v7()).collect();
    befriend(world, &users).await?;
    tokens(world, &users).await
}

/// People without a friend, hence without a channel; an access token for each of them.
pub async fn strangers(world: &World, count: usize) -> anyhow::Result<Vec<String>> {
    let users: Vec<Uuid> = (0..count).map(|_| Uuid::now_v7()).collect();
    tokens(world, &users).await
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

/// Opens a connection for each token, at most `at_a_time` at a time, and resumes those that have a
/// channel. Each of these users has as many as `channels` says.
pub async fn open(
    gateway: &str,
    tokens: &[String],
    channels: usize,
    at_a_time: usize,
) -> anyhow::Result<Vec<Opened>> {
    let opening = stream::iter(tokens).map(async |token| {
        let started = Instant::now();
        let offer = [(
            "sec-websocket-protocol",
            format!("natter.v1, bearer.{token}"),
        )];
        let mut socket = Socket::connect(gateway, &offer).await?;
        let ready = socket.frame("ready").await;
        anyhow::ensure!(
            ready["channels"]
                .as_object()
                .is_some_and(|open| open.len() == channels),
            "{ready}"
        );
        if channels > 0 {
            socket.send(json!({"type": "resume", "channels": {}})).await;
            socket.frame("resumed").await;
        }
        Ok(Opened {
            _socket: socket,
            took: started.elapsed(),
        })
    });
    opening.buffer_unordered(at_a_time).try_collect().await
}
