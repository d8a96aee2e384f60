//! Whether this machine lets run what wants to run. Every process of a run is on it: while it does not,
//! nobody can be told anything in time.
//!
//! A thread of its own notes how late it is woken itself, and how long each thread of this process and
//! of all that it has started has waited for a processor, which the kernel counts for each
//! (`/proc/<process>/task/<thread>/schedstat`). A process that is stopped, or waits for an answer, does
//! not wait for a processor.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    checker::SETTLED,
    client::Place,
    record::{At, Stall},
};

/// How often it looks. What somebody waited in this time is noted as its last part.
pub const LOOK: Duration = Duration::from_millis(200);
/// What is shorter happens all the time.
const LEAST: Duration = Duration::from_millis(10);
/// A machine stood still if it kept somebody from running for this part of a second: a service has two
/// seconds for the answer to a call, a gateway two and a half for that to a send.
const STILL: f64 = 0.9;
const SECOND: Duration = Duration::from_secs(1);

/// For how much of this time the machine kept somebody from running.
pub fn stalled(stalls: &[Stall], from: At, to: At) -> Duration {
    let mut parts: Vec<(At, At)> = stalls
        .iter()
        .map(|stall| (stall.from.max(from), stall.to.min(to)))
        .filter(|(begin, end)| begin < end)
        .collect();
    parts.sort_unstable();
    let mut all = Duration::ZERO;
    let mut until = from;
    for (begin, end) in parts {
        all += end.saturating_sub(begin.max(until));
        until = until.max(end);
    }
    all
}

/// Whether it stood still at this time, or so shortly before that not all can be settled again.
pub fn stood_still(stalls: &[Stall], at: At) -> bool {
    let is_then = |stall: &&Stall| stall.to + SETTLED >= at && stall.to <= at + LOOK;
    let mut then = stalls.iter().filter(is_then);
    then.any(|stall| {
        let second = stalled(stalls, stall.to.saturating_sub(SECOND), stall.to);
        second >= SECOND.mul_f64(STILL)
    })
}

/// Looks until it is ended.
pub struct Watch {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Stall>>>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

impl Watch {
    pub fn start(place: &Place) -> Self {
        let is_over = Arc::<AtomicBool>::default();
        let (over, place) = (is_over.clone(), place.clone());
        let thread = thread::spawn(move || {
            let mut waits = Waits::default();
            waits.longest();
            let mut stalls = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let begun = Instant::now();
                thread::sleep(LOOK);
                let late = begun.elapsed().saturating_sub(LOOK);
                let own = (late, "a thread that was to wake up".to_owned());
                let (waited, who) = waits
                    .longest()
                    .into_iter()
                    .chain([own])
                    .max()
                    .unwrap_or_default();
                if waited >= LEAST {
                    let to = place.now();
                    stalls.push(Stall {
                        from: to.saturating_sub(waited),
                        to,
                        who,
                    });
                }
            }
            stalls
        });
        Self {
            is_over,
            thread: Some(thread),
        }
    }

    /// What it has noted.
    pub fn end(mut self) -> Vec<Stall> {
        self.is_over.store(true, Ordering::Relaxed);
        let thread = self.thread.take();
        thread.map_or_else(Vec::new, |thread| thread.join().expect("it only reads"))
    }
}

/// How long each thread has waited for a processor since it began, when that was last read.
#[derive(Default)]
struct Waits(HashMap<PathBuf, Duration>);

impl Waits {
    /// The longest that a thread has waited since this was asked before, and whose it is.
    fn longest(&mut self) -> Option<(Duration, String)> {
        let mut now = HashMap::new();
        let mut longest: Option<(Duration, PathBuf)> = None;
        for task in tasks() {
            let Some(waited) = waited(&task) else {
                // It has ended.
                continue;
            };
            // A thread that was not there before has waited since then.
            let before = self.0.get(&task).copied().unwrap_or_default();
            let more = waited.saturating_sub(before);
            now.insert(task.clone(), waited);
            longest = longest.max(Some((more, task)));
        }
        self.0 = now;
        let (waited, task) = longest?;
        let name = fs::read_to_string(task.join("comm")).unwrap_or_default();
        Some((waited, format!("{} ({})", name.trim(), task.display())))
    }
}

fn waited(task: &Path) -> Option<Duration> {
    let schedstat = fs::read_to_string(task.join("schedstat")).ok()?;
    let waited = schedstat.split_whitespace().nth(1)?;
    Some(Duration::from_nanos(waited.parse().ok()?))
}

/// Each thread of this process and of those below it.
fn tasks() -> Vec<PathBuf> {
    let mut all = Vec::new();
    let mut processes = vec!["self".to_owned()];
    while let Some(process) = processes.pop() {
        let tasks = fs::read_dir(format!("/proc/{process}/task"));
        for task in tasks.into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            processes.extend(children.split_whitespace().map(str::to_owned));
            all.push(task.path());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use natter_test_support::Process;

    use super::*;

    /// Three that never rest, on one processor: each waits two thirds of the time.
    #[tokio::test]
    async fn a_process_that_is_kept_from_running_is_seen() {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let allowed = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let one = allowed.unwrap().trim().split([',', '-']).next().unwrap();
        let busy = ["-c", one, "sh", "-c", "while :; do :; done"];
        let start = |_| Process::start(Path::new("taskset"), &busy, &[]);
        let place = Place::new(String::new(), String::new(), Vec::new(), Vec::new());
        let watch = Watch::start(&place);
        let running = [(); 3].map(start);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let stalls = watch.end();
        drop(running);
        let is_theirs = |stall: &&Stall| stall.who.starts_with("sh (");
        let all = stalls
            .iter()
            .filter(is_theirs)
            .map(|stall| stall.to - stall.from);
        let all: Duration = all.sum();
        assert!(all > Duration::from_millis(200), "{stalls:?}");
    }
}
