//! Verification of tokens with the users service's public keys.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use anyhow::Context;
use clap::Args;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use natter_protocol::{SessionId, UserId};
use tokio::sync::{Notify, broadcast};

use crate::{Claims, TokenType, revoked::RevokedSessions};

#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct AuthSettings {
    /// Issuer (`iss`) of the tokens
    #[arg(long, env = "NATTER_TOKEN_ISSUER", default_value = "natter")]
    pub token_issuer: String,

    /// Audience (`aud`) of the tokens
    #[arg(long, env = "NATTER_TOKEN_AUDIENCE", default_value = "natter")]
    pub token_audience: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the token is not valid")]
    Invalid,
    #[error("the token has expired")]
    Expired,
    #[error("the token's session has ended")]
    Revoked,
    #[error("whether the token's session has ended is not known right now")]
    Unknown,
}

/// Verifies tokens. A clone is the same verifier.
#[derive(Clone)]
pub struct Verifier(Arc<Inner>);

struct Inner {
    keys: RwLock<HashMap<String, DecodingKey>>,
    validation: Validation,
    unknown_key: Notify,
    revoked: RevokedSessions,
}

impl Verifier {
    pub fn new(settings: &AuthSettings) -> Self {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[&settings.token_issuer]);
        validation.set_audience(&[&settings.token_audience]);
        validation.leeway = 0;
        Self(Arc::new(Inner {
            keys: RwLock::default(),
            validation,
            unknown_key: Notify::new(),
            revoked: RevokedSessions::default(),
        }))
    }

    /// An access token that has not expired, of a session that has not ended.
    pub fn access(&self, token: &str) -> Result<Claims, TokenError> {
        let claims = self.decode(token, TokenType::Access, &self.0.validation)?;
        self.live(&claims)?;
        Ok(claims)
    }

    /// An access token of a session that has not ended; it may have expired.
    pub fn expired_access(&self, token: &str) -> Result<Claims, TokenError> {
        let mut validation = self.0.validation.clone();
        validation.validate_exp = false;
        let claims = self.decode(token, TokenType::Access, &validation)?;
        self.live(&claims)?;
        Ok(claims)
    }

    /// A refresh token that has not expired. It may have been exchanged, or its session ended: only
    /// the session's row in the schema `users` says.
    pub fn refresh(&self, token: &str) -> Result<Claims, TokenError> {
        self.decode(token, TokenType::Refresh, &self.0.validation)
    }

    /// Fails if the session has ended, and also while the feed of revoked sessions is silent: then
    /// it may have ended.
    pub fn live(&self, claims: &Claims) -> Result<(), TokenError> {
        if self.0.revoked.contains(claims.sid) {
            return Err(TokenError::Revoked);
        }
        if self.0.revoked.is_current() {
            Ok(())
        } else {
            Err(TokenError::Unknown)
        }
    }

    fn decode(
        &self,
        token: &str,
        token_type: TokenType,
        validation: &Validation,
    ) -> Result<Claims, TokenError> {
        let header = decode_header(token).map_err(|_| TokenError::Invalid)?;
        let kid = header.kid.ok_or(TokenError::Invalid)?;
        let key = {
            let keys = self.0.keys.read().unwrap_or_else(PoisonError::into_inner);
            match keys.get(&kid) {
                Some(key) => key.clone(),
                None if keys.is_empty() => return Err(TokenError::Unknown),
                None => {
                    self.0.unknown_key.notify_one();
                    return Err(TokenError::Invalid);
                }
            }
        };
        let claims = decode::<Claims>(token, &key, validation)
            .map_err(|error| match error.kind() {
                jsonwebtoken::errors::ErrorKind::ExpiredSignature => TokenError::Expired,
                _ => TokenError::Invalid,
            })?
            .claims;
        if claims.token_type == token_type && claims.sub == claims.user_id {
            Ok(claims)
        } else {
            Err(TokenError::Invalid)
        }
    }

    /// Replaces the public keys by those of a JSON Web Key Set.
    pub fn set_keys(&self, jwks: serde_json::Value) -> anyhow::Result<()> {
        let set: JwkSet = serde_json::from_value(jwks).context("not a JSON Web Key Set")?;
        let mut keys = HashMap::new();
        for jwk in &set.keys {
            let kid = jwk.common.key_id.clone().context("a key without a kid")?;
            keys.insert(kid, DecodingKey::from_jwk(jwk)?);
        }
        *self.0.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    /// Whether tokens can be verified now.
    pub fn is_ready(&self) -> bool {
        let keys = self.0.keys.read().unwrap_or_else(PoisonError::into_inner);
        !keys.is_empty() && self.0.revoked.is_current()
    }

    /// Whether the feed of revoked sessions was heard lately.
    pub fn is_current(&self) -> bool {
        self.0.revoked.is_current()
    }

    /// Every session that ends from now on. A receiver that lags must assume that any session may
    /// have ended.
    pub fn ended_sessions(&self) -> broadcast::Receiver<(UserId, SessionId)> {
        self.0.revoked.subscribe()
    }

    pub fn is_revoked(&self, sid: SessionId) -> bool {
        self.0.revoked.contains(sid)
    }

    pub(crate) async fn unknown_key(&self) {
        self.0.unknown_key.notified().await;
    }

    pub(crate) fn revoked(&self) -> &RevokedSessions {
        &self.0.revoked
    }
}
