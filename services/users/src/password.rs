//! Password hashes, on a bounded pool.
//!
//! A hash takes about 40 ms and 19 MiB, so only as many run at a time as there are cores, and
//! only so many may wait: a storm of logins neither eats the memory nor slows other routes.

use std::sync::Arc;

use anyhow::Context;
use argon2::{Argon2, PasswordHasher, PasswordVerifier, password_hash};
use tokio::sync::Semaphore;
use unicode_normalization::UnicodeNormalization;

use crate::error::Error;

/// How many hashes may wait for each one that runs: at 40 ms each, about two seconds.
const WAITING_PER_WORKER: usize = 50;

/// A password as it is compared: RFC 8265's OpaqueString, so that it is the same however a keyboard
/// composes its letters, and which of Unicode's spaces it types.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    pub fn new(typed: &str) -> Self {
        Self(typed.nfc().map(plain_space).collect())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// U+0020 in the place of the other spaces (the category Zs).
fn plain_space(c: char) -> char {
    match c {
        '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => {
            ' '
        }
        other => other,
    }
}

#[derive(Clone)]
pub struct Passwords {
    running: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
    /// The hash that is verified where there is no account, so that both take the same time.
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

    pub async fn hash(&self, password: Password) -> Result<String, Error> {
        self.on_pool(move || hash(password.as_str())).await
    }

    /// Whether what was typed is the password that `hash` is of. Without a hash it never is.
    pub async fn verify(&self, typed: &str, hash: Option<&str>) -> Result<bool, Error> {
        let typed = typed.to_owned();
        let known = hash.is_some();
        let hash: Arc<str> = hash.map_or_else(|| self.decoy.clone(), Into::into);
        let matches = self.on_pool(move || {
            let password = Password::new(&typed);
            // Older versions hashed a password as it was typed, without normalising it.
            Ok(verify(password.as_str(), &hash)?
                || password.as_str() != typed && verify(&typed, &hash)?)
        });
        Ok(matches.await? && known)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_matches_however_its_letters_are_composed() {
        let passwords = Passwords::new().expect("passwords");
        let (composed, decomposed) = ("Caf\u{e9}!pass1 x", "Cafe\u{301}!pass1\u{a0}x");
        let stored = passwords.hash(Password::new(decomposed)).await;
        let stored = stored.expect("a hash");
        // As older versions stored it: not normalised.
        let old = hash(decomposed).expect("a hash");
        for (typed, stored, matches) in [
            (composed, Some(&stored), true),
            (decomposed, Some(&stored), true),
            ("Cafe!pass1 x", Some(&stored), false),
            (decomposed, Some(&old), true),
            (composed, None, false),
            ("decoy", None, false),
        ] {
            let found = passwords.verify(typed, stored.map(String::as_str)).await;
            assert_eq!(found.ok(), Some(matches), "{typed}");
        }
    }
}
