//! How often a login may fail, and a sign-up be tried: per account, and per address.
//!
//! Counted by this process alone: with N replicas an account has N times as many tries.

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use natter_http::ClientAddress;
use natter_process::RateLimits;

use crate::error::Error;

/// Tries that are forgotten together, this long after the first.
const WINDOW: Duration = Duration::from_secs(300);
const ACCOUNT_FAILURES: u32 = 10;
const ADDRESS_FAILURES: u32 = 100;
const NAME_SIGNUPS: u32 = 10;
/// Many people may share an address: an office, a campus, a mobile network.
const ADDRESS_SIGNUPS: u32 = 100;
/// How many names or addresses are counted at once; past it, expired counts are dropped, and a new
/// name or address is not counted while there is no room.
const MAX_KEYS: usize = 100_000;

#[derive(Clone)]
pub struct Throttle {
    accounts: Arc<Tries<String>>,
    /// The limits that `NATTER_RATE_LIMITS=off` disables.
    others: Option<Arc<Others>>,
}

struct Others {
    addresses: Tries<IpAddr>,
    names: Tries<String>,
    signups: Tries<IpAddr>,
}

impl Throttle {
    pub fn new(limits: RateLimits) -> Self {
        let others = || {
            Arc::new(Others {
                addresses: Tries::allowing(ADDRESS_FAILURES),
                names: Tries::allowing(NAME_SIGNUPS),
                signups: Tries::allowing(ADDRESS_SIGNUPS),
            })
        };
        Self {
            accounts: Arc::new(Tries::allowing(ACCOUNT_FAILURES)),
            others: (limits == RateLimits::On).then(others),
        }
    }

    /// Refuses a login that has failed too often. Several that run at the same time are all tried:
    /// how many run is bounded where passwords are checked.
    pub fn check(&self, username_key: &str, address: ClientAddress) -> Result<(), Error> {
        self.accounts.check(remembered(username_key).as_str())?;
        match &self.others {
            Some(others) => others.addresses.check(&address.0),
            None => Ok(()),
        }
    }

    pub fn failed(&self, username_key: &str, address: ClientAddress) {
        // What counts is that it failed, also past the limit.
        let _ = self.accounts.take(remembered(username_key));
        if let Some(others) = &self.others {
            let _ = others.addresses.take(address.0);
        }
    }

    /// Counts a sign-up, and refuses it where there were too many.
    pub fn sign_up(&self, username_key: &str, address: ClientAddress) -> Result<(), Error> {
        let Some(others) = &self.others else {
            return Ok(());
        };
        others.names.take(remembered(username_key))?;
        others.signups.take(address.0)
    }

    pub fn succeeded(&self, username_key: &str) {
        self.accounts.forget(remembered(username_key).as_str());
    }
}

/// What of a name is remembered: whatever is typed, a key is not long.
const MAX_KEY_CHARS: usize = 320;

fn remembered(username_key: &str) -> String {
    username_key.chars().take(MAX_KEY_CHARS).collect()
}

struct Tries<K> {
    allowed: u32,
    by_key: Mutex<HashMap<K, (u32, Instant)>>,
}

impl<K: Hash + Eq> Tries<K> {
    fn allowing(allowed: u32) -> Self {
        Self {
            allowed,
            by_key: Mutex::default(),
        }
    }

    /// Refuses where there were too many.
    fn check<Q>(&self, key: &Q) -> Result<(), Error>
    where
        K: std::borrow::Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        match by_key.get(key) {
            Some((tries, first)) => self.allow(*tries, *first),
            None => Ok(()),
        }
    }

    fn allow(&self, tries: u32, first: Instant) -> Result<(), Error> {
        if tries < self.allowed || first.elapsed() >= WINDOW {
            return Ok(());
        }
        let left = WINDOW.saturating_sub(first.elapsed()).as_secs() + 1;
        Err(Error::RateLimited(u32::try_from(left).unwrap_or(u32::MAX)))
    }

    /// Counts a try, and refuses it where there were too many.
    fn take(&self, key: K) -> Result<(), Error> {
        let mut by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        if by_key.len() >= MAX_KEYS {
            by_key.retain(|_, (_, first)| first.elapsed() < WINDOW);
        }
        if by_key.len() >= MAX_KEYS && !by_key.contains_key(&key) {
            return Ok(());
        }
        let (tries, first) = by_key.entry(key).or_insert((0, Instant::now()));
        if first.elapsed() >= WINDOW {
            (*tries, *first) = (0, Instant::now());
        }
        self.allow(*tries, *first)?;
        *tries += 1;
        Ok(())
    }

    fn forget<Q>(&self, key: &Q)
    where
        K: std::borrow::Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let mut by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        by_key.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_refused_after_repeated_failures_whoever_asks() {
        let throttle = Throttle::new(RateLimits::Off);
        let address = |last| ClientAddress(IpAddr::from([10, 0, 0, last]));
        for number in 0..10 {
            assert!(throttle.check("ALICE", address(number)).is_ok());
            throttle.failed("ALICE", address(number));
        }
        assert!(matches!(
            throttle.check("ALICE", address(99)),
            Err(Error::RateLimited(1..=300))
        ));
        assert!(throttle.check("BOB", address(0)).is_ok());
        throttle.succeeded("ALICE");
        assert!(throttle.check("ALICE", address(99)).is_ok());
    }

    #[test]
    fn sign_ups_are_counted_by_name_and_by_address() {
        let address = |last| ClientAddress(IpAddr::from([10, 0, 0, last]));
        let throttle = Throttle::new(RateLimits::On);
        let tries = (0..=NAME_SIGNUPS).map(|last| throttle.sign_up("ALICE", address(last as u8)));
        assert_eq!(tries.filter(Result::is_ok).count(), NAME_SIGNUPS as usize);
        let one = address(99);
        let tries = (0..=ADDRESS_SIGNUPS).map(|name| throttle.sign_up(&name.to_string(), one));
        assert_eq!(
            tries.filter(Result::is_ok).count(),
            ADDRESS_SIGNUPS as usize
        );
        let off = Throttle::new(RateLimits::Off);
        assert!((0..1_000).all(|_| off.sign_up("ALICE", one).is_ok()));
    }

    #[test]
    fn an_address_is_refused_unless_limits_are_off() {
        for (limits, refused) in [(RateLimits::On, true), (RateLimits::Off, false)] {
            let throttle = Throttle::new(limits);
            let address = ClientAddress(IpAddr::from([10, 0, 0, 1]));
            for number in 0..ADDRESS_FAILURES {
                throttle.failed(&number.to_string(), address);
            }
            assert_eq!(throttle.check("SOMEBODY", address).is_err(), refused);
        }
    }
}
