//! Files: into the media store first, then into a row; and away again when nothing needs them.

use std::time::Duration;

use bytes::Bytes;
use natter_media::{MESSAGES, MediaStore, Place};
use natter_protocol::{MediaId, call::NewMedia, message::check_filename};
use natter_service::Process;
use tokio::time::{sleep, timeout};

use crate::{error::Error, store::Store};

/// The largest file that is uploaded, in bytes.
pub const MAX_FILE_BYTES: usize = 25 << 20;
const SWEEP_EVERY: Duration = Duration::from_secs(60);
const SWEEP_TIMEOUT: Duration = Duration::from_secs(60);
const SWEEP_FILES: i64 = 100;

/// Puts a file into the media store; what is to be known of it.
pub async fn store(
    media: &MediaStore,
    filename: String,
    bytes: Bytes,
) -> Result<(MediaId, NewMedia), Error> {
    check_filename(&filename).map_err(|error| Error::InvalidFile(error.to_string()))?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(Error::TooLarge);
    }
    Ok(natter_media::add(media, filename, bytes).await?)
}

/// Removes what nothing needs any more, until the process stops.
pub fn sweep(store: &Store, media: &MediaStore, process: &Process) {
    let (store, media) = (store.clone(), media.clone());
    let stop = process.shutdown.clone();
    process.tasks.spawn(async move {
        let sweeping = async {
            loop {
                sleep(SWEEP_EVERY).await;
                match timeout(SWEEP_TIMEOUT, sweep_once(&store, &media)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::warn!(%error, "files could not be swept"),
                    Err(_) => tracing::warn!("files could not be swept in time"),
                }
            }
        };
        tokio::select! {
            () = sweeping => {}
            () = stop.cancelled() => {}
        }
    });
}

async fn sweep_once(store: &Store, media: &MediaStore) -> Result<(), Error> {
    loop {
        let expired = store.expired_media(SWEEP_FILES).await?;
        if expired.is_empty() {
            return Ok(());
        }
        for id in expired {
            // The row last: what is left by a crash between is swept again.
            media.delete(Place(MESSAGES, &id.to_string())).await?;
            store.forget_media(id).await?;
        }
    }
}
