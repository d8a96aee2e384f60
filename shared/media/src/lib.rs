//! The media store: files beside the database, in a folder of one machine.
//!
//! Also what a message's files are on their way from whoever brings them (the gateway, the
//! messages service) into the store: decoded and stored before their message is sent on.
//!
//! A file counts once `put` returns: it was written, flushed to disk and renamed by then. Who may
//! read what is for the services to say.

use std::{ops::Range, path::PathBuf, sync::Arc};

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use futures_util::{Stream, TryStreamExt};
use object_store::{
    GetOptions, GetRange, ObjectStore, ObjectStoreExt, local::LocalFileSystem, path::Path,
};

mod sent;

pub use object_store::Error as MediaError;
pub use sent::{ItemError, add, add_all, settle};

#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct MediaSettings {
    /// Folder of the media store
    #[arg(long, env = "NATTER_MEDIA_DIR", value_name = "NATTER_MEDIA_DIR")]
    media_dir: PathBuf,
}

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
    pub fn open(settings: &MediaSettings) -> anyhow::Result<Self> {
        let folder = &settings.media_dir;
        let fail = || format!("NATTER_MEDIA_DIR={} cannot be written to", folder.display());
        std::fs::create_dir_all(folder).with_context(fail)?;
        let probe = folder.join(format!(".writable-{}", std::process::id()));
        std::fs::write(&probe, b"").with_context(fail)?;
        std::fs::remove_file(&probe).with_context(fail)?;
        let store = LocalFileSystem::new_with_prefix(folder).with_context(fail)?;
        Ok(Self(Arc::new(store.with_fsync(true))))
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

    /// Removes a file; that there is none is fine.
    pub async fn delete(&self, place: Place<'_>) -> Result<(), MediaError> {
        match self.0.delete(&place.path()).await {
            Err(MediaError::NotFound { .. }) => Ok(()),
            result => result,
        }
    }
}
