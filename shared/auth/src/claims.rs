//! What a token says.

use natter_protocol::{SessionId, UserId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenType {
    Access,
    Refresh,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    pub token_type: TokenType,
    pub user_id: UserId,
    /// The same user.
    pub sub: UserId,
    /// One login on one device.
    pub sid: SessionId,
    pub jti: Uuid,
    /// Seconds since 1970.
    pub iat: u64,
    /// Seconds since 1970.
    pub exp: u64,
    pub iss: String,
    pub aud: String,
}
