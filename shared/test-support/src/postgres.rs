//! A private Postgres with Natter's roles and schemas.

use std::{
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::{
    PATIENCE, free_port,
    process::{Process, Signal, is_root, unprivileged},
    until,
};

/// What the superuser's password is; every role has its own.
pub(crate) const PASSWORD: &str = "postgres-secret";
const INITDB: [&str; 5] = [
    "--no-sync",
    "--username=postgres",
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--locale=C.UTF-8",
];
pub(crate) const ROLES: [&str; 6] = [
    "users",
    "users_owner",
    "friendships",
    "friendships_owner",
    "messages",
    "messages_owner",
];
const SETUP: &str = concat!(
    include_str!("../../../deploy/postgres/setup.sql"),
    include_str!("../../../deploy/postgres/passwords.sql")
);

pub struct Postgres {
    // Removed when the test ends.
    folder: TempDir,
    port: u16,
    server: Process,
    /// Its environment.
    variables: Vec<(String, String)>,
}

impl Postgres {
    /// Starts on a copy of the template: making one takes longer than most tests.
    pub async fn start() -> Self {
        Self::start_in(&env::temp_dir()).await
    }

    /// Starts one with its data below this folder.
    pub async fn start_in(parent: &Path) -> Self {
        Self::start_with(parent, Vec::new()).await
    }

    /// The same with an environment: a library to be loaded before all others.
    pub async fn start_with(parent: &Path, variables: Vec<(String, String)>) -> Self {
        let template = template().await;
        let folder = owned_folder_in("natter-postgres-", parent);
        copy(&template, &folder.path().join("data"));
        let postgres = Self::on(folder, variables);
        postgres.answers().await;
        postgres
    }

    fn on(folder: TempDir, variables: Vec<(String, String)>) -> Self {
        let port = free_port();
        Self {
            server: serve(&folder.path().join("data"), port, &variables),
            folder,
            port,
            variables,
        }
    }

    /// With the roles and schemas that the set-up of a database makes, before any migration.
    async fn make() -> Self {
        let folder = owned_folder("natter-template-");
        let password = folder.path().join("password");
        fs::write(&password, PASSWORD).expect("it is ours");
        let made = Command::new("setpriv")
            .args(unprivileged())
            .arg("--")
            .arg(programs().join("initdb"))
            .args(INITDB)
            .arg(format!("--pwfile={}", password.display()))
            .arg("--pgdata")
            .arg(folder.path().join("data"))
            .current_dir("/")
            .output()
            .expect("initdb is there");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let postgres = Self::on(folder, Vec::new());
        postgres.answers().await;
        postgres.create_database("natter").await;
        postgres
    }

    /// Makes a database with what the set-up of one makes, before any migration.
    pub async fn create_database(&self, name: &str) {
        let mut admin = self.admin("postgres").await;
        let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
        let created = sqlx::raw_sql(create).execute(&mut admin).await;
        created.expect("a database");
        let mut database = self.admin(name).await;
        let set_up = sqlx::raw_sql(sqlx::AssertSqlSafe(setup()));
        set_up.execute(&mut database).await.expect("the set-up");
    }

    /// The URL of a role, without its prefix: `users`, or `users_owner`.
    pub fn url(&self, role: &str) -> String {
        self.url_with(role, &Self::password(role))
    }

    pub fn url_with(&self, role: &str, password: &str) -> String {
        Self::url_at(self.port, role, password)
    }

    /// The same through another port than its own.
    pub fn url_through(&self, port: u16, role: &str) -> String {
        Self::url_at(port, role, &Self::password(role))
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url_at(port: u16, role: &str, password: &str) -> String {
        format!("postgres://natter_{role}:{password}@127.0.0.1:{port}/natter")
    }

    pub fn password(role: &str) -> String {
        format!("{role}-secret")
    }

    /// A superuser's connection.
    pub async fn admin(&self, database: &str) -> PgConnection {
        PgConnection::connect(&self.admin_url(database))
            .await
            .expect("Postgres answers")
    }

    fn admin_url(&self, database: &str) -> String {
        let port = self.port;
        format!("postgres://postgres:{PASSWORD}@127.0.0.1:{port}/{database}")
    }

    /// Everything that it has logged so far.
    pub fn log(&self) -> Vec<String> {
        self.server.lines()
    }

    /// The kernel's id of its first process.
    pub fn process_id(&self) -> Option<u32> {
        self.server.id()
    }

    /// Ends it: with a fast shutdown, or at once.
    pub async fn stop(&mut self, signal: Signal) {
        self.server.end(signal).await;
    }

    /// Freezes or thaws every process of it.
    pub async fn signal_all(&self, signal: Signal) {
        let name = match signal {
            Signal::Stop => "-STOP",
            _ => "-CONT",
        };
        let data = self.folder.path().join("data");
        let main = fs::read_to_string(data.join("postmaster.pid")).expect("it runs");
        let main = main.lines().next().unwrap_or_default();
        let children = format!("/proc/{main}/task/{main}/children");
        let children = fs::read_to_string(children).unwrap_or_default();
        // A child may have ended by itself meanwhile.
        let kill = format!("kill {name} {main} && (kill {name} {children} || true)");
        let killed = Command::new("sh").args(["-c", &kill]).status();
        assert!(killed.is_ok_and(|status| status.success()));
    }

    /// What is in Natter's schemas, as statements for a database that was set up and is empty.
    pub fn dump(&self) -> String {
        let dump = Command::new(programs().join("pg_dump"))
            .args([
                "--inserts",
                "-n",
                "users",
                "-n",
                "friendships",
                "-n",
                "messages",
            ])
            .arg(self.admin_url("natter"))
            .output()
            .expect("pg_dump is there");
        let said = String::from_utf8_lossy(&dump.stderr).into_owned();
        assert!(dump.status.success(), "{said}");
        let dump = String::from_utf8(dump.stdout).expect("it is UTF-8");
        // What begins with a backslash is for psql alone.
        let is_there = |line: &&str| line.starts_with('\\') || line.starts_with("CREATE SCHEMA");
        let lines = dump.lines().filter(|line| !is_there(line));
        lines.fold(String::new(), |all, line| all + line + "\n")
    }

    /// Keeps a copy of everything that it holds, now that it is stopped.
    pub fn back_up(&self) {
        copy(&self.data(), &self.folder.path().join("backup"));
    }

    /// Goes back to the copy, now that it is stopped.
    pub fn restore(&self) {
        fs::remove_dir_all(self.data()).expect("it is ours");
        copy(&self.folder.path().join("backup"), &self.data());
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Starts it again on the same data and port. After a kill it refuses as long as one of the
    /// old processes lives.
    pub async fn start_again(&mut self) {
        let data = self.folder.path().join("data");
        self.server = serve(&data, self.port, &self.variables);
        let url = self.admin_url("postgres");
        let give_up = Instant::now() + PATIENCE;
        while PgConnection::connect(&url).await.is_err() {
            assert!(Instant::now() < give_up, "Postgres does not start again");
            if self.server.has_ended() {
                self.server = serve(&data, self.port, &self.variables);
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Starts it again if it has ended by itself, and waits until it answers.
    pub async fn recover(&mut self) {
        if self.server.has_ended() {
            self.start_again().await;
        }
        self.answers().await;
    }

    async fn answers(&self) {
        let url = self.admin_url("postgres");
        until("Postgres answers", || async {
            PgConnection::connect(&url).await.ok()
        })
        .await;
    }
}

/// The database folder that every test copies: made once, and anew when what it is made of changes.
async fn template() -> PathBuf {
    let version = Command::new(programs().join("postgres"))
        .arg("--version")
        .output();
    let version = version.expect("Postgres is there").stdout;
    let mut hasher = DefaultHasher::new();
    (version, INITDB, PASSWORD, setup()).hash(&mut hasher);
    let tools = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.tools"));
    let template = tools.join(format!("postgres-template-{:016x}", hasher.finish()));
    if template.exists() {
        return template;
    }
    let mut made = Postgres::make().await;
    made.stop(Signal::Int).await;
    fs::create_dir_all(tools).expect("the checkout can be written to");
    let part = TempDir::with_prefix_in("postgres-template-", tools).expect("a temporary folder");
    copy(&made.data(), &part.path().join("data"));
    // Of several that make it at once one is the first: a folder that is there is not replaced.
    let first = fs::rename(part.path().join("data"), &template);
    assert!(first.is_ok() || template.exists(), "{first:?}");
    template
}

pub(crate) fn setup() -> String {
    ROLES.iter().fold(SETUP.to_owned(), |setup, role| {
        let password = format!("'{}'", Postgres::password(role));
        setup.replace(&format!(":'{role}_password'"), &password)
    })
}

/// A temporary folder of the user that Postgres runs as.
pub(crate) fn owned_folder(prefix: &str) -> TempDir {
    owned_folder_in(prefix, &env::temp_dir())
}

fn owned_folder_in(prefix: &str, parent: &Path) -> TempDir {
    let folder = TempDir::with_prefix_in(prefix, parent).expect("a temporary folder");
    if is_root() {
        let owned = Command::new("chown")
            .arg("postgres:")
            .arg(folder.path())
            .status();
        assert!(
            owned.is_ok_and(|status| status.success()),
            "no user postgres"
        );
    }
    folder
}

/// With the owner and the rights, on which Postgres insists.
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.is_ok_and(|status| status.success()));
}

fn serve(data: &Path, port: u16, variables: &[(String, String)]) -> Process {
    let port = format!("port={port}");
    let data = data.to_string_lossy();
    let settings = [
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "max_connections=200",
    ];
    let mut arguments = vec!["-D", &data, "-c", &port];
    for setting in settings {
        arguments.extend(["-c", setting]);
    }
    Process::start_unprivileged(&programs().join("postgres"), &arguments, variables)
}

/// Where the newest Postgres of Debian's packages is.
#[allow(
    clippy::disallowed_methods,
    reason = "a test's setting, not a service's"
)]
pub(crate) fn programs() -> PathBuf {
    if let Some(folder) = env::var_os("NATTER_TEST_POSTGRES_BIN") {
        return folder.into();
    }
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let newest = versions
        .filter_map(|version| version.file_name().to_string_lossy().parse::<u32>().ok())
        .max();
    let newest = newest.expect("Postgres is not installed: deploy/test installs it");
    PathBuf::from(format!("/usr/lib/postgresql/{newest}/bin"))
}
