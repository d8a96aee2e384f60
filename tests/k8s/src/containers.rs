//! Programs that `deploy/test` has installed, and whether containers run here at all.

use std::{
    env,
    path::PathBuf,
    process::{Output, Stdio},
};

use tokio::{process::Command, sync::Mutex};

/// The right to run containers: one test at a time, and none where `deploy/test` has found that they
/// do not run. What was run ends with it.
pub struct Containers {
    _one_at_a_time: tokio::sync::MutexGuard<'static, ()>,
}

impl Containers {
    /// `None` where containers do not run; the closing line of `deploy/test` says why.
    pub async fn available() -> Option<Self> {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
        variable("CONTAINERS_CONF")?;
        let one_at_a_time = ONE_AT_A_TIME.lock().await;
        // Removes what an earlier test that was killed left behind.
        clean_up();
        Some(Self {
            _one_at_a_time: one_at_a_time,
        })
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        clean_up();
    }
}

/// Ends and removes everything but the images.
fn clean_up() {
    for arguments in [
        ["pod", "rm", "--all", "--force", "--time=0"].as_slice(),
        &["rm", "--all", "--force", "--time=0"],
        &["volume", "rm", "--all", "--force"],
        &["secret", "rm", "--all"],
        &["network", "prune", "--force"],
    ] {
        let mut podman = std::process::Command::new("podman");
        let done = podman.args(arguments).output();
        let output = done.expect("podman is there");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "podman {arguments:?}: {said}");
    }
}

/// Runs podman to its end and returns what it printed; fails the test when it fails.
pub async fn podman(arguments: &[&str]) -> String {
    let output = try_podman(arguments).await;
    let [out, err] =
        [&output.stdout, &output.stderr].map(|out| String::from_utf8_lossy(out).into_owned());
    assert!(output.status.success(), "podman {arguments:?}\n{out}{err}");
    out.trim().to_owned()
}

pub(crate) async fn try_podman(arguments: &[&str]) -> Output {
    let mut command = Command::new("podman");
    command.args(arguments).stdin(Stdio::null());
    command.output().await.expect("podman is there")
}

/// `python3 <what>`, with the packages of `tests/k8s/requirements.txt`.
pub fn python(what: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command.args(what).env("PYTHONPATH", packages());
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command.kill_on_drop(true);
    command
}

/// One of the programs among the packages.
pub(crate) fn package(path: &str) -> PathBuf {
    packages().join(path)
}

fn packages() -> PathBuf {
    let folder = variable("NATTER_TEST_K8S_PACKAGES");
    folder.expect("run deploy/test, which fetches kubectl and the others")
}

#[allow(
    clippy::disallowed_methods,
    reason = "a test's setting, not a service's"
)]
fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).map(PathBuf::from)
}
