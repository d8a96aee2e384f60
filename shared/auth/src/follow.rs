//! Keeps a verifier up to date over the bus.

use std::time::Duration;

use natter_bus::{Bus, Revocation, watch_revoked};
use natter_process::Process;
use natter_protocol::call::GetJwks;
use tokio::time::sleep;

use crate::Verifier;

/// How often the keys are asked for although nothing says that they changed.
const REFRESH_KEYS_EVERY: Duration = Duration::from_secs(10);
/// The least pause between two requests for the keys: each token with an unknown key id asks for
/// them, and made-up ids must not become traffic.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// Follows the feed of revoked sessions until the process ends. The process is not ready before the
/// feed was heard and the public keys are known.
pub fn follow_revocations(verifier: &Verifier, bus: &Bus, process: &Process) {
    let feed = verifier.clone();
    process.tasks.spawn(watch_revoked(
        bus.clone(),
        process.shutdown.clone(),
        move |revocation| match revocation {
            Revocation::Revoked(sid, session) => feed.revoked().insert(session.user, sid),
            Revocation::UpToDate => feed.revoked().up_to_date(),
        },
    ));
    let ready = verifier.clone();
    process
        .health
        .require("sessions", move || std::future::ready(ready.is_ready()));
}

/// Follows the public keys of the users service, until the process ends.
pub fn follow_keys(verifier: &Verifier, bus: &Bus, process: &Process) {
    let verifier = verifier.clone();
    let bus = bus.clone();
    let stop = process.shutdown.clone();
    process.tasks.spawn(async move {
        let following = async {
            loop {
                let pause = match fetch(&verifier, &bus).await {
                    Ok(()) => REFRESH_KEYS_EVERY,
                    Err(error) => {
                        tracing::info!("the public keys cannot be had yet: {error:#}");
                        LEAST_PAUSE
                    }
                };
                sleep(LEAST_PAUSE).await;
                tokio::select! {
                    () = sleep(pause) => {}
                    () = verifier.unknown_key() => {}
                }
            }
        };
        stop.run_until_cancelled(following).await;
    });
}

async fn fetch(verifier: &Verifier, bus: &Bus) -> anyhow::Result<()> {
    verifier.set_keys(bus.call(&GetJwks {}).await?)
}
