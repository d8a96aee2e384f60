//! Files in frames: into the media store before their message is sent on, never on the bus.

use base64::{Engine, prelude::BASE64_STANDARD};
use natter_media::{MESSAGES, MediaStore, Place, content_type_of};
use natter_protocol::{
    MediaId,
    call::{NewMedia, Refusal, SendMedia, SendReply},
    frame::{ErrorCode, MediaItem},
};

/// Stores the files that a frame brings; those that were uploaded before are named.
pub async fn store(
    store: &MediaStore,
    items: Vec<MediaItem>,
) -> Result<Vec<SendMedia>, (ErrorCode, String)> {
    // All are read before one is stored.
    let mut read = Vec::with_capacity(items.len());
    for item in items {
        read.push(match item {
            MediaItem::Uploaded(id) => Err(id),
            MediaItem::File { filename, base64 } => {
                let bytes = BASE64_STANDARD.decode(base64).map_err(|_| {
                    let detail = "The content of a file is not base64.";
                    (ErrorCode::InvalidFrame, detail.to_owned())
                })?;
                Ok((filename, bytes))
            }
        });
    }
    let mut media = Vec::with_capacity(read.len());
    for item in read {
        media.push(match item {
            Err(id) => SendMedia { id, new: None },
            Ok((filename, bytes)) => {
                let added = store.add(bytes.into()).await.map_err(|error| {
                    tracing::error!(%error, "the media store failed");
                    let refusal = Refusal::Unavailable;
                    (refusal.into(), refusal.to_string())
                })?;
                SendMedia {
                    id: MediaId(added.id),
                    new: Some(NewMedia {
                        content_type: content_type_of(&filename),
                        filename,
                        size: added.size,
                        sha256: added.sha256,
                    }),
                }
            }
        });
    }
    Ok(media)
}

/// Removes the files of a send that was refused, or stored before under other ids. Of one that is
/// unavailable it is not known.
pub async fn settle(store: &MediaStore, media: &[SendMedia], reply: &SendReply) {
    let keep = match reply {
        SendReply::Ack(stored) => !stored.duplicate,
        SendReply::Refused(refusal) => *refusal == Refusal::Unavailable,
    };
    for file in media.iter().filter(|file| !keep && file.new.is_some()) {
        let id = file.id.to_string();
        if let Err(error) = store.delete(Place(MESSAGES, &id)).await {
            tracing::warn!(%error, "a file that was not sent could not be removed");
        }
    }
}
