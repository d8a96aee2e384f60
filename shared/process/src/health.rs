//! Whether the process should get traffic.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// The longest a readiness check may take before it counts as failed.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

type Check = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;

/// Ready: everything is set up, every dependency answers, and the process is not draining.
#[derive(Clone, Default)]
pub struct Health {
    checks: Arc<Mutex<Vec<(&'static str, Check)>>>,
    started: Arc<AtomicBool>,
    draining: Arc<AtomicBool>,
}

impl Health {
    /// Adds a dependency that must answer `true` for the process to be ready.
    pub fn require<F, Fut>(&self, name: &'static str, check: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = bool> + Send + 'static,
    {
        self.checks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((name, Arc::new(move || Box::pin(check()))));
    }

    /// Everything is set up: from now on the checks decide.
    pub fn start(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    /// From now on never ready again.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// The names of what stands in the way; empty means ready.
    pub async fn missing(&self) -> Vec<&'static str> {
        let checks = self
            .checks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut missing = Vec::new();
        if !self.started.load(Ordering::Relaxed) {
            missing.push("started");
        }
        if self.draining.load(Ordering::Relaxed) {
            missing.push("its end: it is stopping");
        }
        let results = checks.into_iter().map(|(name, check)| async move {
            let fine = tokio::time::timeout(CHECK_TIMEOUT, check()).await;
            (name, fine.unwrap_or(false))
        });
        for (name, fine) in futures_util::future::join_all(results).await {
            if !fine && !missing.contains(&name) {
                missing.push(name);
            }
        }
        missing
    }
}
