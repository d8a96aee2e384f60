//! Generated frames and HTTP requests, and a judge of every answer: whatever is sent, nothing
//! panics, nothing hangs, and what comes back is documented.
//!
//! The choices follow from a seed; the ids in what is sent are those of the run.

mod bodies;
mod frames;
mod judge;
mod mutate;
mod wire;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use natter_e2e::{Topology, World};
use natter_test_support::{PASSWORD, Person, befriend, leak};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

/// The longest that an access token may live.
const ACCESS_SECONDS: &str = "86400";
const PROGRESS: Duration = Duration::from_secs(30);
/// Of each task's violations so many are told in full.
const TOLD: usize = 20;
/// What people write: it must never stand in a log.
const WRITTEN: &str = "nobody else's business";
/// The password of those who send broken bodies. A body that is broken may have it in the place of the
/// username, which the service logs as documented: so it is another than [`PASSWORD`], which must
/// stand nowhere in a log, and is looked for by [`says_password`].
const BODIES_PASSWORD: &str = "Br0ken!bodies";

/// How much is sent.
#[derive(Clone, Copy, Debug)]
pub struct Fuzz {
    pub frames: u64,
    pub bodies: u64,
    pub seed: u64,
}

/// How it went.
#[derive(Debug)]
pub struct Report {
    pub seed: u64,
    pub frames: u64,
    pub frames_time: Duration,
    /// What the gateway says that it has read.
    pub frames_read: u64,
    pub bodies: u64,
    pub bodies_time: Duration,
    /// What came back, and how often.
    pub counts: BTreeMap<String, u64>,
    /// The first of them; `more` are not told.
    pub violations: Vec<String>,
    pub more: u64,
}

/// What a task has found.
#[derive(Debug, Default)]
struct Findings {
    counts: BTreeMap<String, u64>,
    violations: Vec<String>,
    more: u64,
}

impl Findings {
    fn count(&mut self, what: &str) {
        self.add(what, 1);
    }

    fn add(&mut self, what: &str, more: u64) {
        match self.counts.get_mut(what) {
            Some(count) => *count += more,
            None => {
                self.counts.insert(what.to_owned(), more);
            }
        }
    }

    fn violation(&mut self, what: String) {
        if self.violations.len() < TOLD {
            self.violations.push(what);
        } else {
            self.more += 1;
        }
    }

    fn take(&mut self, other: Self) {
        for (what, count) in &other.counts {
            self.add(what, *count);
        }
        self.violations.extend(other.violations);
        self.more += other.more;
    }
}

/// Sends frames, then HTTP requests, to a Natter of its own. The report is said before that Natter is
/// let go: then a process that has logged what it must not ends everything.
pub async fn fuzz(settings: Fuzz, say: impl Fn(String)) -> anyhow::Result<Report> {
    let life = [("NATTER_ACCESS_TOKEN_SECONDS", ACCESS_SECONDS)];
    let mut world = World::start_with(Topology::Standalone, &life).await;
    let mut findings = Findings::default();

    let sent = Arc::new(AtomicU64::new(0));
    let tasks = frames::tasks(&world, settings, &sent).await;
    let frames_time = finish(tasks, &mut findings, "frames", &sent, &say).await?;
    let frames = sent.swap(0, Ordering::Relaxed);
    let read = world.metrics("standalone").await.ok();
    let frames_read = read.and_then(|metrics| sample(&metrics, "gateway_frames_received_total"));

    let tasks = bodies::tasks(&world, settings, &sent).await?;
    let bodies_time = finish(tasks, &mut findings, "requests", &sent, &say).await?;

    findings.take(judge_process(&mut world).await);
    let Findings {
        counts,
        violations,
        more,
    } = findings;
    let report = Report {
        seed: settings.seed,
        frames,
        frames_time,
        frames_read: frames_read.unwrap_or_default(),
        bodies: sent.load(Ordering::Relaxed),
        bodies_time,
        counts,
        violations,
        more,
    };
    say(report.to_string());
    Ok(report)
}

/// Waits for all; how long it took.
async fn finish(
    mut tasks: JoinSet<Findings>,
    findings: &mut Findings,
    what: &str,
    sent: &AtomicU64,
    say: &impl Fn(String),
) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    loop {
        tokio::select! {
            ended = tasks.join_next() => match ended {
                Some(found) => findings.take(found?),
                None => break,
            },
            () = sleep(PROGRESS) => {
                let (sent, seconds) = (sent.load(Ordering::Relaxed), begun.elapsed().as_secs_f64());
                say(format!("{seconds:8.1} s  {sent} {what}"));
            }
        }
    }
    Ok(begun.elapsed())
}

/// What the process says of itself when all is sent.
async fn judge_process(world: &mut World) -> Findings {
    let mut findings = Findings::default();
    if world.process("standalone").has_ended() {
        findings.violation("the process has ended".to_owned());
    } else {
        if !world.is_ready("standalone").await {
            findings.violation("it is not ready".to_owned());
        }
        if world.metrics("standalone").await.is_err() {
            findings.violation("it shows no metrics".to_owned());
        }
        if let Err(error) = frames::serves(world).await {
            findings.violation(format!("nobody is served: {error:#}"));
        }
    }
    let lines = world.process("standalone").lines();
    for line in &lines {
        let level = serde_json::from_str(line).map(|line: Value| line["level"] == "ERROR");
        if line.contains("panicked") || level.unwrap_or(false) {
            findings.violation(format!("logged: {line}"));
        }
    }
    let mut own = lines.iter();
    let told = own.find(|line| line.contains(WRITTEN) || says_password(line));
    if let Some(line) = leak(&lines).or(told) {
        findings.violation(format!("logged what it must not: {line}"));
    }
    findings
}

/// Whether a line of the log has the password of those who send bodies, elsewhere than as the username
/// that somebody gave.
fn says_password(line: &str) -> bool {
    let Ok(mut line) = serde_json::from_str::<Value>(line) else {
        return line.contains(BODIES_PASSWORD);
    };
    if let Some(fields) = line["fields"].as_object_mut() {
        fields.remove("username");
    }
    line.to_string().contains(BODIES_PASSWORD)
}

fn sample(metrics: &str, name: &str) -> Option<u64> {
    let line = metrics.lines().find(|line| line.starts_with(name))?;
    let value: f64 = line.rsplit(' ').next()?.parse().ok()?;
    Some(value as u64)
}

/// Two friends, and a third who has closed the channel with the first.
struct Circle {
    friends: [Person; 2],
    channel: String,
    closed: String,
}

impl Circle {
    async fn meet(url: &str) -> Self {
        Self::meet_with(url, PASSWORD).await
    }

    /// The first of them has this password.
    async fn meet_with(url: &str, password: &str) -> Self {
        let alice = Person::sign_up_with(url, "alice", password).await;
        let bob = Person::sign_up(url, "bob").await;
        let carol = Person::sign_up(url, "carol").await;
        let channel = befriend(url, &alice, &bob).await;
        let closed = befriend(url, &alice, &carol).await;
        let reject = json!({"friendship_id": closed, "status": "rejected"});
        let (status, said) = carol
            .patch(&format!("{url}/api/users/friendship/"), reject)
            .await;
        assert_eq!(status, 200, "{said}");
        Self {
            friends: [alice, bob],
            channel,
            closed,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = |count: u64, time: Duration| count as f64 / time.as_secs_f64().max(0.001);
        for (what, count, time) in [
            ("frames", self.frames, self.frames_time),
            ("HTTP requests", self.bodies, self.bodies_time),
        ] {
            let (seconds, rate) = (time.as_secs_f64(), rate(count, time));
            writeln!(
                f,
                "{what:<40}{count:>10}  in {seconds:.1} s, {rate:.0} a second"
            )?;
        }
        writeln!(f, "{:<40}{:>10}", "frames of text read", self.frames_read)?;
        for (what, count) in &self.counts {
            writeln!(f, "{what:<40}{count:>10}")?;
        }
        let violations = self.violations.len() as u64 + self.more;
        writeln!(f, "{:<40}{violations:>10}", "violations")?;
        writeln!(f, "seed {}", self.seed)?;
        for violation in &self.violations {
            writeln!(f, "{violation}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use natter_test_support::leak;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_password_in_a_log_is_seen_unless_it_was_given_as_a_username() {
        let line = |fields| json!({"level": "WARN", "fields": fields}).to_string();
        let text = format!("x{BODIES_PASSWORD}y");
        let refused = line(json!({"message": "login refused", "username": text}));
        assert!(!says_password(&refused));
        assert_eq!(leak(&[refused]), None);
        for told in [
            line(json!({"message": "login refused", "password": text})),
            line(json!({"message": text, "username": text})),
            json!({"fields": {"username": "x"}, "span": {"username": text}}).to_string(),
            format!("thread panicked at {BODIES_PASSWORD}"),
        ] {
            assert!(says_password(&told), "{told}");
        }
    }
}
