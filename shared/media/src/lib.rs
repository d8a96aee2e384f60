//! The media store: files beside the database, in a folder of one machine or in an S3 bucket.
//!
//! The gateway and the messages service also use it for the files of a message that is being sent:
//! it decodes and stores them before the message itself is stored ([`add_all`]).
//!
//! A file counts once `put` returns: it was written, flushed to disk and renamed by then, or the S3
//! service has confirmed it. Who may read what is for the services to say.

use std::{ops::Range, sync::Arc};

use anyhow::Context;
use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, path::Path};
use uuid::Uuid;

mod kind;
mod sent;
mod settings;

pub use object_store::Error as MediaError;
pub use sent::{ItemError, add, add_all, settle};
pub use settings::MediaSettings;

/// A file's place: a folder for each kind of file, and a name in it.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a>(pub &'static str, pub &'a str);

impl Place<'_> {
    fn path(self) -> Path {
        Path::from_iter([self.0, self.1])
    }
}

/// The folder of messages' files.
pub const MESSAGES: &str = "media";

#[derive(Clone)]
pub struct MediaStore(Arc<dyn ObjectStore>);

impl MediaStore {
    /// Opens the store that is set, and finds out at once whether it can be written to.
    pub async fn open(settings: &MediaSettings) -> anyhow::Result<Self> {
        let (store, name) = settings.open()?;
        let store = Self(store);
        let probe = Uuid::new_v4().to_string();
        let place = Place("probes", &probe);
        let written = store.put(place, Bytes::from_static(b"?")).await;
        written.with_context(|| format!("{name} cannot be written to"))?;
        let read = store.get(place).await;
        let read = read.with_context(|| format!("{name} cannot be read"))?;
        anyhow::ensure!(read.is_some(), "{name} has not what was written to it");
        store.delete(place).await?;
        Ok(store)
    }

    pub async fn put(&self, place: Place<'_>, bytes: Bytes) -> Result<(), MediaError> {
        self.0.put(&place.path(), bytes.into()).await?;
        Ok(())
    }

    /// The whole file; `None` where there is none.
    pub async fn get(&self, place: Place<'_>) -> Result<Option<Bytes>, MediaError> {
        match self.0.get(&place.path()).await {
            Ok(file) => file.bytes().await.map(Some),
            Err(MediaError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A part of the file, as a stream; `None` where there is no file.
    pub async fn read(
        &self,
        place: Place<'_>,
        part: Range<u64>,
    ) -> Result<Option<impl Stream<Item = Result<Bytes, MediaError>> + Send + 'static>, MediaError>
    {
        let options = GetOptions {
            range: (!part.is_empty()).then_some(GetRange::Bounded(part)),
            ..GetOptions::default()
        };
        match self.0.get_opts(&place.path(), options).await {
            Ok(file) => Ok(Some(file.into_stream().into_stream())),
            Err(MediaError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The names of all files of a folder, in no order.
    pub fn names(
        &self,
        folder: &'static str,
    ) -> impl Stream<Item = Result<String, MediaError>> + Send + 'static {
        let listed = self.0.list(Some(&Path::from(folder)));
        listed.map_ok(|file| file.location.filename().unwrap_or_default().to_owned())
    }

    /// Removes a file; succeeds also where there is none.
    pub async fn delete(&self, place: Place<'_>) -> Result<(), MediaError> {
        match self.0.delete(&place.path()).await {
            Err(MediaError::NotFound { .. }) => Ok(()),
            result => result,
        }
    }
}
