//! A private NATS server with JetStream.

use std::{env, fs, path::PathBuf};

use tempfile::TempDir;

use crate::{
    free_port,
    process::{Process, Signal, accepts},
};

/// Its users, with their permissions on.
const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/nats/nats.conf");
const USERS: [&str; 6] = [
    "users",
    "friendships",
    "messages",
    "gateway",
    "admin",
    "subscriber",
];

pub struct Nats {
    // Removed when the test ends.
    folder: TempDir,
    port: u16,
    server: Process,
}

impl Nats {
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

    /// The password of one of its users.
    pub fn password(user: &str) -> String {
        format!("nats-{user}-secret")
    }

    /// The passwords of all of them, as settings.
    pub fn passwords() -> Vec<(String, String)> {
        let setting = |user: &str| format!("NATTER_{}_NATS_PASSWORD", user.to_uppercase());
        let users = USERS.iter();
        users
            .map(|user| (setting(user), Self::password(user)))
            .collect()
    }

    pub async fn stop(&mut self, signal: Signal) {
        self.server.end(signal).await;
    }

    /// Starts it again on the same data and port.
    pub async fn start_again(&mut self) {
        self.server = serve(&self.folder, self.port);
        accepts("NATS answers", self.port).await;
    }
}

fn serve(folder: &TempDir, port: u16) -> Process {
    let port = port.to_string();
    let store = folder.path().to_string_lossy();
    Process::start(
        &program(),
        &["-c", CONFIG, "-a", "127.0.0.1", "-p", &port, "-sd", &store],
        &Nats::passwords(),
    )
}

#[allow(
    clippy::disallowed_methods,
    reason = "a test's setting, not a service's"
)]
fn program() -> PathBuf {
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
