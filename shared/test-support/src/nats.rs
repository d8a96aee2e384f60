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

/// One server, or three that are a cluster.
pub struct Nats {
    nodes: Vec<Node>,
}

struct Node {
    // Removed when the test ends.
    folder: TempDir,
    port: u16,
    /// What makes it one of a cluster.
    cluster: Vec<String>,
    server: Process,
}

impl Node {
    fn start(port: u16, cluster: Vec<String>, parent: &Path) -> Self {
        let folder = TempDir::with_prefix_in("natter-nats-", parent);
        let folder = folder.expect("a temporary folder");
        fs::copy(Nats::CONFIG, config(&folder)).expect("it is ours");
        Self {
            server: serve(&folder, port, &cluster),
            folder,
            port,
            cluster,
        }
    }

    fn jetstream(&self) -> PathBuf {
        self.folder.path().join("jetstream")
    }
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
        Self::start_in(&env::temp_dir()).await
    }

    /// Starts one with its data below this folder.
    pub async fn start_in(parent: &Path) -> Self {
        let node = Node::start(free_port(), Vec::new(), parent);
        accepts("NATS answers", node.port).await;
        Self { nodes: vec![node] }
    }

    /// Starts a cluster of three.
    pub async fn start_cluster() -> Self {
        Self::start_cluster_in(&env::temp_dir()).await
    }

    pub async fn start_cluster_in(parent: &Path) -> Self {
        let peers = [(); 3].map(|()| free_port());
        let routes = peers
            .map(|port| format!("nats://127.0.0.1:{port}"))
            .join(",");
        let nodes = peers.into_iter().enumerate().map(|(number, peer)| {
            let name = format!("--name=nats-{number}");
            let own = format!("--cluster=nats://127.0.0.1:{peer}");
            let cluster = "--cluster_name=natter".to_owned();
            let routes = format!("--routes={routes}");
            Node::start(free_port(), vec![name, own, cluster, routes], parent)
        });
        let nats = Self {
            nodes: nodes.collect(),
        };
        for node in &nats.nodes {
            accepts("NATS answers", node.port).await;
        }
        nats
    }

    /// Of the first server.
    pub fn url(&self) -> String {
        self.urls().swap_remove(0)
    }

    /// Of every server.
    pub fn urls(&self) -> Vec<String> {
        let nodes = self.nodes.iter();
        nodes
            .map(|node| format!("nats://127.0.0.1:{}", node.port))
            .collect()
    }

    pub fn port(&self) -> u16 {
        self.nodes[0].port
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

    /// Gives the server another configuration, while it runs.
    pub async fn configure(&self, config: &str) {
        let node = &self.nodes[0];
        fs::write(self::config(&node.folder), config).expect("it is ours");
        node.server.signal(Signal::Hup).await;
    }

    /// Everything that it has logged so far.
    pub fn log(&self) -> Vec<String> {
        self.nodes[0].server.lines()
    }

    /// The kernel's id of its first process.
    pub fn process_id(&self) -> Option<u32> {
        self.nodes[0].server.id()
    }

    pub async fn stop(&mut self, signal: Signal) {
        self.stop_node(0, signal).await;
    }

    /// Ends one server of a cluster.
    pub async fn stop_node(&mut self, number: usize, signal: Signal) {
        self.nodes[number].server.end(signal).await;
    }

    /// Freezes or thaws one server of a cluster.
    pub async fn signal_node(&self, number: usize, signal: Signal) {
        self.nodes[number].server.signal(signal).await;
    }

    /// Everything that it keeps, as it is now that it is stopped.
    pub fn copy(&self) -> TempDir {
        let copy = TempDir::with_prefix("natter-nats-copy-").expect("a temporary folder");
        copy_all(&self.nodes[0].jetstream(), &copy.path().join("jetstream"));
        copy
    }

    /// Goes back to a copy.
    pub fn restore(&self, copy: &TempDir) {
        self.forget();
        copy_all(&copy.path().join("jetstream"), &self.nodes[0].jetstream());
    }

    /// Goes back to the messages of a copy, and keeps what it has noted of their numbers: as a power
    /// cut can leave it.
    pub fn restore_messages(&self, copy: &TempDir) {
        let is_messages = |path: &Path| path.extension().is_some_and(|end| end == "blk");
        copy_some(
            &copy.path().join("jetstream"),
            &self.nodes[0].jetstream(),
            &is_messages,
        );
    }

    /// Throws away everything that it keeps.
    pub fn forget(&self) {
        self.forget_node(0);
    }

    /// Throws away everything that one server of a cluster keeps.
    pub fn forget_node(&self, number: usize) {
        fs::remove_dir_all(self.nodes[number].jetstream()).expect("it is ours");
    }

    /// Starts it again on the same data and port.
    pub async fn start_again(&mut self) {
        self.start_node(0).await;
    }

    /// Starts all servers again; those of a cluster need each other.
    pub async fn start_all(&mut self) {
        for node in &mut self.nodes {
            node.server = serve(&node.folder, node.port, &node.cluster);
        }
        for node in &self.nodes {
            accepts("NATS answers", node.port).await;
        }
    }

    /// Starts one server of a cluster again.
    pub async fn start_node(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        node.server = serve(&node.folder, node.port, &node.cluster);
        accepts("NATS answers", node.port).await;
    }
}

fn copy_all(from: &Path, to: &Path) {
    copy_some(from, to, &|_| true);
}

fn copy_some(from: &Path, to: &Path, is_wanted: &dyn Fn(&Path) -> bool) {
    fs::create_dir_all(to).expect("it is ours");
    for entry in fs::read_dir(from).expect("it is there").flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_some(&from, &to, is_wanted);
        } else if is_wanted(&from) {
            fs::copy(from, to).expect("it is ours");
        }
    }
}

/// The file of a server's configuration.
fn config(folder: &TempDir) -> PathBuf {
    folder.path().join("nats.conf")
}

fn serve(folder: &TempDir, port: u16, cluster: &[String]) -> Process {
    let port = port.to_string();
    let config = config(folder);
    let config = config.to_string_lossy();
    let store = folder.path().to_string_lossy();
    let mut arguments = vec!["-c", &config, "-a", "127.0.0.1", "-p", &port, "-sd", &store];
    arguments.extend(cluster.iter().map(String::as_str));
    Process::start(&Nats::program(), &arguments, &Nats::passwords())
}
