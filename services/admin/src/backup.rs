//! All that Postgres has of Natter in one file, and its way back.
//!
//! The file is text: a line of JSON that says what is in it; of each table a line of JSON, the rows as
//! `COPY` writes them, and a line `\.`; at the end a line with their number and the digest of all
//! before it.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, BufWriter, Write, stdin, stdout},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use aws_lc_rs::digest;
use clap::Args;
use futures_util::TryStreamExt;
use natter_pg::{Backup, Contents, Rows, Table};
use natter_protocol::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::setup::Owners;

/// What stands for standard input and output.
const PIPE: &str = "-";
const FORMAT: u32 = 1;
/// What ends the rows of a table: no row of it reads like this.
const END_OF_TABLE: &[u8] = b"\\.\n";
/// How many bytes of rows are sent to Postgres together, at least.
const CHUNK: usize = 256 * 1024;
/// In this order: what a row refers to is in a snapshot that is as new, or newer.
const BACKUPS: [&Backup; 3] = [
    &natter_messages::BACKUP,
    &natter_friendships::BACKUP,
    &natter_users::BACKUP,
];

#[derive(Args)]
#[group(skip)]
pub struct Take {
    #[command(flatten)]
    owners: Owners,

    /// The file to write, which must not be there yet; `-` for standard output. It has what the database has, password hashes and signing keys too
    file: PathBuf,
}

#[derive(Args)]
#[group(skip)]
pub struct Restore {
    #[command(flatten)]
    owners: Owners,

    /// Only try: everything is read into the database and checked, and then taken back
    #[arg(long)]
    verify: bool,

    /// The file of natter-admin backup; `-` for standard input
    file: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Head {
    format: u32,
    /// The version that took it.
    natter: String,
    taken_at: Timestamp,
    schemas: Vec<Contents>,
}

/// The table whose rows follow this line.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Section {
    schema: String,
    table: String,
}

impl Section {
    fn of(contents: &Contents, table: &Table) -> Self {
        Self {
            schema: contents.schema.clone(),
            table: table.name.clone(),
        }
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct End {
    rows: u64,
    sha256: String,
}

impl Owners {
    /// The URLs of the owners, in the order of [`BACKUPS`].
    fn in_order(&self) -> [natter_pg::DatabaseUrl; 3] {
        [self.messages(), self.friendships(), self.users()]
    }
}

impl Take {
    pub async fn run(self) -> anyhow::Result<()> {
        let mut all = Vec::new();
        for (url, backup) in self.owners.in_order().iter().zip(BACKUPS) {
            all.push(Rows::snapshot(url, backup).await?);
        }
        let mut out = Output::create(&self.file)?;
        out.line(&Head {
            format: FORMAT,
            natter: env!("CARGO_PKG_VERSION").to_owned(),
            taken_at: Timestamp::now(),
            schemas: all.iter().map(|rows| rows.contents.clone()).collect(),
        })?;
        for rows in &mut all {
            let contents = rows.contents.clone();
            for table in &contents.tables {
                out.line(&Section::of(&contents, table))?;
                let mut copied = rows.read(table).await?;
                while let Some(some) = copied.try_next().await? {
                    out.rows(&some)?;
                }
                out.bytes(END_OF_TABLE)?;
            }
        }
        out.end()
    }
}

impl Restore {
    pub async fn run(self) -> anyhow::Result<()> {
        let mut input = Input::open(&self.file)?;
        let head: Head = input.json()?;
        ensure!(
            head.format == FORMAT,
            "it is a backup of format {}, and this version reads format {FORMAT}",
            head.format
        );
        let mut all = Vec::new();
        for (url, backup) in self.owners.in_order().iter().zip(BACKUPS) {
            let rows = Rows::empty(url, backup).await?;
            ensure!(
                head.schemas.contains(&rows.contents),
                "the schema {} is not as it was when the backup was taken: set an empty database up with natter-admin setup of Natter {}, restore into it, and upgrade then",
                backup.schema,
                head.natter
            );
            all.push(rows);
        }
        let mut tables = 0;
        for rows in &mut all {
            let contents = rows.contents.clone();
            for table in &contents.tables {
                let section: Section = input.json()?;
                ensure!(
                    section == Section::of(&contents, table),
                    "{section:?} is out of place"
                );
                input.copy_into(rows, table).await?;
                tables += 1;
            }
        }
        let count = input.end()?;
        check(&mut all).await?;
        let taken_at = head.taken_at;
        let done = if self.verify {
            "nothing was kept"
        } else {
            for rows in all {
                rows.commit().await?;
            }
            "they are restored"
        };
        let mut out = stdout().lock();
        writeln!(
            out,
            "{count} rows of {tables} tables, taken at {taken_at}: every check passed, {done}"
        )?;
        Ok(())
    }
}

/// Refuses a backup that is inconsistent: within a schema, or a channel without a friendship.
async fn check(all: &mut [Rows]) -> anyhow::Result<()> {
    for (rows, backup) in all.iter_mut().zip(BACKUPS) {
        rows.check(backup).await?;
    }
    let [messages, friendships, _] = all else {
        return Ok(());
    };
    let mut friendships = friendships.ids(natter_friendships::FRIENDSHIPS).await?;
    friendships.sort_unstable();
    let channels = messages.ids(natter_messages::CHANNELS).await?;
    let is_unknown = |id| friendships.binary_search(id).is_err();
    let unknown = channels.iter().filter(|id| is_unknown(id)).count();
    ensure!(unknown == 0, "{unknown} channels are of no friendship");
    Ok(())
}

struct Output {
    to: BufWriter<Box<dyn Write>>,
    /// To be written to the disk at the end.
    file: Option<File>,
    digest: digest::Context,
    rows: u64,
}

impl Output {
    fn create(path: &Path) -> anyhow::Result<Self> {
        let file = if path == Path::new(PIPE) {
            None
        } else {
            let mut new = OpenOptions::new();
            // It has secrets.
            let file = new.write(true).create_new(true).mode(0o600).open(path);
            Some(file.with_context(|| format!("{} cannot be made", path.display()))?)
        };
        let to: Box<dyn Write> = match &file {
            Some(file) => Box::new(file.try_clone()?),
            None => Box::new(stdout()),
        };
        Ok(Self {
            to: BufWriter::new(to),
            file,
            digest: digest::Context::new(&digest::SHA256),
            rows: 0,
        })
    }

    fn bytes(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.digest.update(bytes);
        self.to.write_all(bytes)?;
        Ok(())
    }

    fn line(&mut self, line: &impl Serialize) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(line)?;
        line.push(b'\n');
        self.bytes(&line)
    }

    fn rows(&mut self, rows: &[u8]) -> anyhow::Result<()> {
        self.rows += rows.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.bytes(rows)
    }

    fn end(mut self) -> anyhow::Result<()> {
        let end = End {
            rows: self.rows,
            sha256: hex(self.digest.clone()),
        };
        self.line(&end)?;
        self.to.flush()?;
        if let Some(file) = self.file {
            file.sync_all()?;
        }
        Ok(())
    }
}

struct Input {
    from: Box<dyn BufRead>,
    digest: digest::Context,
    rows: u64,
}

impl Input {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let from: Box<dyn BufRead> = if path == Path::new(PIPE) {
            Box::new(stdin().lock())
        } else {
            let file = File::open(path);
            let file = file.with_context(|| format!("{} cannot be read", path.display()))?;
            Box::new(BufReader::new(file))
        };
        Ok(Self {
            from,
            digest: digest::Context::new(&digest::SHA256),
            rows: 0,
        })
    }

    /// Adds the next line to `lines`; returns its length.
    fn line(&mut self, lines: &mut Vec<u8>) -> anyhow::Result<usize> {
        let length = self.from.read_until(b'\n', lines)?;
        let line = &lines[lines.len() - length..];
        ensure!(
            line.ends_with(b"\n"),
            "the backup breaks off: its end is missing"
        );
        self.digest.update(line);
        Ok(length)
    }

    fn json<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let mut line = Vec::new();
        self.line(&mut line)?;
        serde_json::from_slice(&line).context("it is no backup of natter-admin, or a damaged one")
    }

    /// Writes the rows up to the end of the table.
    async fn copy_into(&mut self, rows: &mut Rows, table: &Table) -> anyhow::Result<()> {
        let mut copy = rows.write(table).await?;
        let mut chunk = Vec::new();
        loop {
            let length = self.line(&mut chunk)?;
            let start = chunk.len() - length;
            let is_end = chunk[start..] == *END_OF_TABLE;
            if is_end {
                chunk.truncate(start);
            } else {
                self.rows += 1;
            }
            if is_end || chunk.len() >= CHUNK {
                copy.send(chunk.as_slice()).await?;
                chunk.clear();
            }
            if is_end {
                let name = &table.name;
                let done = copy.finish().await;
                done.with_context(|| format!("the table {name} does not take its rows"))?;
                return Ok(());
            }
        }
    }

    /// Compares what was read with what the last line says; returns the number of rows.
    fn end(mut self) -> anyhow::Result<u64> {
        let read = End {
            rows: self.rows,
            sha256: hex(self.digest.clone()),
        };
        let written: End = self.json()?;
        ensure!(
            read == written,
            "the backup is damaged: {read:?} was read, and {written:?} written"
        );
        Ok(self.rows)
    }
}

fn hex(digest: digest::Context) -> String {
    let digest = digest.finish();
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
