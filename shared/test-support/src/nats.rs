//! A private NATS server with JetStream.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::{
    free_port,
    process::{Process, Signal, accepts},
};

pub struct Nats {
    // Removed when the test ends.
    folder: TempDir,
    port: u16,
    server: Process,
}

impl Nats {
    /// Its configuration, with the users' permissions on.
    pub const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/nats/nats.conf");

    /// The names of its users.
    pub const USERS: [&str; 6] = [
        "users",
        "friendships",
        "messages",
        "gateway",
        "admin",
        "subscriber",
    ];

    pub async fn start() -> Self {
        let folder = TempDir::with_prefix("natter-nats-").expect("a temporary folder");
        let port = free_port();
        let nats = Self {
            server: serve(&folder, port),
            folder,
            port,
        };
        accepts("NATS answers", port).await;
        nats
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The password of one of its users.
    pub fn password(user: &str) -> String {
        format!("nats-{user}-secret")
    }

    /// The passwords of all of them, as settings.
    pub fn passwords() -> Vec<(String, String)> {
        let setting = |user: &str| format!("NATTER_{}_NATS_PASSWORD", user.to_uppercase());
        let users = Self::USERS.iter();
        users
            .map(|user| (setting(user), Self::password(user)))
            .collect()
    }

    /// The server's program.
    #[allow(
        clippy::disallowed_methods,
        reason = "a test's setting, not a service's"
    )]
    pub fn program() -> PathBuf {
        if let Some(program) = env::var_os("NATTER_TEST_NATS_SERVER") {
            return program.into();
        }
        let tools = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.tools");
        let fetched = fs::read_dir(tools).into_iter().flatten().flatten();
        let mut found = fetched
            .map(|tool| tool.path().join("nats-server"))
            .filter(|path| path.exists());
        found
            .next()
            .expect("nats-server is not installed: deploy/test fetches it")
    }

    /// The kernel's id of its first process.
    pub fn process_id(&self) -> Option<u32> {
        self.server.id()
    }

    pub async fn stop(&mut self, signal: Signal) {
        self.server.end(signal).await;
    }

    /// Everything that it keeps, as it is now that it is stopped.
    pub fn copy(&self) -> TempDir {
        let copy = TempDir::with_prefix("natter-nats-copy-").expect("a temporary folder");
        copy_all(
            &self.folder.path().join("jetstream"),
            &copy.path().join("jetstream"),
        );
        copy
    }

    /// Goes back to a copy.
    pub fn restore(&self, copy: &TempDir) {
        self.forget();
        copy_all(
            &copy.path().join("jetstream"),
            &self.folder.path().join("jetstream"),
        );
    }

    /// Throws away everything that it keeps.
    pub fn forget(&self) {
        fs::remove_dir_all(self.folder.path().join("jetstream")).expect("it is ours");
    }

    /// Starts it again on the same data and port.
    pub async fn start_again(&mut self) {
        self.server = serve(&self.folder, self.port);
        accepts("NATS answers", self.port).await;
    }
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("it is ours");
    for entry in fs::read_dir(from).expect("it is there").flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_all(&from, &to);
        } else {
            fs::copy(from, to).expect("it is ours");
        }
    }
}

fn serve(folder: &TempDir, port: u16) -> Process {
    let port = port.to_string();
    let store = folder.path().to_string_lossy();
    Process::start(
        &Nats::program(),
        &[
            "-c",
            Nats::CONFIG,
            "-a",
            "127.0.0.1",
            "-p",
            &port,
            "-sd",
            &store,
        ],
        &Nats::passwords(),
    )
}
