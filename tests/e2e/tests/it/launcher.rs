//! `deploy/up` refuses with one clear sentence, and leaves nothing running.

use std::{net::TcpListener, path::Path, process::Stdio};

use async_nats::{ConnectOptions, jetstream};
use natter_test_support::free_port;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, Command},
};

/// Runs `deploy/up`, which is expected to refuse; its sentence.
async fn refusal(data: &Path, port: u16, variables: &[(&str, &str)]) -> String {
    let up = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/up");
    let run = Command::new(up)
        .args(["--port", &port.to_string(), "--data"])
        .arg(data)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = run.await.expect("it runs");
    assert!(!output.status.success(), "it did not refuse");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "",
        "it printed a URL"
    );
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let data = data.to_string_lossy();
    assert!(!is_running(&data), "it left something running");
    said.lines().last().unwrap_or_default().to_owned()
}

/// Whether a process has this text in its command line.
fn is_running(text: &str) -> bool {
    let processes = std::fs::read_dir("/proc").expect("this is Linux").flatten();
    let commands =
        processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    commands
        .map(|command| String::from_utf8_lossy(&command).into_owned())
        .any(|command| command.contains(text))
}

fn folder() -> TempDir {
    TempDir::with_prefix("natter-up-").expect("a temporary folder")
}

#[tokio::test]
async fn a_taken_port_is_refused_with_one_sentence() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("it is bound").port();
    let said = refusal(folder().path(), port, &[]).await;
    assert_eq!(
        said,
        format!(
            "natter: Port {port} cannot be used (Address already in use); choose another with --port."
        )
    );
}

#[tokio::test]
async fn a_data_folder_that_cannot_be_written_to_is_refused_with_one_sentence() {
    let said = refusal(Path::new("/proc/natter"), free_port(), &[]).await;
    assert_eq!(
        said,
        "natter: The data folder /proc/natter cannot be written to (No such file or directory)."
    );
}

#[tokio::test]
async fn a_bad_setting_is_named() {
    let bad = [("NATTER_ACCESS_TOKEN_SECONDS", "soon")];
    let said = refusal(folder().path(), free_port(), &bad).await;
    assert!(said.contains("NATTER_ACCESS_TOKEN_SECONDS"), "{said}");
    assert!(said.contains("soon"), "{said}");
}

#[tokio::test]
async fn a_missing_dependency_is_named() {
    // Without Rust, and without what would find it.
    let path = TempDir::with_prefix("natter-path-").expect("a temporary folder");
    for tool in ["python3", "env"] {
        let found = Command::new("sh")
            .args(["-c", &format!("command -v {tool}")])
            .output()
            .await;
        let found = String::from_utf8(found.expect("sh runs").stdout).expect("a path");
        let python = Command::new(found.trim())
            .args(["-c", "import sys; print(sys.executable)"])
            .output()
            .await;
        let real = match tool {
            "python3" => String::from_utf8(python.expect("it runs").stdout).expect("a path"),
            _ => found,
        };
        std::os::unix::fs::symlink(real.trim(), path.path().join(tool)).expect("a link");
    }
    let empty = folder();
    let environment = [
        ("PATH", path.path().to_str().expect("a path")),
        ("HOME", empty.path().to_str().expect("a path")),
    ];
    let said = refusal(empty.path(), free_port(), &environment).await;
    assert_eq!(
        said,
        "natter: Rust was not found: install Rust 1.94 or newer with rustup and try again."
    );
}

/// A start by a parent that ignores SIGINT, as scripts that run things in the background do.
fn start(data: &Path, port: u16) -> Child {
    let up = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/up");
    Command::new("sh")
        .args(["-c", "trap '' INT; exec \"$@\"", "sh"])
        .arg(up)
        .args(["--port", &port.to_string(), "--data"])
        .arg(data)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts")
}

async fn signal(name: &str, process: &str) {
    let told = Command::new("sh")
        .args(["-c", &format!("kill -{name} {process}")])
        .status()
        .await;
    assert!(told.is_ok_and(|status| status.success()));
}

/// The first line that it prints: the URL.
async fn url_of(running: &mut Child) -> String {
    let mut lines = BufReader::new(running.stdout.take().expect("it is piped")).lines();
    // No deadline: it may have something to build, and if it ends, the pipe is closed.
    let said = lines.next_line().await.expect("it can be read");
    if let Some(url) = said {
        return url;
    }
    let mut why = String::new();
    if let Some(mut stderr) = running.stderr.take() {
        let _ = stderr.read_to_string(&mut why).await;
    }
    panic!("it ended: {why}")
}

async fn ends_at_ctrl_c(mut running: Child, data: &Path) {
    signal("INT", &running.id().expect("it runs").to_string()).await;
    let ended = running.wait().await.expect("it was started");
    assert!(ended.success(), "{ended}");
    assert!(
        !is_running(&data.to_string_lossy()),
        "it left something running"
    );
}

/// One start of a fresh folder, with what it says in `natter.env`, to its end.
#[tokio::test]
async fn it_runs_until_it_is_told_to_end() {
    let (data, port) = (folder(), free_port());
    let mut running = start(data.path(), port);
    let said = url_of(&mut running).await;
    assert_eq!(said, format!("http://127.0.0.1:{port}/"));
    let page = reqwest::get(&said).await.expect("it answers");
    assert_eq!(page.status(), 200);

    let env = std::fs::read_to_string(data.path().join("natter.env")).expect("it is there");
    let setting = |name: &str| {
        let mut settings = env.lines().filter_map(|line| line.split_once('='));
        let found = settings.find(|(known, _)| *known == name);
        found
            .unwrap_or_else(|| panic!("{name} in {env}"))
            .1
            .to_owned()
    };
    assert_eq!(setting("NATTER_URL"), said);
    let options =
        ConnectOptions::with_user_and_password(setting("NATS_USER"), setting("NATS_PASSWORD"));
    let client = options
        .connect(setting("NATS_URL"))
        .await
        .expect("it is let in");
    for stream in ["USERS", "FRIENDSHIPS", "CHAT"] {
        let found = jetstream::new(client.clone()).get_stream(stream).await;
        assert!(found.is_ok(), "{stream}: {found:?}");
    }

    ends_at_ctrl_c(running, data.path()).await;
}

/// The processes that this one started.
fn children(process: &str) -> Vec<String> {
    let children = format!("/proc/{process}/task/{process}/children");
    let children = std::fs::read_to_string(children).expect("it runs");
    children.split_whitespace().map(str::to_owned).collect()
}

/// A frozen process. It goes on at the latest when the test ends: frozen, it could not end either.
struct Frozen(String);

impl Frozen {
    async fn new(process: &str) -> Self {
        signal("STOP", process).await;
        Self(process.to_owned())
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let thaw = format!("kill -CONT {}", self.0);
        let _ = std::process::Command::new("sh")
            .args(["-c", &thaw])
            .output();
    }
}

/// Its Postgres.
fn postgres_of(launcher: &Child) -> String {
    let launcher = launcher.id().expect("it runs").to_string();
    let is_postgres = |id: &String| {
        let name = std::fs::read_to_string(format!("/proc/{id}/comm"));
        name.is_ok_and(|name| name.trim() == "postgres")
    };
    let found = children(&launcher).into_iter().find(is_postgres);
    found.expect("Postgres is its child")
}

/// Waits until it says that it waits for this; whatever else it says is shown where the test fails.
async fn waits_for(running: &mut Child, what: &str) {
    let mut said = BufReader::new(running.stderr.take().expect("it is piped")).lines();
    loop {
        let line = said.next_line().await.expect("it can be read");
        let line = line.unwrap_or_else(|| panic!("it ended"));
        if line.contains(&format!("waiting for {what}")) {
            break;
        }
    }
    tokio::spawn(async move {
        while let Ok(Some(line)) = said.next_line().await {
            eprintln!("{line}");
        }
    });
}

#[tokio::test]
async fn it_waits_for_the_servers_of_an_earlier_start_to_end() {
    let (data, port) = (folder(), free_port());
    let mut earlier = start(data.path(), port);
    url_of(&mut earlier).await;
    let postgres = postgres_of(&earlier);
    // Postgres is told to end with its launcher, and does not get to it.
    let frozen = Frozen::new(&postgres).await;
    earlier.kill().await.expect("it ran");

    let mut later = start(data.path(), port);
    waits_for(&mut later, &format!("Postgres (process {postgres})")).await;
    drop(frozen);
    let url = url_of(&mut later).await;
    assert_eq!(url, format!("http://127.0.0.1:{port}/"));
    ends_at_ctrl_c(later, data.path()).await;
}

#[tokio::test]
async fn it_waits_for_the_sessions_of_a_killed_postgres_to_end() {
    let (data, port) = (folder(), free_port());
    let mut earlier = start(data.path(), port);
    url_of(&mut earlier).await;
    let postgres = postgres_of(&earlier);
    let is_session = |id: &String| {
        let command = std::fs::read_to_string(format!("/proc/{id}/cmdline"));
        command.is_ok_and(|command| command.contains("127.0.0.1"))
    };
    let session = children(&postgres).into_iter().find(is_session);
    let session = session.expect("Natter is connected");
    // Neither the session nor Postgres can end before the launcher has.
    let frozen = Frozen::new(&session).await;
    let server = Frozen::new(&postgres).await;
    earlier.kill().await.expect("it ran");
    signal("KILL", &postgres).await;

    let mut later = start(data.path(), port);
    waits_for(&mut later, "the sessions of Postgres").await;
    drop(frozen);
    drop(server);
    let url = url_of(&mut later).await;
    assert_eq!(url, format!("http://127.0.0.1:{port}/"));
    ends_at_ctrl_c(later, data.path()).await;
}

#[tokio::test]
async fn it_waits_for_an_earlier_start_that_is_stopping() {
    let (data, port) = (folder(), free_port());
    let mut earlier = start(data.path(), port);
    url_of(&mut earlier).await;
    let mut refused = start(data.path(), port);
    let mut said = String::new();
    let stderr = refused.stderr.as_mut().expect("it is piped");
    let read = stderr.read_to_string(&mut said).await;
    read.expect("it can be read");
    assert!(said.contains("Another Natter is running on"), "{said}");
    let frozen = Frozen::new(&postgres_of(&earlier)).await;
    let id = earlier.id().expect("it runs").to_string();
    signal("INT", &id).await;
    let mut said = BufReader::new(earlier.stderr.take().expect("it is piped")).lines();
    while let Some(line) = said.next_line().await.expect("it can be read") {
        if line.contains("stopping") {
            break;
        }
    }

    let mut later = start(data.path(), port);
    waits_for(&mut later, "an earlier start").await;
    drop(frozen);
    let ended = earlier.wait().await.expect("it was started");
    assert!(ended.success(), "{ended}");
    let url = url_of(&mut later).await;
    assert_eq!(url, format!("http://127.0.0.1:{port}/"));
    ends_at_ctrl_c(later, data.path()).await;
}
