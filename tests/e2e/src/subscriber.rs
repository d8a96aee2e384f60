//! Another service that is not built on our crates: `deploy/examples/subscriber.py`.

use std::path::Path;

use natter_test_support::{Nats, Process, Signal};
use serde_json::Value;
use tempfile::TempDir;

use crate::python::packages;

const PROGRAM: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../deploy/examples/subscriber.py"
);

/// The example, running, and where it keeps what it learned.
pub struct Subscriber {
    process: Process,
    folder: TempDir,
    variables: Vec<(String, String)>,
}

impl Subscriber {
    pub fn start(nats: &Nats) -> Self {
        let packages = packages().to_string_lossy().into_owned();
        let variables = [
            ("NATS_URL", nats.url()),
            ("NATS_USER", "subscriber".to_owned()),
            ("NATS_PASSWORD", Nats::password("subscriber")),
            ("PYTHONPATH", packages),
            ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value));
        let folder = TempDir::with_prefix("natter-subscriber-").expect("a temporary folder");
        Self {
            process: run(&folder, &variables),
            folder,
            variables: variables.to_vec(),
        }
    }

    /// Kills it in the midst of whatever it does, and starts it again.
    pub async fn restart(&mut self) {
        self.process.end(Signal::Kill).await;
        self.process = run(&self.folder, &self.variables);
    }

    /// Waits until its counts are these.
    pub async fn counts(&mut self, wanted: &Value) {
        let what = format!("{wanted}");
        let find =
            |line: &str| (serde_json::from_str(line).ok().as_ref() == Some(wanted)).then_some(());
        self.process.line(&what, find).await;
    }

    /// What it said last.
    pub fn last(&self) -> Option<Value> {
        let lines = self.process.lines();
        let mut lines = lines.iter().rev();
        lines.find_map(|line| serde_json::from_str(line).ok())
    }
}

fn run(folder: &TempDir, variables: &[(String, String)]) -> Process {
    let file = folder.path().join("counts.db");
    let file = file.to_string_lossy();
    Process::start(Path::new("python3"), &[PROGRAM, &file], variables)
}
