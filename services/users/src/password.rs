//! Password hashes, on a bounded pool.
//!
//! A hash takes about 40 ms and 19 MiB, so only as many run at a time as there are cores, and
//! only so many may wait: a storm of logins neither eats the memory nor slows other routes.

use std::sync::Arc;

use anyhow::Context;
use argon2::{Argon2, PasswordHasher, PasswordVerifier, password_hash};
use tokio::sync::Semaphore;

use crate::error::Error;

/// How many hashes may wait for each one that runs: at 40 ms each, about two seconds.
const WAITING_PER_WORKER: usize = 50;

#[derive(Clone)]
pub struct Passwords {
    running: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
    /// Compared with where there is no account, so that both take the same time.
    decoy: Arc<str>,
}

impl Passwords {
    pub fn new() -> anyhow::Result<Self> {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let decoy = hash("decoy").ok().context("passwords cannot be hashed")?;
        Ok(Self {
            running: Arc::new(Semaphore::new(workers)),
            admitted: Arc::new(Semaphore::new(workers * (1 + WAITING_PER_WORKER))),
            decoy: decoy.into(),
        })
    }

    pub async fn hash(&self, password: &str) -> Result<String, Error> {
        let password = password.to_owned();
        self.on_pool(move || hash(&password)).await
    }

    /// Whether `password` is the one that `hash` is of. Without a hash it never is.
    pub async fn verify(&self, password: &str, hash: Option<&str>) -> Result<bool, Error> {
        let password = password.to_owned();
        let known = hash.is_some();
        let hash: Arc<str> = hash.map_or_else(|| self.decoy.clone(), Into::into);
        let matches = self.on_pool(move || verify(&password, &hash)).await?;
        Ok(matches && known)
    }

    async fn on_pool<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let admitted = self.admitted.clone().try_acquire_owned();
        let admitted = admitted.map_err(|_| Error::Busy)?;
        let running = self.running.clone().acquire_owned().await;
        let running = running.map_err(|_| Error::Busy)?;
        // The permits go with the work: it goes on when the client that asked for it is gone.
        tokio::task::spawn_blocking(move || {
            let _permits = (admitted, running);
            work()
        })
        .await
        .map_err(|error| Error::Internal(error.into()))?
    }
}

fn hash(password: &str) -> Result<String, Error> {
    let hash = Argon2::default()
        .hash_password(password.as_bytes())
        .map_err(|error| Error::Internal(anyhow::anyhow!("hashing failed: {error}")))?;
    Ok(hash.to_string())
}

fn verify(password: &str, hash: &str) -> Result<bool, Error> {
    match Argon2::default().verify_password(password.as_bytes(), hash) {
        Ok(()) => Ok(true),
        Err(password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(Error::Internal(anyhow::anyhow!(
            "a stored hash is unusable: {error}"
        ))),
    }
}
