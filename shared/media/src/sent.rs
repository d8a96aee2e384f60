//! The files of a message that is being sent.

use aws_lc_rs::digest;
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use natter_protocol::{
    MediaId,
    call::{NewMedia, Refusal, SendMedia, SendReply},
    frame::MediaItem,
    message::clean_filename,
};
use uuid::Uuid;

use crate::{MESSAGES, MediaError, MediaStore, Place, kind::content_type};

#[derive(Debug, thiserror::Error)]
pub enum ItemError {
    #[error("The content of a file is not base64.")]
    NotBase64,
    #[error("the media store failed")]
    Store(#[from] MediaError),
}

/// Stores a file under a new id. `claimed` is the content type that its sender gave it.
pub async fn add(
    store: &MediaStore,
    filename: &str,
    claimed: Option<&str>,
    bytes: Bytes,
) -> Result<(MediaId, NewMedia), MediaError> {
    let filename = clean_filename(filename);
    let id = MediaId(Uuid::now_v7());
    let hash = digest::digest(&digest::SHA256, &bytes);
    let new = NewMedia {
        content_type: content_type(&filename, claimed, &bytes),
        filename,
        size: bytes.len() as u64,
        sha256: hash
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
    };
    store.put(Place(MESSAGES, &id.to_string()), bytes).await?;
    Ok((id, new))
}

/// Stores the files whose content came with a message; those uploaded before are only named.
pub async fn add_all(
    store: &MediaStore,
    items: Vec<MediaItem>,
) -> Result<Vec<SendMedia>, ItemError> {
    // All are decoded before any is stored: one that is not base64 leaves no other behind.
    let mut read = Vec::with_capacity(items.len());
    for item in items {
        read.push(match item {
            MediaItem::Uploaded(id) => Err(id),
            MediaItem::File { filename, base64 } => {
                let bytes = BASE64_STANDARD.decode(base64);
                Ok((filename, bytes.map_err(|_| ItemError::NotBase64)?))
            }
        });
    }
    let mut media = Vec::with_capacity(read.len());
    for item in read {
        media.push(match item {
            Err(id) => SendMedia { id, new: None },
            Ok((filename, bytes)) => {
                let (id, new) = add(store, &filename, None, bytes.into()).await?;
                SendMedia { id, new: Some(new) }
            }
        });
    }
    Ok(media)
}

/// Removes the new files of a send that was refused. After `unavailable` they stay: the message may
/// have been stored. So do those of a repeat: the replica that stored the message, under these very
/// ids, may have gone before it answered. Files that no message has are swept a day later.
pub async fn settle(store: &MediaStore, media: &[SendMedia], reply: &SendReply) {
    let SendReply::Refused(refusal) = reply else {
        return;
    };
    let keep = *refusal == Refusal::Unavailable;
    for file in media.iter().filter(|file| !keep && file.new.is_some()) {
        if let Err(error) = store.delete(Place(MESSAGES, &file.id.to_string())).await {
            tracing::warn!(%error, "a file that was not sent could not be removed");
        }
    }
}
