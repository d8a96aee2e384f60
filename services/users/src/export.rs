//! Everything that is stored about a user, as a ZIP archive that is made while it is sent.
//!
//! What the other services know is asked for page by page. A service that is down is asked again
//! from the same place, for [`PATIENCE`]: an export goes on where a crash interrupted it. If that
//! is not enough, the download breaks off and never looks complete.

use std::{
    collections::HashSet,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_zip::{
    Compression, ZipEntryBuilder, base::write::EntryStreamWriter, tokio::write::ZipFileWriter,
};
use bytes::Bytes;
use futures_util::{AsyncWriteExt, Stream, StreamExt, stream};
use natter_bus::{Bus, CallError};
use natter_media::{MESSAGES, MediaStore, Place};
use natter_process::Process;
use natter_protocol::{
    FriendshipId, Timestamp, UserId,
    call::{Call, GetAfter, GetMarks, ListFiles, ListFriendships, MAX_AFTER, OwnFile},
    friendship::Friendship,
    profile::ProfileFields,
};
use serde::Serialize;
use serde_json::json;
use tokio::{
    io::DuplexStream,
    sync::oneshot,
    time::{Instant, sleep, timeout},
};
use tokio_util::{compat::Compat, io::ReaderStream, task::TaskTracker};

use crate::{
    error::Error,
    image,
    store::{Account, PastSession},
};

/// How many exports may run at a time, at most one for each user; further requests get 503.
const CONCURRENT_EXPORTS: usize = 16;
/// The longest an export may take, however patient its reader.
const LONGEST: Duration = Duration::from_secs(3600);
/// How much of an archive waits for its reader, in bytes.
const BUFFER_BYTES: usize = 64 * 1024;
/// How long a service that does not answer is asked again, and a reader who does not read is
/// waited for.
const PATIENCE: Duration = Duration::from_secs(60);
const RETRY_PAUSE: Duration = Duration::from_millis(250);

#[derive(Clone)]
pub struct Exports {
    media: MediaStore,
    bus: Bus,
    running: Arc<Mutex<HashSet<UserId>>>,
    tasks: TaskTracker,
}

type Archive = ZipFileWriter<DuplexStream>;
type Entry<'a> = EntryStreamWriter<'a, Compat<DuplexStream>>;

/// A place among the running exports, given back when it is dropped.
struct Running(Arc<Mutex<HashSet<UserId>>>, UserId);

impl Drop for Running {
    fn drop(&mut self) {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        running.remove(&self.1);
    }
}

#[derive(Debug, thiserror::Error)]
enum ExportFailed {
    #[error("the archive could not be written")]
    Archive(#[from] async_zip::error::ZipError),
    #[error("the reader is gone")]
    Reader(#[from] std::io::Error),
    #[error("the media store failed")]
    Media(#[from] natter_media::MediaError),
    #[error("another service did not answer")]
    Call(#[from] CallError),
    #[error("something could not be written as JSON")]
    Json(#[from] serde_json::Error),
}

impl Exports {
    pub fn new(media: MediaStore, bus: Bus, process: &Process) -> Self {
        Self {
            media,
            bus,
            running: Arc::default(),
            tasks: process.tasks.clone(),
        }
    }

    /// The archive's bytes as they come. The last item is an error if it is not whole.
    pub fn start(
        &self,
        account: Account,
        sessions: Vec<PastSession>,
    ) -> Result<impl Stream<Item = Result<Bytes, std::io::Error>> + Send + use<>, Error> {
        let user = UserId(account.id);
        let running = self.begin(user)?;
        let (writer, reader) = tokio::io::duplex(BUFFER_BYTES);
        let (whole, is_whole) = oneshot::channel();
        let export = self.clone();
        self.tasks.spawn(async move {
            let _running = running;
            let written = timeout(LONGEST, export.write(writer, account, sessions)).await;
            match written.unwrap_or_else(|_| Err(stalled().into())) {
                Ok(()) => {
                    tracing::info!(%user, "exported");
                    // The reader is gone if nobody listens.
                    let _ = whole.send(());
                }
                Err(ExportFailed::Reader(_)) => tracing::info!(%user, "the export was not wanted"),
                Err(error) => {
                    let cause = &error as &dyn std::error::Error;
                    tracing::warn!(%user, error = cause, "an export broke off");
                }
            }
        });
        let end = stream::once(is_whole).filter_map(|whole| {
            let broken = whole.map_err(|_| std::io::Error::other("the export broke off"));
            std::future::ready(broken.err().map(Err))
        });
        Ok(ReaderStream::new(reader).chain(end))
    }

    /// Takes the user's one place among those that run.
    fn begin(&self, user: UserId) -> Result<Running, Error> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.len() >= CONCURRENT_EXPORTS || !running.insert(user) {
            return Err(Error::Busy);
        }
        Ok(Running(self.running.clone(), user))
    }

    async fn write(
        &self,
        writer: DuplexStream,
        account: Account,
        sessions: Vec<PastSession>,
    ) -> Result<(), ExportFailed> {
        // Every field: one that the export forgets does not compile.
        let Account {
            id,
            username,
            email,
            fields,
            image,
            created_at,
        } = account;
        let user = UserId(id);
        let mut archive = ZipFileWriter::with_tokio(writer);
        let exported = Exported {
            id: user,
            username,
            email,
            fields,
            personal_image: image.as_deref(),
            created_at: created_at.into(),
        };
        whole(&mut archive, "account.json", &exported).await?;
        let sessions: Vec<_> = sessions.iter().map(shown).collect();
        whole(&mut archive, "sessions.json", &sessions).await?;
        if let Some(name) = &image {
            self.file(&mut archive, name, image::object(name)).await?;
        }
        let friendships = self.friendships(user).await?;
        whole(&mut archive, "friendships.json", &friendships).await?;
        let mut marks = Vec::with_capacity(friendships.len());
        for friendship in &friendships {
            let channel = friendship.id;
            let how_far = self.ask(&GetMarks { channel, user }).await?;
            marks.push(json!({"channel": channel, "marks": how_far}));
        }
        whole(&mut archive, "marks.json", &marks).await?;
        for friendship in &friendships {
            self.conversation(&mut archive, friendship.id).await?;
        }
        let files = self.files(user).await?;
        let listed: Vec<_> = files.iter().map(Listed::of).collect();
        whole(&mut archive, "files.json", &listed).await?;
        for Listed { file, entry: name } in &listed {
            let media = &file.media;
            let place = media.id.to_string();
            self.file(&mut archive, name, Place(MESSAGES, &place))
                .await?;
        }
        written(archive.close()).await?;
        Ok(())
    }

    async fn friendships(&self, user: UserId) -> Result<Vec<Friendship>, CallError> {
        let mut all: Vec<Friendship> = Vec::new();
        loop {
            let after = all.last().map(|last| last.id);
            let page = self.ask(&ListFriendships { user, after }).await?;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
        }
    }

    async fn files(&self, owner: UserId) -> Result<Vec<OwnFile>, CallError> {
        let mut all: Vec<OwnFile> = Vec::new();
        loop {
            let after = all.last().map(|last| last.media.id);
            let page = self.ask(&ListFiles { owner, after }).await?;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
        }
    }

    /// The log of a channel, as a JSON array of its events.
    async fn conversation(
        &self,
        archive: &mut Archive,
        channel: FriendshipId,
    ) -> Result<(), ExportFailed> {
        let name = format!("conversations/{channel}.json");
        let mut entry = begin(archive, &name).await?;
        let mut after_seq = 0;
        loop {
            let limit = MAX_AFTER;
            let call = GetAfter {
                channel,
                after_seq,
                limit,
            };
            let events = self.ask(&call).await?;
            if events.is_empty() {
                break;
            }
            let mut text = Vec::new();
            for event in events {
                text.extend_from_slice(if after_seq == 0 { b"[\n" } else { b",\n" });
                serde_json::to_writer(&mut text, &event)?;
                after_seq = event.seq;
            }
            put(&mut entry, &text).await?;
        }
        let end: &[u8] = if after_seq == 0 { b"[]\n" } else { b"\n]\n" };
        put(&mut entry, end).await?;
        written(entry.close()).await?;
        Ok(())
    }

    /// A file of the media store; one that is gone is left out.
    async fn file(
        &self,
        archive: &mut Archive,
        name: &str,
        place: Place<'_>,
    ) -> Result<(), ExportFailed> {
        let Some(bytes) = self.media.read(place, 0..0).await? else {
            return Ok(());
        };
        let mut bytes = std::pin::pin!(bytes);
        let mut entry = begin(archive, name).await?;
        while let Some(part) = bytes.next().await {
            put(&mut entry, &part?).await?;
        }
        written(entry.close()).await?;
        Ok(())
    }

    /// Asks another service, and again if it is down.
    async fn ask<C: Call>(&self, call: &C) -> Result<C::Reply, CallError> {
        patiently(|| self.bus.call(call)).await
    }
}

async fn patiently<T, Fut>(ask: impl Fn() -> Fut) -> Result<T, CallError>
where
    Fut: Future<Output = Result<T, CallError>>,
{
    let give_up = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Err(_) if Instant::now() < give_up => sleep(RETRY_PAUSE).await,
            answered => return answered,
        }
    }
}

async fn begin<'a>(archive: &'a mut Archive, name: &str) -> Result<Entry<'a>, ExportFailed> {
    // Without permissions unzip makes files that nobody may open.
    let entry = ZipEntryBuilder::new(name.into(), Compression::Deflate).unix_permissions(0o100_644);
    written(archive.write_entry_stream(entry)).await
}

async fn put(entry: &mut Entry<'_>, bytes: &[u8]) -> Result<(), ExportFailed> {
    written(entry.write_all(bytes)).await
}

/// Writes as fast as the reader reads; fails if nothing is read for [`PATIENCE`].
async fn written<T, E>(writing: impl Future<Output = Result<T, E>>) -> Result<T, ExportFailed>
where
    ExportFailed: From<E>,
{
    let written = timeout(PATIENCE, writing).await;
    Ok(written.map_err(|_| stalled())??)
}

fn stalled() -> std::io::Error {
    std::io::ErrorKind::TimedOut.into()
}

/// An entry that is written at once.
async fn whole(
    archive: &mut Archive,
    name: &str,
    content: &impl Serialize,
) -> Result<(), ExportFailed> {
    let text = serde_json::to_vec_pretty(content)?;
    let mut entry = begin(archive, name).await?;
    put(&mut entry, &text).await?;
    written(entry.close()).await?;
    Ok(())
}

fn shown(session: &PastSession) -> serde_json::Value {
    json!({
        "sid": session.sid, "user_agent": session.user_agent,
        "created_at": Timestamp::from(session.created_at),
        "last_used_at": Timestamp::from(session.last_used_at),
        "ended_at": session.ended_at.map(Timestamp::from),
    })
}

/// The account in the archive.
#[derive(Serialize)]
struct Exported<'a> {
    id: UserId,
    username: String,
    email: String,
    #[serde(flatten)]
    fields: ProfileFields,
    personal_image: Option<&'a str>,
    created_at: Timestamp,
}

/// A file, and its name in the archive.
#[derive(Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    file: &'a OwnFile,
    entry: String,
}

impl<'a> Listed<'a> {
    fn of(file: &'a OwnFile) -> Self {
        let entry = entry_name(&file.media.id.to_string(), &file.media.filename);
        Self { file, entry }
    }
}

/// The longest name in the archive.
const MAX_ENTRY_BYTES: usize = 100;
const MAX_EXTENSION_BYTES: usize = 16;

/// A name that is unique, at most [`MAX_ENTRY_BYTES`] long, and can be unpacked anywhere; with as
/// much of the file's own as there is room for.
fn entry_name(id: &str, filename: &str) -> String {
    let fine = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let plain = |text: &str| -> String {
        let chars = text.chars().map(|c| if fine(c) { c } else { '_' });
        chars.collect()
    };
    let (stem, extension) = match filename.rsplit_once('.') {
        Some((stem, end)) if end.len() < MAX_EXTENSION_BYTES => (stem, format!(".{}", plain(end))),
        _ => (filename, String::new()),
    };
    let start = format!("files/{id}-");
    let room = MAX_ENTRY_BYTES - start.len() - extension.len();
    let mut stem = plain(stem);
    stem.truncate(room);
    // Windows takes no dot at the end.
    let name = format!("{start}{stem}{extension}");
    name.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_a_name_that_unpacks_anywhere() {
        let id = "0199f6b8-0000-7000-8000-000000000001";
        let name = |filename: &str| entry_name(id, filename);
        let start = format!("files/{id}-");
        assert_eq!(name("a b.txt"), format!("{start}a_b.txt"));
        assert_eq!(name("../x/é.png"), format!("{start}.._x__.png"));
        assert_eq!(name("none"), format!("{start}none"));
        assert_eq!(name("wait..."), format!("{start}wait"));
        for filename in ["x".repeat(255) + ".jpeg", "é".repeat(255), ".".repeat(255)] {
            let name = name(&filename);
            assert!(name.len() <= MAX_ENTRY_BYTES, "{name}");
            assert!(name.is_ascii());
        }
        assert!(name(&("x".repeat(255) + ".jpeg")).ends_with("x.jpeg"));
    }
}
