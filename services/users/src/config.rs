//! Settings of the users service.

use std::{path::PathBuf, time::Duration};

use clap::{ArgAction, Args, value_parser};
use natter_pg::DatabaseUrl;
use natter_protocol::call::{ACCESS_SECONDS, MAX_ACCESS_SECONDS};
use natter_startup::Password;

use crate::session::Policy;

#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Settings {
    /// Password of the NATS user users
    #[arg(long, env = "NATTER_USERS_NATS_PASSWORD")]
    pub users_nats_password: Password,

    /// Postgres URL of the role natter_users
    #[arg(long, env = "NATTER_USERS_DATABASE_URL")]
    users_database_url: DatabaseUrl,

    /// Password of the role natter_users, if NATTER_USERS_DATABASE_URL has none
    #[arg(long, env = "NATTER_USERS_DATABASE_PASSWORD")]
    users_database_password: Option<Password>,

    /// Maximum database connections
    #[arg(long, env = "NATTER_USERS_DATABASE_CONNECTIONS", default_value_t = 10, value_parser = value_parser!(u32).range(2..))]
    pub users_database_connections: u32,

    /// File with the Ed25519 key that signs tokens (PKCS#8 v1, PEM); without this file the service makes a key and keeps it in its schema
    #[arg(long, env = "NATTER_SIGNING_KEY_FILE")]
    pub signing_key_file: Option<PathBuf>,

    /// Life of an access token, in seconds
    #[arg(long, env = "NATTER_ACCESS_TOKEN_SECONDS", default_value_t = ACCESS_SECONDS, value_parser = value_parser!(u64).range(1..=MAX_ACCESS_SECONDS))]
    access_token_seconds: u64,

    /// Life of a refresh token, in seconds
    #[arg(long, env = "NATTER_REFRESH_TOKEN_SECONDS", default_value_t = 30 * 24 * 3600, value_parser = value_parser!(u64).range(1..))]
    refresh_token_seconds: u64,

    /// Whether refreshing gives a new refresh token
    #[arg(long, env = "NATTER_ROTATE_REFRESH_TOKENS", default_value_t = true, action = ArgAction::Set)]
    rotate_refresh_tokens: bool,

    /// Whether a refresh token stops working once it has been exchanged for a new one
    #[arg(long, env = "NATTER_REVOKE_AFTER_ROTATION", default_value_t = true, action = ArgAction::Set)]
    revoke_after_rotation: bool,

    /// For how long after its exchange a refresh token still gets the session's current refresh token, in seconds
    #[arg(long, env = "NATTER_REFRESH_GRACE_SECONDS", default_value_t = 10)]
    refresh_grace_seconds: u32,
}

impl Settings {
    /// The database, in the role of this service.
    pub fn database(&self) -> DatabaseUrl {
        let password = self.users_database_password.as_ref();
        self.users_database_url.with_password(password)
    }

    pub fn access_lifetime(&self) -> Duration {
        Duration::from_secs(self.access_token_seconds)
    }

    pub fn refresh_lifetime(&self) -> Duration {
        Duration::from_secs(self.refresh_token_seconds)
    }

    pub fn policy(&self) -> Policy {
        Policy {
            rotate: self.rotate_refresh_tokens,
            revoke_rotated: self.revoke_after_rotation,
            grace: chrono::Duration::seconds(self.refresh_grace_seconds.into()),
        }
    }
}
