//! Three Postgres that Patroni keeps as a primary and its standbys, with etcd for its agreements.
//! Clients reach the primary of the moment at one port, as through a Kubernetes service.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    time::sleep,
};

use crate::{
    Postgres,
    detour::Detour,
    free_port, postgres,
    process::{Process, accepts},
    until,
};

const NODES: usize = 3;
/// Between two looks at who is the primary.
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub struct Patroni {
    nodes: Arc<[Node; NODES]>,
    /// Where the primary is reached.
    port: u16,
    _etcd: Process,
    // Removed when the test ends.
    _folder: TempDir,
}

struct Node {
    folder: TempDir,
    port: u16,
    rest: u16,
    /// While it is true, the other nodes get nothing from this one.
    cut: watch::Sender<bool>,
    /// The proxy through which the other nodes reach this one.
    _others: Detour,
    _process: Process,
}

impl Node {
    async fn status(&self) -> Option<Value> {
        let url = format!("http://127.0.0.1:{}/patroni", self.rest);
        let answer = reqwest::get(url).await.ok()?;
        serde_json::from_slice(&answer.bytes().await.ok()?).ok()
    }

    async fn is_primary(&self) -> bool {
        let status = self.status().await;
        status.is_some_and(|status| {
            // Patroni 4 calls a master a primary.
            ["master", "primary"]
                .iter()
                .any(|role| status["role"] == *role)
                && status["state"] == "running"
        })
    }

    /// The first process of its Postgres, if it runs.
    fn postmaster(&self) -> Option<String> {
        let file = self.folder.path().join("data/postmaster.pid");
        let lines = fs::read_to_string(file).ok()?;
        lines.lines().next().map(str::to_owned)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Patroni's own processes end with the test; its Postgres is no child of theirs.
        if let Some(id) = self.postmaster() {
            // It may have ended before.
            let _ = Command::new("sh")
                .args(["-c", &format!("kill -QUIT {id}")])
                .output();
        }
    }
}

impl Patroni {
    /// Starts them with Natter's roles and schemas. A commit waits for one standby if
    /// `synchronous`, else for none.
    pub async fn start(synchronous: bool) -> Self {
        let folder = TempDir::with_prefix("natter-etcd-").expect("a temporary folder");
        let (clients, peers) = (free_port(), free_port());
        let etcd = etcd(folder.path(), clients, peers);
        accepts("etcd answers", clients).await;
        let node = |number| node(number, clients, synchronous);
        // The first makes the database that the others copy.
        let first = node(0).await;
        until("the first is the primary", || async {
            first.is_primary().await.then_some(())
        })
        .await;
        let nodes = Arc::new([first, node(1).await, node(2).await]);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("it is bound").port();
        let (found, primary) = watch::channel(None);
        tokio::spawn(look(Arc::downgrade(&nodes), found));
        tokio::spawn(lead(listener, primary));
        let patroni = Self {
            nodes,
            port,
            _etcd: etcd,
            _folder: folder,
        };
        patroni.replicated(synchronous).await;
        let made = sqlx::raw_sql("CREATE DATABASE natter")
            .execute(&mut patroni.admin("postgres").await)
            .await;
        made.expect("a database");
        let set_up = sqlx::raw_sql(sqlx::AssertSqlSafe(postgres::setup()))
            .execute(&mut patroni.admin("natter").await)
            .await;
        set_up.expect("the set-up");
        patroni
    }

    /// The settings of Natter's processes that use it.
    pub fn settings(&self) -> Vec<(String, String)> {
        let roles = postgres::ROLES.iter();
        let settings = roles.map(|role| {
            let name = format!("NATTER_{}_DATABASE_URL", role.to_uppercase());
            (
                name,
                Postgres::url_at(self.port, role, &Postgres::password(role)),
            )
        });
        settings.collect()
    }

    /// A superuser's connection to the primary.
    pub async fn admin(&self, database: &str) -> PgConnection {
        let password = postgres::PASSWORD;
        let url = format!(
            "postgres://postgres:{password}@127.0.0.1:{}/{database}",
            self.port
        );
        until("the primary answers", || async {
            PgConnection::connect(&url).await.ok()
        })
        .await
    }

    /// Waits until both standbys follow the primary, and, where commits wait for one of them, until
    /// that one may take its place. Patroni notes that some seconds after Postgres calls the
    /// standby synchronous; a primary that is killed before starts again as the primary.
    pub async fn replicated(&self, synchronous: bool) {
        until("both standbys follow", || async {
            let mut followers = 0;
            let mut synced = 0;
            for node in self.nodes.iter() {
                let status = node.status().await?;
                let streaming = status["replication"].as_array().into_iter().flatten();
                followers += streaming
                    .filter(|follower| follower["state"] == "streaming")
                    .count();
                synced += usize::from(status["sync_standby"] == true);
            }
            (followers == NODES - 1 && (synced == 1 || !synchronous)).then_some(())
        })
        .await;
    }

    /// Waits until both standbys have everything that the primary has.
    pub async fn caught_up(&self) {
        let mut admin = self.admin("natter").await;
        let caught_up = "SELECT count(*) = 2 AND bool_and(replay_lsn >= pg_current_wal_lsn())
                         FROM pg_stat_replication";
        for _ in 0..2 {
            until("both standbys have everything", || async {
                let mut admin = self.admin("natter").await;
                let is_so: Option<bool> = sqlx::query_scalar(caught_up)
                    .fetch_one(&mut admin)
                    .await
                    .ok()?;
                is_so.unwrap_or_default().then_some(())
            })
            .await;
            // A checkpoint or a vacuum may have written since.
            let flushed = sqlx::raw_sql("CHECKPOINT").execute(&mut admin).await;
            flushed.expect("a superuser may");
        }
    }

    /// Cuts, or mends, what standbys get from their primary.
    pub fn cut(&self, cut: bool) {
        for node in self.nodes.iter() {
            node.cut.send_replace(cut);
        }
    }

    /// The number of the primary.
    pub async fn primary(&self) -> usize {
        until("there is a primary", || async {
            for (number, node) in self.nodes.iter().enumerate() {
                if node.is_primary().await {
                    return Some(number);
                }
            }
            None
        })
        .await
    }

    /// Kills the Postgres that is the primary, and waits until another one is the primary.
    pub async fn fail_over(&self) {
        let primary = self.primary().await;
        let postmaster = self.nodes[primary].postmaster().expect("it runs");
        let killed = Command::new("sh")
            .args(["-c", &format!("kill -KILL {postmaster}")])
            .status();
        assert!(killed.is_ok_and(|status| status.success()));
        until("another is the primary", || async {
            (self.primary().await != primary).then_some(())
        })
        .await;
    }
}

/// Where etcd is.
#[allow(
    clippy::disallowed_methods,
    reason = "a test's setting, not a service's"
)]
fn etcd_program() -> PathBuf {
    env::var_os("NATTER_TEST_ETCD").map_or_else(|| "/usr/bin/etcd".into(), PathBuf::from)
}

fn etcd(folder: &Path, clients: u16, peers: u16) -> Process {
    let (clients, peers) = (
        format!("http://127.0.0.1:{clients}"),
        format!("http://127.0.0.1:{peers}"),
    );
    Process::start(
        &etcd_program(),
        &[
            &format!("--data-dir={}", folder.join("etcd").display()),
            &format!("--listen-client-urls={clients}"),
            &format!("--advertise-client-urls={clients}"),
            &format!("--listen-peer-urls={peers}"),
            &format!("--initial-advertise-peer-urls={peers}"),
            &format!("--initial-cluster=default={peers}"),
        ],
        &[],
    )
}

async fn node(number: usize, etcd: u16, synchronous: bool) -> Node {
    let folder = postgres::owned_folder("natter-patroni-");
    let (cut, is_cut) = watch::channel(false);
    let (port, rest) = (free_port(), free_port());
    let others = Detour::start(
        &format!("127.0.0.1:{port}"),
        move |mut client, mut server| {
            let mut is_cut = is_cut.clone();
            async move {
                if !*is_cut.borrow_and_update() {
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        _ = is_cut.changed() => {}
                    }
                }
            }
        },
    )
    .await;
    let at = |port| format!("127.0.0.1:{port}");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let config = json!({
        "scope": "natter",
        "name": format!("postgres-{number}"),
        "restapi": {"listen": at(rest), "connect_address": at(rest)},
        "etcd3": {"host": at(etcd)},
        "bootstrap": {
            "dcs": {
                "ttl": 20, "loop_wait": 1, "retry_timeout": 3,
                // A primary that crashed is not waited for.
                "primary_start_timeout": 0,
                "maximum_lag_on_failover": 1 << 30,
                "synchronous_mode": synchronous,
                // No commit without a standby, also while there is none.
                "synchronous_mode_strict": synchronous,
                "postgresql": {"use_pg_rewind": true},
            },
            "initdb": [{"encoding": "UTF8"}, {"locale": "C.UTF-8"}, "data-checksums"],
        },
        "postgresql": {
            "listen": at(port),
            "connect_address": at(others.port()),
            "data_dir": path("data"),
            "bin_dir": postgres::programs().display().to_string(),
            "pgpass": path("pgpass"),
            "pg_hba": [
                "host all all 127.0.0.1/32 scram-sha-256",
                "host replication all 127.0.0.1/32 scram-sha-256",
            ],
            "authentication": {
                "superuser": {"username": "postgres", "password": postgres::PASSWORD},
                "replication": {"username": "replicator", "password": "replicator-secret"},
            },
            "parameters": {"unix_socket_directories": "", "max_connections": 200},
        },
    });
    let file = folder.path().join("patroni.yaml");
    fs::write(&file, config.to_string()).expect("it is ours");
    let file = file.display().to_string();
    Node {
        _process: Process::start_unprivileged(Path::new("/usr/bin/patroni"), &[&file], &[]),
        folder,
        port,
        rest,
        cut,
        _others: others,
    }
}

/// Looks at who is the primary as long as the nodes are there.
async fn look(nodes: std::sync::Weak<[Node; NODES]>, found: watch::Sender<Option<u16>>) {
    while let Some(nodes) = nodes.upgrade() {
        let mut primary = None;
        for node in nodes.iter() {
            if node.is_primary().await {
                primary = Some(node.port);
            }
        }
        drop(nodes);
        found.send_if_modified(|known| std::mem::replace(known, primary) != primary);
        sleep(LOOK_EVERY).await;
    }
}

/// Leads each connection to the primary. When that is another, the connection breaks.
async fn lead(listener: TcpListener, primary: watch::Receiver<Option<u16>>) {
    while let Ok((mut client, _)) = listener.accept().await {
        let mut primary = primary.clone();
        tokio::spawn(async move {
            let Some(port) = *primary.borrow_and_update() else {
                return;
            };
            let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else {
                return;
            };
            tokio::select! {
                _ = copy_bidirectional(&mut client, &mut server) => {}
                _ = primary.changed() => {}
            }
        });
    }
}
