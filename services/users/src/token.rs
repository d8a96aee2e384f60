//! The keys that sign tokens, and signing.

use std::{
    fs,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use anyhow::{Context, bail};
use aws_lc_rs::signature::Ed25519KeyPair;
use chrono::{DateTime, Utc};
use jsonwebtoken::{
    Algorithm, EncodingKey, Header, encode,
    jwk::{Jwk, JwkSet, PublicKeyUse, ThumbprintHash},
};
use natter_auth::{AuthSettings, Claims, TokenType, Verifier};
use natter_protocol::{Timestamp, call::TokenPair};
use tokio::time::sleep;
use uuid::Uuid;

use crate::{
    Settings,
    error::Error,
    session::Subject,
    store::{SigningKey, Store},
};

/// How often the keys are read again: `natter-admin rotate-key` adds one.
const READ_KEYS_EVERY: Duration = Duration::from_secs(2);
/// How much longer a key is kept than the tokens that it signed live: clocks differ.
const KEPT_LONGER: Duration = Duration::from_secs(3600);

/// Signs tokens with the newest key whose time has come; publishes all keys.
#[derive(Clone)]
pub struct Signer(Arc<Inner>);

struct Inner {
    keys: RwLock<Arc<Keys>>,
    issuer: String,
    audience: String,
    access_lifetime: Duration,
    refresh_lifetime: Duration,
}

struct Keys {
    /// The one that signs, and its id.
    key: EncodingKey,
    kid: String,
    jwks: serde_json::Value,
}

impl Keys {
    /// Made of all keys; the first one signs.
    fn of(keys: Vec<EncodingKey>) -> anyhow::Result<Self> {
        let jwks = keys
            .iter()
            .map(public_key)
            .collect::<anyhow::Result<Vec<Jwk>>>()?;
        let (Some(key), Some(jwk)) = (keys.into_iter().next(), jwks.first()) else {
            bail!("there is no signing key");
        };
        Ok(Self {
            key,
            kid: jwk.common.key_id.clone().unwrap_or_default(),
            jwks: serde_json::to_value(JwkSet { keys: jwks })?,
        })
    }

    async fn read(store: &Store) -> anyhow::Result<Self> {
        let stored = store.signing_keys().await?.into_iter();
        Self::of(
            stored
                .map(|key| EncodingKey::from_ed_der(&key.pkcs8))
                .collect(),
        )
    }
}

/// The key of `NATTER_SIGNING_KEY_FILE`.
pub fn read_key(path: &Path) -> anyhow::Result<EncodingKey> {
    let shown = path.display();
    let pem = fs::read(path)
        .with_context(|| format!("NATTER_SIGNING_KEY_FILE={shown} cannot be read"))?;
    EncodingKey::from_ed_pem(&pem).with_context(|| {
        format!("NATTER_SIGNING_KEY_FILE={shown} is not an Ed25519 key (PKCS#8 v1, PEM)")
    })
}

impl Signer {
    /// Uses the mounted key, else those of the schema, making the first.
    pub async fn start(
        settings: &Settings,
        auth: &AuthSettings,
        store: &Store,
    ) -> anyhow::Result<Self> {
        let keys = match &settings.signing_key_file {
            Some(path) => Keys::of(vec![read_key(path)?])?,
            None => {
                store.keep_first_key(generate()?).await?;
                Keys::read(store).await?
            }
        };
        Ok(Self(Arc::new(Inner {
            keys: RwLock::new(Arc::new(keys)),
            issuer: auth.token_issuer.clone(),
            audience: auth.token_audience.clone(),
            access_lifetime: settings.access_lifetime(),
            refresh_lifetime: settings.refresh_lifetime(),
        })))
    }

    /// Reads the keys of the schema again and again, for this signer and for `verifier`.
    pub async fn follow_keys(self, store: Store, verifier: Verifier) {
        let life = self.0.access_lifetime.max(self.0.refresh_lifetime) + KEPT_LONGER;
        let mut has_failed = false;
        loop {
            sleep(READ_KEYS_EVERY).await;
            let followed = self.read_keys(&store, &verifier).await;
            let forgotten = store.forget_keys(life).await;
            let failure = followed.and(forgotten.map_err(Into::into)).err();
            if let Some(error) = &failure
                && !has_failed
            {
                tracing::warn!("the signing keys cannot be read again: {error:#}");
            }
            has_failed = failure.is_some();
        }
    }

    async fn read_keys(&self, store: &Store, verifier: &Verifier) -> anyhow::Result<()> {
        let keys = Keys::read(store).await?;
        verifier.set_keys(keys.jwks.clone())?;
        *self.0.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        Ok(())
    }

    fn keys(&self) -> Arc<Keys> {
        let keys = self.0.keys.read();
        keys.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The public keys as a JSON Web Key Set.
    pub fn jwks(&self) -> serde_json::Value {
        self.keys().jwks.clone()
    }

    /// A session whose refresh token was issued before this time has no token that is still valid:
    /// an access token may outlive the refresh token that it came with.
    pub fn expired_before(&self, now: DateTime<Utc>) -> DateTime<Utc> {
        let life = self.0.refresh_lifetime.checked_add(self.0.access_lifetime);
        let life = life.and_then(|life| chrono::Duration::from_std(life).ok());
        let begin = life.and_then(|life| now.checked_sub_signed(life));
        begin.unwrap_or_default().max(DateTime::UNIX_EPOCH)
    }

    /// An access token that is valid from now on.
    pub fn access(&self, subject: Subject) -> Result<String, Error> {
        let now = Timestamp::now().utc();
        self.sign(
            subject,
            TokenType::Access,
            Uuid::new_v4(),
            now,
            self.0.access_lifetime,
        )
    }

    /// The refresh token `jti` made at `issued_at`: the same arguments give the same token, as long as
    /// the same key signs.
    pub fn refresh(
        &self,
        subject: Subject,
        jti: Uuid,
        issued_at: DateTime<Utc>,
    ) -> Result<String, Error> {
        self.sign(
            subject,
            TokenType::Refresh,
            jti,
            issued_at,
            self.0.refresh_lifetime,
        )
    }

    /// Both tokens of a session whose refresh token is `jti`.
    pub fn pair(
        &self,
        subject: Subject,
        jti: Uuid,
        issued_at: DateTime<Utc>,
    ) -> Result<TokenPair, Error> {
        Ok(TokenPair {
            access: self.access(subject)?,
            refresh: Some(self.refresh(subject, jti, issued_at)?),
        })
    }

    fn sign(
        &self,
        subject: Subject,
        token_type: TokenType,
        jti: Uuid,
        issued_at: DateTime<Utc>,
        lifetime: Duration,
    ) -> Result<String, Error> {
        let iat = Timestamp::from(issued_at).unix_seconds();
        let claims = Claims {
            token_type,
            user_id: subject.user,
            sub: subject.user,
            sid: subject.sid,
            jti,
            iat,
            exp: iat + lifetime.as_secs(),
            iss: self.0.issuer.clone(),
            aud: self.0.audience.clone(),
        };
        let mut header = Header::new(Algorithm::EdDSA);
        let keys = self.keys();
        header.kid = Some(keys.kid.clone());
        encode(&header, &claims, &keys.key).map_err(|error| Error::Internal(error.into()))
    }
}

/// A new key.
pub fn generate() -> anyhow::Result<SigningKey> {
    // Version 1 of PKCS#8: of version 2 no JWK can be made.
    let pair = Ed25519KeyPair::generate()
        .ok()
        .context("no Ed25519 key could be made")?;
    let pkcs8 = pair
        .to_pkcs8v1()
        .ok()
        .context("no Ed25519 key could be made")?;
    let pkcs8 = pkcs8.as_ref().to_vec();
    let jwk = public_key(&EncodingKey::from_ed_der(&pkcs8))?;
    let kid = jwk.common.key_id.unwrap_or_default();
    Ok(SigningKey { kid, pkcs8 })
}

fn public_key(key: &EncodingKey) -> anyhow::Result<Jwk> {
    let mut jwk = Jwk::from_encoding_key(key, Algorithm::EdDSA)
        .context("the signing key is no PKCS#8 version 1 Ed25519 key")?;
    jwk.common.key_id = Some(jwk.thumbprint(ThumbprintHash::SHA256)?);
    jwk.common.public_key_use = Some(PublicKeyUse::Signature);
    Ok(jwk)
}
