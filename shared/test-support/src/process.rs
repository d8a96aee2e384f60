//! A child process that ends with the test.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::watch,
};

use crate::{secrets, until};

#[derive(Clone, Copy, Debug)]
pub enum Signal {
    Term,
    Int,
    Kill,
    /// Reads its configuration again.
    Hup,
    /// Freezes.
    Stop,
    /// Thaws.
    Cont,
}

/// A running program and what it has printed.
pub struct Process {
    name: String,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    /// How many lines there are.
    printed: watch::Receiver<usize>,
}

impl Process {
    /// Starts `program`. The variables are its whole `NATTER_…` environment.
    pub fn start(program: &Path, arguments: &[&str], variables: &[(String, String)]) -> Self {
        Self::spawn(program, arguments, variables, &[])
    }

    /// Starts a server that refuses to be root as another user, if this is root.
    pub(crate) fn start_unprivileged(
        program: &Path,
        arguments: &[&str],
        variables: &[(String, String)],
    ) -> Self {
        Self::spawn(program, arguments, variables, &unprivileged())
    }

    fn spawn(
        program: &Path,
        arguments: &[&str],
        variables: &[(String, String)],
        identity: &[&str],
    ) -> Self {
        let name = program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        // Without unsafe code, a program of util-linux asks the kernel to end the child with us.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL"])
            .args(identity)
            .arg("--");
        command.arg(program).args(arguments);
        for (variable, _) in env::vars().filter(|(variable, _)| variable.starts_with("NATTER_")) {
            command.env_remove(variable);
        }
        command
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().expect("setpriv of util-linux is there");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (count, printed) = watch::channel(0);
        let count = Arc::new(count);
        let out = child.stdout.take().expect("it is piped");
        let err = child.stderr.take().expect("it is piped");
        tokio::spawn(collect(BufReader::new(out), lines.clone(), count.clone()));
        tokio::spawn(collect(BufReader::new(err), lines.clone(), count));
        Self {
            name,
            child,
            lines,
            printed,
        }
    }

    /// The kernel's id of it, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Everything printed so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The first line that `find` makes something of.
    pub async fn line<T>(&mut self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        let lines = self.lines.clone();
        let mut printed = self.printed.clone();
        let found = async {
            loop {
                let found = lines
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .iter()
                    .find_map(|line| find(line));
                if let Some(found) = found {
                    return Some(found);
                }
                printed.changed().await.ok()?;
            }
        };
        match tokio::time::timeout(crate::PATIENCE, found).await {
            Ok(Some(found)) => found,
            _ => panic!(
                "{} never printed {what}:\n{}",
                self.name,
                self.lines().join("\n")
            ),
        }
    }

    pub async fn signal(&self, signal: Signal) {
        let name = match signal {
            Signal::Term => "-TERM",
            Signal::Int => "-INT",
            Signal::Kill => "-KILL",
            Signal::Hup => "-HUP",
            Signal::Stop => "-STOP",
            Signal::Cont => "-CONT",
        };
        let Some(id) = self.child.id() else { return };
        // The shell's own: a minimal machine has no other.
        let kill = format!("kill {name} {id}");
        let status = Command::new("sh").args(["-c", &kill]).status().await;
        assert!(
            status.is_ok_and(|status| status.success()),
            "{} is gone",
            self.name
        );
    }

    /// Waits for the end; returns the exit code, unless a signal ended it.
    pub async fn ended(&mut self) -> Option<i32> {
        match tokio::time::timeout(crate::PATIENCE, self.child.wait()).await {
            Ok(status) => status.expect("it was started").code(),
            Err(_) => panic!("{} does not end:\n{}", self.name, self.lines().join("\n")),
        }
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// Signals it and waits for the end.
    pub async fn end(&mut self, signal: Signal) -> Option<i32> {
        self.signal(signal).await;
        self.ended().await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A test that fails already says why.
        if !std::thread::panicking()
            && let Some(line) = secrets::leak(&self.lines())
        {
            panic!("{} logged what it must not: {line}", self.name);
        }
    }
}

async fn collect(
    mut out: BufReader<impl tokio::io::AsyncRead + Unpin>,
    lines: Arc<Mutex<Vec<String>>>,
    count: Arc<watch::Sender<usize>>,
) {
    let mut line = String::new();
    while out.read_line(&mut line).await.is_ok_and(|bytes| bytes > 0) {
        let text = line.trim_end().to_owned();
        lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(text);
        count.send_modify(|count| *count += 1);
        line.clear();
    }
}

/// One of this workspace's programs, built beside the running test or benchmark; or that of another
/// version, from the folder NATTER_TEST_PROGRAMS.
pub fn binary(name: &str) -> PathBuf {
    if let Some(folder) = programs_of_another_version() {
        return folder.join(name);
    }
    let test = env::current_exe().expect("this program has a path");
    // A test is in target/<profile>/deps, a benchmark in target/<profile>.
    let folders = test.ancestors().skip(1).take(2);
    let mut programs = folders.map(|folder| folder.join(name));
    let program = programs.find(|program| program.exists());
    program.unwrap_or_else(|| panic!("{name} is not built: run deploy/test, or cargo build first"))
}

/// Set when another version is recorded: see `tests/e2e/recorded`.
#[allow(
    clippy::disallowed_methods,
    reason = "a test's setting, not a service's"
)]
fn programs_of_another_version() -> Option<PathBuf> {
    env::var_os("NATTER_TEST_PROGRAMS").map(PathBuf::from)
}

/// Whether this process may do everything.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

pub(crate) fn unprivileged() -> Vec<&'static str> {
    if is_root() {
        vec!["--reuid=postgres", "--regid=postgres", "--init-groups"]
    } else {
        Vec::new()
    }
}

/// Waits until a server accepts connections on a port of the loopback.
pub(crate) async fn accepts(what: &str, port: u16) {
    until(what, || async {
        tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .ok()
    })
    .await;
}
