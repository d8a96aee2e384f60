//! Programs from PyPI that the tests run; `deploy/test` has installed them.

use std::{env, fs, path::PathBuf};

use tokio::process::Command;

/// `python3 <what>`, with the packages of `tests/e2e/requirements.txt`.
pub fn python(what: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command.args(what).env("PYTHONPATH", packages());
    command
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .kill_on_drop(true);
    command
}

#[allow(
    clippy::disallowed_methods,
    reason = "a test's setting, not a service's"
)]
pub(crate) fn packages() -> PathBuf {
    if let Some(folder) = env::var_os("NATTER_TEST_PYTHON_PACKAGES") {
        return folder.into();
    }
    let tools = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.tools");
    let fetched = fs::read_dir(tools).into_iter().flatten().flatten();
    let mut folders = fetched.map(|tool| tool.path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("python-e2e-") && !name.ends_with(".part")
    });
    let folder = folders.next();
    folder.expect("the Python packages are not there: deploy/test fetches them")
}
