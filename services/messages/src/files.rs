//! Files: into the media store first, then into a row; and away again when nothing needs them.

use std::{future::Future, time::Duration};

use futures_util::{StreamExt, TryStreamExt};
use natter_http::Upload;
use natter_media::{MESSAGES, MediaStore, Place};
use natter_process::Process;
use natter_protocol::{
    MediaId, Timestamp,
    call::NewMedia,
    message::{check_filename, clean_filename},
};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::{error::Error, store::Store};

/// The largest file that may be uploaded, in bytes.
pub const MAX_FILE_BYTES: usize = 25 << 20;
const SWEEP_TIMEOUT: Duration = Duration::from_secs(60);
const SWEEP_FILES: i64 = 100;
const STRAYS_EVERY: Duration = Duration::from_secs(6 * 3600);
/// Every file of the store is listed, each time from the first on: an S3 service lists some ten
/// thousand a second.
const STRAYS_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// A file without a row may belong to an unfinished upload or send until it is this old.
const STRAY_AGE_MS: u64 = 24 * 3600 * 1_000;
const STRAYS_AT_A_TIME: usize = 500;

/// Puts a file into the media store; returns its id and its description.
pub async fn store(media: &MediaStore, file: Upload) -> Result<(MediaId, NewMedia), Error> {
    let Upload {
        filename,
        content_type,
        bytes,
    } = file;
    let checked = check_filename(&clean_filename(&filename));
    checked.map_err(|error| Error::InvalidFile(error.to_string()))?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(Error::TooLarge);
    }
    Ok(natter_media::add(media, &filename, content_type.as_deref(), bytes).await?)
}

/// Removes what nothing needs any more, until the process stops: files that have expired,
/// and files that no row names, because their upload or send was not completed.
pub fn sweep(store: &Store, media: &MediaStore, every: Duration, process: &Process) {
    let expired = sweep_every(store.clone(), media.clone(), every);
    let stop = process.shutdown.clone();
    process.tasks.spawn(async move {
        stop.run_until_cancelled(expired).await;
    });
    // Beside it: a large store takes hours to list.
    let strays = sweep_strays_after(store.clone(), media.clone(), every);
    let stop = process.shutdown.clone();
    process.tasks.spawn(async move {
        stop.run_until_cancelled(strays).await;
    });
}

async fn sweep_every(store: Store, media: MediaStore, pause: Duration) {
    loop {
        sleep(pause).await;
        tried("expired", SWEEP_TIMEOUT, sweep_once(&store, &media)).await;
    }
}

async fn sweep_strays_after(store: Store, media: MediaStore, pause: Duration) {
    sleep(pause).await;
    loop {
        tried("stray", STRAYS_TIMEOUT, sweep_strays(&store, &media)).await;
        sleep(STRAYS_EVERY).await;
    }
}

async fn tried(which: &str, longest: Duration, sweep: impl Future<Output = Result<(), Error>>) {
    match timeout(longest, sweep).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, which, "files could not be swept"),
        Err(_) => tracing::warn!(which, "files could not be swept in time"),
    }
}

/// Removes the files that no row names, because their send or upload broke off, or that were removed
/// before. Their ids say how old they are.
async fn sweep_strays(store: &Store, media: &MediaStore) -> Result<(), Error> {
    let old = Timestamp::now().unix_ms().saturating_sub(STRAY_AGE_MS);
    let ids = media.names(MESSAGES).try_filter_map(|name| {
        let id = Uuid::parse_str(&name).ok();
        std::future::ready(Ok(id.filter(|id| made_at_ms(*id) < old)))
    });
    let mut chunks = std::pin::pin!(ids.try_chunks(STRAYS_AT_A_TIME));
    while let Some(ids) = chunks.next().await {
        let ids = ids.map_err(|error| error.1)?;
        let known = store.known_media(&ids).await?;
        if known.is_empty() && !store.has_media().await? {
            tracing::error!("no stray file is removed: the database has no file at all");
            return Ok(());
        }
        for id in ids.iter().filter(|id| !known.contains(id)) {
            tracing::info!(%id, "a stray file is removed");
            media.delete(Place(MESSAGES, &id.to_string())).await?;
        }
    }
    Ok(())
}

/// When a version 7 UUID was made, in milliseconds since 1970.
fn made_at_ms(id: Uuid) -> u64 {
    id.as_bytes()[..6]
        .iter()
        .fold(0, |ms, byte| (ms << 8) | u64::from(*byte))
}

async fn sweep_once(store: &Store, media: &MediaStore) -> Result<(), Error> {
    loop {
        let expired = store.expired_media(SWEEP_FILES).await?;
        if expired.is_empty() {
            return Ok(());
        }
        for id in expired {
            // The row last: after a crash between the two, the next sweep finds the file by it.
            media.delete(Place(MESSAGES, &id.to_string())).await?;
            store.forget_media(id).await?;
        }
    }
}
