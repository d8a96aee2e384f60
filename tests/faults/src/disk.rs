//! A disk of a test's own, which loses power and runs full. For root on Linux.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, ensure};
use tempfile::TempDir;
use tokio::{process::Command, time::sleep};

/// Sparse: it takes no more than is written to it. NATS wants room for all that its streams may hold.
const SIZE: &str = "40G";
/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`: what was not flushed is lost.
const POWER_CUT: &str = "\
import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))
";
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(100);

/// An ext4 file system in a file.
pub struct Disk {
    folder: TempDir,
}

impl Disk {
    pub async fn make() -> anyhow::Result<Self> {
        let folder = TempDir::with_prefix("natter-disk-")?;
        // Postgres runs as another user.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let disk = Self { folder };
        fs::create_dir(disk.path())?;
        run("truncate", &["-s", SIZE, &disk.image()]).await?;
        // The last block is for everyone: root's reserve would keep a full disk from being full.
        run("mkfs.ext4", &["-q", "-m", "0", &disk.image()]).await?;
        disk.mount().await?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }

    fn image(&self) -> String {
        text(&self.folder.path().join("image"))
    }

    async fn mount(&self) -> anyhow::Result<()> {
        let (image, path) = (self.image(), text(&self.path()));
        run("mount", &["-o", "loop", &image, &path]).await
    }

    /// Writes down everything that was written so far.
    pub async fn flush(&self) -> anyhow::Result<()> {
        run("sync", &["-f", &text(&self.path())]).await
    }

    /// Ends every write at once; what was not flushed is lost. Whatever uses it is to be killed then.
    pub async fn lose_power(&self) -> anyhow::Result<()> {
        run("python3", &["-c", POWER_CUT, &text(&self.path())]).await
    }

    /// As it is after the power is back. Waits until nobody uses it any more.
    pub async fn power_up(&self) -> anyhow::Result<()> {
        let mut left = TRIES;
        while let Err(busy) = run("umount", &[&text(&self.path())]).await {
            left -= 1;
            ensure!(left > 0, busy);
            sleep(PAUSE).await;
        }
        self.mount().await
    }

    /// Takes all the room that is left.
    pub async fn fill(&self) -> anyhow::Result<()> {
        let filler = text(&self.filler());
        let df = Command::new("df")
            .args(["--output=avail", "-B1", &text(&self.path())])
            .output()
            .await?;
        let free = String::from_utf8_lossy(&df.stdout).into_owned();
        let free = free.lines().nth(1).context("df has a second line")?.trim();
        if run("fallocate", &["-l", free, &filler]).await.is_err() {
            // Its own table of blocks needs some of it.
            let free: u64 = free.parse()?;
            let most = free.saturating_sub(4 << 20).to_string();
            run("fallocate", &["-l", &most, &filler]).await?;
        }
        // The rest, to the last byte; it ends with the error that is wanted.
        let of = format!("of={filler}-rest");
        let rest = Command::new("dd")
            .args(["if=/dev/zero", &of, "bs=4k"])
            .output()
            .await?;
        ensure!(!rest.status.success(), "there was room for everything");
        Ok(())
    }

    /// Gives the room back, also where the power is lost soon after.
    pub async fn empty(&self) -> anyhow::Result<()> {
        let filler = self.filler();
        fs::remove_file(&filler)?;
        fs::remove_file(format!("{}-rest", filler.display()))?;
        run("sync", &["--file-system", &text(&self.path())]).await
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // At once, whoever still uses it.
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(self.path())
            .status();
    }
}

async fn run(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .await
        .with_context(|| format!("{program} is not there"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {arguments:?}: {said}");
    Ok(())
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
