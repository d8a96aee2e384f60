//! How often a login may fail, and a sign-up or a change of a profile be tried: per account, and per
//! address.
//!
//! Counted by this process alone: with N replicas an account has N times as many tries.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use natter_http::ClientAddress;
use natter_process::RateLimits;
use natter_protocol::UserId;
use tokio::sync::Notify;

use crate::error::Error;

/// Tries are forgotten together, this long after the first of them.
const WINDOW: Duration = Duration::from_secs(300);
const ACCOUNT_FAILURES: u32 = 10;
const ADDRESS_FAILURES: u32 = 100;
const NAME_SIGNUPS: u32 = 10;
/// Many people may share an address: an office, a campus, a mobile network.
const ADDRESS_SIGNUPS: u32 = 100;
/// Each change is an event that other services act on, and may be an image to be decoded.
const PROFILE_CHANGES: u32 = 60;
const PROFILE_WINDOW: Duration = Duration::from_secs(60);
/// How many names or addresses are counted at once; past it, expired counts are dropped, and a new
/// name or address is not counted while there is no room.
const MAX_KEYS: usize = 100_000;
/// The part of an IPv6 address that one subscriber has: its first 64 bits.
const IPV6_NETWORK: u128 = !(u64::MAX as u128);

#[derive(Clone)]
pub struct Throttle {
    accounts: Arc<Tries>,
    /// The limits that `NATTER_RATE_LIMITS=off` disables.
    others: Option<Arc<Others>>,
}

struct Others {
    addresses: Arc<Tries>,
    names: Tries,
    signups: Tries,
    changes: Tries,
}

/// A login that was admitted. Whoever checks its password says how it ended; dropped before that,
/// it does not count as a try.
pub struct Login {
    account: Running,
    address: Option<Running>,
}

impl Throttle {
    pub fn new(limits: RateLimits) -> Self {
        let others = || {
            Arc::new(Others {
                addresses: Arc::new(Tries::allowing(ADDRESS_FAILURES)),
                names: Tries::allowing(NAME_SIGNUPS),
                signups: Tries::allowing(ADDRESS_SIGNUPS),
                changes: Tries {
                    window: PROFILE_WINDOW,
                    ..Tries::allowing(PROFILE_CHANGES)
                },
            })
        };
        Self {
            accounts: Arc::new(Tries::allowing(ACCOUNT_FAILURES)),
            others: (limits == RateLimits::On).then(others),
        }
    }

    /// Refuses a login that has failed too often. Of those that run at the same time only as many
    /// are admitted as may still fail; the others wait for what becomes of them.
    pub async fn log_in(&self, username_key: &str, address: ClientAddress) -> Result<Login, Error> {
        let account = Tries::begin(&self.accounts, username_key).await?;
        let address = match &self.others {
            Some(others) => Some(Tries::begin(&others.addresses, network(address)).await?),
            None => None,
        };
        Ok(Login { account, address })
    }

    /// Counts a sign-up, and refuses it where there were too many.
    pub fn sign_up(&self, username_key: &str, address: ClientAddress) -> Result<(), Error> {
        let Some(others) = &self.others else {
            return Ok(());
        };
        // The address first: one that has no tries left must not use up those of the name.
        let network = network(address);
        others.signups.take(network)?;
        others
            .names
            .take(username_key)
            .inspect_err(|_| others.signups.give_back(network))
    }

    /// Counts a change of a user's profile, and refuses it where there were too many.
    pub fn change_profile(&self, user: UserId) -> Result<(), Error> {
        match &self.others {
            Some(others) => others.changes.take(user),
            None => Ok(()),
        }
    }
}

impl Login {
    /// The password was the right one: the account's failures are forgotten.
    pub fn succeeded(self) {
        self.account.end(Outcome::Succeeded);
        if let Some(address) = self.address {
            address.end(Outcome::Untried);
        }
    }

    /// The password was a wrong one, or there is no such account.
    pub fn failed(self) {
        self.account.end(Outcome::Failed);
        if let Some(address) = self.address {
            address.end(Outcome::Failed);
        }
    }
}

/// What counts as one address.
fn network(address: ClientAddress) -> IpAddr {
    match address.0 {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & IPV6_NETWORK)),
        address => address,
    }
}

/// Tries by key, of which only the hash is kept: a key may be long. (Two keys of one hash would count
/// together; nobody can find them, since each process hashes in another way.)
struct Tries {
    allowed: u32,
    window: Duration,
    hasher: RandomState,
    by_key: Mutex<HashMap<u64, Count>>,
    /// Told when a try ends.
    ended: Notify,
}

struct Count {
    failed: u32,
    running: u32,
    /// When the first of the failed began.
    since: Instant,
}

impl Count {
    fn new() -> Self {
        Self {
            failed: 0,
            running: 0,
            since: Instant::now(),
        }
    }

    fn is_over(&self, window: Duration) -> bool {
        self.running == 0 && self.since.elapsed() >= window
    }

    /// Refuses where there were too many.
    fn check(&mut self, allowed: u32, window: Duration) -> Result<(), Error> {
        let elapsed = self.since.elapsed();
        if self.failed == 0 || elapsed >= window {
            (self.failed, self.since) = (0, Instant::now());
        }
        if self.failed < allowed {
            return Ok(());
        }
        let left = window.saturating_sub(elapsed).as_secs() + 1;
        Err(Error::RateLimited(u32::try_from(left).unwrap_or(u32::MAX)))
    }
}

impl Tries {
    fn allowing(allowed: u32) -> Self {
        Self {
            allowed,
            window: WINDOW,
            hasher: RandomState::new(),
            by_key: Mutex::default(),
            ended: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Count>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The count of this key; `None` if there is no room for it.
    fn count<'a>(&self, by_key: &'a mut HashMap<u64, Count>, key: u64) -> Option<&'a mut Count> {
        if by_key.len() >= MAX_KEYS {
            by_key.retain(|_, count| !count.is_over(self.window));
        }
        if by_key.len() >= MAX_KEYS && !by_key.contains_key(&key) {
            return None;
        }
        Some(by_key.entry(key).or_insert_with(Count::new))
    }

    /// Counts a try, and refuses it where there were too many.
    fn take(&self, key: impl Hash) -> Result<(), Error> {
        let key = self.hasher.hash_one(key);
        let mut by_key = self.lock();
        let Some(count) = self.count(&mut by_key, key) else {
            return Ok(());
        };
        count.check(self.allowed, self.window)?;
        count.failed += 1;
        Ok(())
    }

    fn give_back(&self, key: impl Hash) {
        let key = self.hasher.hash_one(key);
        if let Some(count) = self.lock().get_mut(&key) {
            count.failed = count.failed.saturating_sub(1);
        }
    }

    /// Begins a try that may fail, as soon as fewer run than may still fail.
    async fn begin(tries: &Arc<Self>, key: impl Hash) -> Result<Running, Error> {
        let key = tries.hasher.hash_one(key);
        loop {
            // Before the count is looked at, so that no end is missed.
            let ended = tries.ended.notified();
            if let Some(running) = Self::try_begin(tries, key)? {
                return Ok(running);
            }
            ended.await;
        }
    }

    fn try_begin(tries: &Arc<Self>, key: u64) -> Result<Option<Running>, Error> {
        let mut by_key = tries.lock();
        let mut counted = None;
        if let Some(count) = tries.count(&mut by_key, key) {
            count.check(tries.allowed, tries.window)?;
            if count.failed + count.running >= tries.allowed {
                return Ok(None);
            }
            count.running += 1;
            counted = Some(key);
        }
        Ok(Some(Running {
            tries: tries.clone(),
            key: counted,
        }))
    }

    fn end(&self, key: u64, outcome: Outcome) {
        let mut by_key = self.lock();
        if let Some(count) = by_key.get_mut(&key) {
            count.running = count.running.saturating_sub(1);
            match outcome {
                Outcome::Failed => count.failed += 1,
                Outcome::Succeeded => count.failed = 0,
                Outcome::Untried => {}
            }
            if count.failed == 0 && count.running == 0 {
                by_key.remove(&key);
            }
        }
        drop(by_key);
        self.ended.notify_waiters();
    }
}

#[derive(Clone, Copy)]
enum Outcome {
    Failed,
    Succeeded,
    Untried,
}

/// A try that has not ended. Dropped before its end, it does not count: no password was checked.
struct Running {
    tries: Arc<Tries>,
    /// None where it is not counted, or has ended.
    key: Option<u64>,
}

impl Running {
    fn end(mut self, outcome: Outcome) {
        self.finish(outcome);
    }

    fn finish(&mut self, outcome: Outcome) {
        if let Some(key) = self.key.take() {
            self.tries.end(key, outcome);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.finish(Outcome::Untried);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, future::join_all};

    use super::*;

    fn address(last: u8) -> ClientAddress {
        ClientAddress(IpAddr::from([10, 0, 0, last]))
    }

    #[tokio::test]
    async fn an_account_is_refused_after_repeated_failures_whoever_asks() {
        let throttle = Throttle::new(RateLimits::Off);
        let mut admitted = Vec::new();
        for number in 0..10 {
            admitted.extend(throttle.log_in("ALICE", address(number)).await);
        }
        assert_eq!(admitted.len(), 10);
        let last = admitted.pop().expect("a login");
        admitted.into_iter().for_each(Login::failed);
        // The eleventh waits for what becomes of the tenth.
        let mut eleventh = Box::pin(throttle.log_in("ALICE", address(99)));
        assert!(eleventh.as_mut().now_or_never().is_none());
        last.failed();
        assert!(matches!(
            eleventh.await.err(),
            Some(Error::RateLimited(1..=300))
        ));
        assert!(throttle.log_in("BOB", address(0)).await.is_ok());
    }

    #[tokio::test]
    async fn a_right_password_forgets_the_failures_and_lets_on_who_waits() {
        let throttle = Throttle::new(RateLimits::On);
        let log_in = || throttle.log_in("ALICE", address(1));
        for _ in 1..ACCOUNT_FAILURES {
            log_in().await.expect("it is admitted").failed();
        }
        let last = log_in().await.expect("it is admitted");
        let waiting = join_all((0..ACCOUNT_FAILURES).map(|_| log_in()));
        let mut waiting = Box::pin(waiting);
        assert!(waiting.as_mut().now_or_never().is_none());
        last.succeeded();
        // One that could not be checked is no failure.
        drop(waiting.await);
        assert!(throttle.accounts.lock().is_empty());
        // Those of the address stay.
        let others = throttle.others.as_ref().expect("limits are on");
        let counts: Vec<u32> = others
            .addresses
            .lock()
            .values()
            .map(|one| one.failed)
            .collect();
        assert_eq!(counts, [ACCOUNT_FAILURES - 1]);
    }

    #[test]
    fn sign_ups_are_counted_by_name_and_by_address() {
        let throttle = Throttle::new(RateLimits::On);
        let tries = (0..=NAME_SIGNUPS).map(|last| throttle.sign_up("ALICE", address(last as u8)));
        assert_eq!(tries.filter(Result::is_ok).count(), NAME_SIGNUPS as usize);
        let one = address(99);
        let tries = (0..=ADDRESS_SIGNUPS).map(|name| throttle.sign_up(&name.to_string(), one));
        assert_eq!(
            tries.filter(Result::is_ok).count(),
            ADDRESS_SIGNUPS as usize
        );
        // A refusal for the address uses up no try of the name, and one for the name none of the
        // address.
        let others = throttle.others.as_ref().expect("limits are on");
        assert!((0..NAME_SIGNUPS).all(|_| throttle.sign_up("BOB", one).is_err()));
        assert_eq!(others.names.lock().len(), 1 + ADDRESS_SIGNUPS as usize);
        assert!((0..ADDRESS_SIGNUPS).all(|_| throttle.sign_up("ALICE", address(100)).is_err()));
        assert!(throttle.sign_up("BOB", address(100)).is_ok());
        let off = Throttle::new(RateLimits::Off);
        assert!((0..1_000).all(|_| off.sign_up("ALICE", one).is_ok()));
    }

    #[tokio::test]
    async fn an_address_is_refused_unless_limits_are_off() {
        for (limits, refused) in [(RateLimits::On, true), (RateLimits::Off, false)] {
            let throttle = Throttle::new(limits);
            for number in 0..ADDRESS_FAILURES {
                let login = throttle.log_in(&number.to_string(), address(1)).await;
                login.expect("it is admitted").failed();
            }
            let login = throttle.log_in("SOMEBODY", address(1)).await;
            assert_eq!(login.is_err(), refused);
        }
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let of = |text: &str| network(ClientAddress(text.parse().expect("an address")));
        assert_eq!(
            of("2001:db8:1:2::3"),
            of("2001:db8:1:2:ffff:ffff:ffff:ffff")
        );
        assert_ne!(of("2001:db8:1:2::3"), of("2001:db8:1:3::3"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }

    #[test]
    fn long_names_that_begin_alike_are_counted_apart() {
        let throttle = Throttle::new(RateLimits::On);
        let name = |end: &str| "X".repeat(1_000) + end;
        let tries =
            (0..=NAME_SIGNUPS).map(|last| throttle.sign_up(&name("A"), address(last as u8)));
        assert_eq!(tries.filter(Result::is_ok).count(), NAME_SIGNUPS as usize);
        assert!(throttle.sign_up(&name("B"), address(99)).is_ok());
    }
}
