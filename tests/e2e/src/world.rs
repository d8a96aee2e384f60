//! A running Natter.

use std::{
    collections::BTreeMap,
    process::{Output, Stdio},
    time::Duration,
};

use async_nats::jetstream::context::GetStreamErrorKind;
use natter_test_support::{
    Friends, Link, Lossy, Nats, PATIENCE, Person, Postgres, Process, Recorder, Signal, befriend,
    binary, leak, until,
};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection};
use tempfile::TempDir;
use tokio::{
    process::Command,
    time::{Instant, sleep},
};

use crate::jetstream;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// All services in one process.
    Standalone,
    /// A process each: two gateways and two messages replicas.
    Apart,
}

/// Natter, its database and its broker. Everything ends with it.
pub struct World {
    pub postgres: Postgres,
    pub nats: Nats,
    /// The link between Natter and its broker.
    way: Way,
    services: BTreeMap<&'static str, Service>,
    /// Every setting of every process and of the set-up.
    variables: Vec<(String, String)>,
    /// The media store, removed when the test ends.
    pub media: TempDir,
}

enum Way {
    Straight,
    Lossy(Lossy),
    Recorded(Recorder),
}

impl Way {
    fn to(&self, nats: &Nats) -> String {
        match self {
            Self::Straight => nats.urls().join(","),
            Self::Lossy(lossy) => lossy.url(),
            Self::Recorded(recorder) => recorder.url(),
        }
    }
}

struct Service {
    program: &'static str,
    variables: Vec<(String, String)>,
    process: Process,
    /// What it said before its last start.
    said: Vec<String>,
    public: String,
    admin: String,
}

impl Service {
    /// Starts it at the addresses that it had, with the settings that it has now.
    fn launch_again(&mut self) {
        self.said.extend(self.process.lines());
        self.process = launch(self.program, &self.variables, &self.public, &self.admin);
    }
}

impl World {
    pub async fn start(topology: Topology) -> Self {
        Self::start_with(topology, &[]).await
    }

    /// Starts with more settings than the necessary ones.
    pub async fn start_with(topology: Topology, settings: &[(&str, &str)]) -> Self {
        let (postgres, nats) = tokio::join!(Postgres::start(), Nats::start());
        Self::start_on(topology, settings, postgres, nats, Way::Straight).await
    }

    /// Starts with three NATS servers that are a cluster, and every stream on all of them.
    pub async fn start_clustered(topology: Topology) -> Self {
        let (postgres, nats) = tokio::join!(Postgres::start(), Nats::start_cluster());
        Self::start_between(topology, postgres, nats).await
    }

    /// Starts on servers that run already; of several NATS servers each has every stream.
    pub async fn start_between(topology: Topology, postgres: Postgres, nats: Nats) -> Self {
        if nats.urls().len() == 1 {
            return Self::start_on(topology, &[], postgres, nats, Way::Straight).await;
        }
        let settings = [("NATTER_STREAM_REPLICAS", "3")];
        has_leader(&nats).await;
        let world = Self::start_on(topology, &settings, postgres, nats, Way::Straight).await;
        world.replicated().await;
        world
    }

    /// Waits until every server of the cluster has all of every stream.
    pub async fn replicated(&self) {
        until("every server has every stream", || async {
            let broker = jetstream(&self.nats, "admin").await;
            for name in ["USERS", "FRIENDSHIPS", "CHAT", "KV_revoked_sessions"] {
                let stream = broker.get_stream(name).await.ok()?;
                let cluster = stream.cached_info().cluster.clone()?;
                let others = cluster.replicas.iter();
                let current = others.filter(|peer| peer.current && !peer.offline);
                if cluster.leader.is_none() || current.count() < 2 {
                    return None;
                }
            }
            Some(())
        })
        .await;
    }

    /// Starts behind a link to NATS that loses, repeats and reorders log events.
    pub async fn start_lossy(topology: Topology) -> Self {
        let (postgres, nats) = tokio::join!(Postgres::start(), Nats::start());
        let way = Way::Lossy(Lossy::start(&nats.url()).await);
        Self::start_on(topology, &[], postgres, nats, way).await
    }

    /// Starts with a link that records what Natter publishes over NATS, for [`World::said`].
    pub async fn start_recorded(topology: Topology) -> Self {
        let (postgres, nats) = tokio::join!(Postgres::start(), Nats::start());
        let way = Way::Recorded(Recorder::start(&nats.url()).await);
        Self::start_on(topology, &[], postgres, nats, way).await
    }

    /// Starts on a database that another version has left.
    pub async fn start_from(topology: Topology, dump: &str) -> Self {
        let (postgres, nats) = tokio::join!(Postgres::start(), Nats::start());
        let mut admin = postgres.admin("natter").await;
        let load = sqlx::raw_sql(AssertSqlSafe(dump)).execute(&mut admin).await;
        load.expect("it was dumped from such a one");
        Self::start_on(topology, &[], postgres, nats, Way::Straight).await
    }

    async fn start_on(
        topology: Topology,
        settings: &[(&str, &str)],
        postgres: Postgres,
        nats: Nats,
        way: Way,
    ) -> Self {
        let media = TempDir::with_prefix("natter-media-").expect("a temporary folder");
        let mut variables = vec![
            ("NATTER_NATS_URL".to_owned(), way.to(&nats)),
            ("NATTER_RATE_LIMITS".to_owned(), "off".to_owned()),
        ];
        variables.extend(Nats::passwords());
        for schema in ["users", "friendships", "messages"] {
            for role in [schema.to_owned(), format!("{schema}_owner")] {
                let name = format!("NATTER_{}_DATABASE_URL", role.to_uppercase());
                variables.push((name, postgres.url(&role)));
            }
        }
        if !settings
            .iter()
            .any(|(name, _)| name.starts_with("NATTER_MEDIA_S3_"))
        {
            let folder = media.path().to_string_lossy().into_owned();
            variables.push(("NATTER_MEDIA_DIR".to_owned(), folder));
        }
        for (name, value) in settings {
            variables.push(((*name).to_owned(), (*value).to_owned()));
        }
        let setup = admin(&["setup"], &variables).await;
        assert!(setup.status.success(), "{setup:?}");
        let programs: &[(&'static str, &'static str)] = match topology {
            Topology::Standalone => &[("standalone", "natter-standalone")],
            Topology::Apart => &[
                ("users", "natter-users"),
                ("friendships", "natter-friendships"),
                ("messages", "natter-messages"),
                ("messages-2", "natter-messages"),
                ("gateway", "natter-gateway"),
                ("gateway-2", "natter-gateway"),
            ],
        };
        // Together, as an orchestrator starts them: each waits for what it needs.
        let mut started = Vec::new();
        for (name, program) in programs {
            let own = variables.iter().filter(|(name, _)| is_for(program, name));
            let own: Vec<(String, String)> = own.cloned().collect();
            let process = launch(program, &own, "127.0.0.1:0", "127.0.0.1:0");
            started.push((*name, *program, own, process));
        }
        let mut services = BTreeMap::new();
        for (name, program, variables, mut process) in started {
            let (public, admin) = addresses(&mut process).await;
            services.insert(
                name,
                Service {
                    program,
                    variables,
                    process,
                    said: Vec::new(),
                    public,
                    admin,
                },
            );
        }
        let world = Self {
            postgres,
            nats,
            way,
            services,
            variables,
            media,
        };
        world.ready().await;
        world
    }

    /// What its processes have published over NATS.
    pub fn said(&self) -> Vec<Value> {
        match &self.way {
            Way::Recorded(recorder) => recorder.published(),
            Way::Straight | Way::Lossy(_) => Vec::new(),
        }
    }

    /// Waits until every process is ready.
    pub async fn ready(&self) {
        for name in self.names() {
            self.ready_one(name).await;
        }
    }

    async fn ready_one(&self, name: &str) {
        let service = &self.services[name];
        let url = format!("http://{}/readyz", service.admin);
        let give_up = Instant::now() + PATIENCE;
        loop {
            let said = match reqwest::get(&url).await {
                Ok(answer) if answer.status().is_success() => return,
                Ok(answer) => answer.text().await.unwrap_or_default(),
                Err(error) => error.to_string(),
            };
            let log = || service.process.lines().join("\n");
            assert!(Instant::now() < give_up, "{name}: {said}\n{}", log());
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// The names of the running processes.
    pub fn names(&self) -> Vec<&'static str> {
        self.services.keys().copied().collect()
    }

    pub fn users(&self) -> String {
        self.url("users")
    }

    pub fn friendships(&self) -> String {
        self.url("friendships")
    }

    pub fn messages(&self) -> String {
        self.url("messages")
    }

    pub fn gateway(&self) -> String {
        self.url("gateway")
    }

    pub fn gateway_2(&self) -> String {
        self.url("gateway-2")
    }

    /// The base URL of a service: of the one process, where there is only that.
    pub fn url(&self, name: &str) -> String {
        let service = self
            .services
            .get(name)
            .or_else(|| self.services.get("standalone"));
        format!("http://{}", service.expect("a service of this name").public)
    }

    /// Two people who have signed up, and their open channel.
    pub async fn friends(&self) -> Friends {
        let alice = Person::sign_up(&self.users(), "alice").await;
        let bob = Person::sign_up(&self.users(), "bob").await;
        let channel = befriend(&self.friendships(), &alice, &bob).await;
        // Who connects now is told of what happens from now on.
        self.published().await;
        Friends {
            alice,
            bob,
            channel,
        }
    }

    /// Everything that some processes have printed.
    pub fn log<const N: usize>(&self, names: [&str; N]) -> String {
        let running = names.iter().filter_map(|name| self.services.get(name));
        let lines: Vec<String> = running.flat_map(|one| one.process.lines()).collect();
        lines.join("\n")
    }

    /// What each process has logged since its first start, by its name.
    pub fn logs(&self) -> BTreeMap<&'static str, String> {
        let logs = self.services.iter().map(|(name, one)| {
            let lines = [one.said.clone(), one.process.lines()].concat();
            (*name, lines.join("\n"))
        });
        logs.collect()
    }

    /// Waits until everything in the outboxes is published, and marked as that.
    pub async fn published(&self) {
        let mut admin = self.postgres.admin("natter").await;
        let give_up = Instant::now() + PATIENCE;
        loop {
            let waiting: i64 = sqlx::query_scalar(
                "SELECT (SELECT count(*) FROM users.outbox WHERE published_at IS NULL)
                      + (SELECT count(*) FROM friendships.outbox WHERE published_at IS NULL)
                      + (SELECT count(*) FROM messages.outbox WHERE published_at IS NULL)",
            )
            .fetch_one(&mut admin)
            .await
            .expect("the tables are there");
            if waiting == 0 {
                return;
            }
            let log = || self.log(["users", "friendships", "messages"]);
            assert!(Instant::now() < give_up, "{waiting} events wait\n{}", log());
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Whether a process says that it is ready.
    pub async fn is_ready(&self, name: &str) -> bool {
        let url = format!("http://{}/readyz", self.services[name].admin);
        let answer = reqwest::get(&url).await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// What a process shows at `/metrics`.
    pub async fn metrics(&self, name: &str) -> reqwest::Result<String> {
        let url = format!("http://{}/metrics", self.services[name].admin);
        reqwest::get(url).await?.text().await
    }

    /// What a process has counted under a metric's name, whatever the labels.
    pub async fn count(&self, process: &str, metric: &str) -> f64 {
        let metrics = self.metrics(process).await.expect("metrics");
        let samples = metrics.lines().filter(|line| {
            let name = line.split(['{', ' ']).next();
            name == Some(metric)
        });
        let mut samples = samples.peekable();
        assert!(samples.peek().is_some(), "{process} does not show {metric}");
        let values = samples.map(|line| line.rsplit(' ').next().unwrap_or_default());
        values
            .map(|value| value.parse::<f64>().expect("a number"))
            .sum()
    }

    /// The kernel's id of a process.
    pub fn process_id(&self, name: &str) -> Option<u32> {
        self.services[name].process.id()
    }

    /// Sends a signal to a process.
    pub async fn signal(&self, name: &str, signal: Signal) {
        self.services[name].process.signal(signal).await;
    }

    pub fn process(&mut self, name: &str) -> &mut Process {
        &mut self
            .services
            .get_mut(name)
            .expect("a service of this name")
            .process
    }

    /// Starts another replica of a running service.
    pub async fn add(&mut self, name: &'static str, like: &str) {
        let Service {
            program, variables, ..
        } = &self.services[like];
        let (program, variables) = (*program, variables.clone());
        let mut process = launch(program, &variables, "127.0.0.1:0", "127.0.0.1:0");
        let (public, admin) = addresses(&mut process).await;
        let service = Service {
            program,
            variables,
            process,
            said: Vec::new(),
            public,
            admin,
        };
        self.services.insert(name, service);
        self.ready_one(name).await;
    }

    /// Locks a table until the connection ends.
    pub async fn lock(&self, table: &str, mode: &str) -> PgConnection {
        let mut admin = self.postgres.admin("natter").await;
        let lock = format!("BEGIN; LOCK TABLE {table} IN {mode} MODE");
        let locked = sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut admin).await;
        locked.expect("a superuser may");
        admin
    }

    /// Waits until a statement of this service waits for a lock.
    pub async fn waits_for_lock(&self, service: &str) {
        until("a request waits for the lock", || async {
            let mut admin = self.postgres.admin("natter").await;
            let waiting: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM pg_stat_activity
                 WHERE application_name = $1 AND wait_event_type = 'Lock'",
            )
            .bind(service)
            .fetch_one(&mut admin)
            .await
            .ok()?;
            (waiting > 0).then_some(())
        })
        .await;
    }

    /// Gives a process a setting that counts from its next start on.
    pub fn set(&mut self, name: &str, setting: &str, value: &str) {
        let service = self.services.get_mut(name).expect("a service of this name");
        let setting = (setting.to_owned(), value.to_owned());
        service.variables.push(setting);
    }

    /// Starts a process again with a link between it and NATS.
    pub async fn link_to_nats(&mut self, name: &str) -> Link {
        let link = Link::start(self.nats.port()).await;
        let url = format!("nats://127.0.0.1:{}", link.port());
        self.set(name, "NATTER_NATS_URL", &url);
        self.restart(name, Signal::Term).await;
        link
    }

    /// Starts replicas of a service again with a link between them and Postgres.
    pub async fn link_to_postgres(&mut self, service: &str, replicas: &[&str]) -> Link {
        let link = Link::start(self.postgres.port()).await;
        let url = self.postgres.url_through(link.port(), service);
        let setting = format!("NATTER_{}_DATABASE_URL", service.to_uppercase());
        for name in replicas {
            self.set(name, &setting, &url);
            self.restart(name, Signal::Term).await;
        }
        link
    }

    /// Ends a process and starts it again, which it is expected to refuse; its sentence.
    pub async fn refusal(&mut self, name: &str) -> String {
        let service = self.services.get_mut(name).expect("a service of this name");
        service.process.end(Signal::Term).await;
        service.launch_again();
        assert_ne!(service.process.ended().await, Some(0), "it did not refuse");
        until("why it refused", || async {
            let lines = service.process.lines();
            lines
                .last()
                .filter(|line| line.starts_with("natter-"))
                .cloned()
        })
        .await
    }

    /// Runs the operator's tool on this Natter.
    pub async fn admin(&self, arguments: &[&str], settings: &[(&str, &str)]) -> Output {
        let mut variables = self.variables.clone();
        for (name, value) in settings {
            variables.push(((*name).to_owned(), (*value).to_owned()));
        }
        admin(arguments, &variables).await
    }

    /// The same without one of the settings that it needs.
    pub async fn admin_without(
        &self,
        arguments: &[&str],
        missing: &str,
        settings: &[(&str, &str)],
    ) -> Output {
        let others = self.variables.iter().filter(|(name, _)| name != missing);
        let mut variables: Vec<(String, String)> = others.cloned().collect();
        for (name, value) in settings {
            variables.push(((*name).to_owned(), (*value).to_owned()));
        }
        admin(arguments, &variables).await
    }

    /// What `--ready` says of a process, and its exit code.
    pub async fn ask_ready(&self, name: &str) -> (String, Option<i32>) {
        let service = &self.services[name];
        let output = Command::new(binary(service.program))
            .arg("--ready")
            .envs(service.variables.iter().map(|(name, value)| (name, value)))
            .env("NATTER_ADMIN_LISTEN", &service.admin)
            .output()
            .await
            .expect("it is built");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (said, output.status.code())
    }

    /// Starts a process that has ended, and waits for nothing.
    pub fn begin(&mut self, name: &str) {
        let service = self.services.get_mut(name).expect("a service of this name");
        service.launch_again();
    }

    /// Ends a process with a signal and starts it again at its address.
    pub async fn restart(&mut self, name: &str, signal: Signal) {
        let service = self.services.get_mut(name).expect("a service of this name");
        service.process.end(signal).await;
        service.launch_again();
        addresses(&mut service.process).await;
        self.ready_one(name).await;
    }
}

/// Whether a program is given a setting: of the secrets only its own.
fn is_for(program: &str, setting: &str) -> bool {
    let secret = setting
        .strip_suffix("_NATS_PASSWORD")
        .or_else(|| setting.strip_suffix("_DATABASE_URL"));
    let Some(owner) = secret.and_then(|name| name.strip_prefix("NATTER_")) else {
        return true;
    };
    let services = ["USERS", "FRIENDSHIPS", "MESSAGES", "GATEWAY"];
    services.contains(&owner)
        && (program == "natter-standalone" || program == format!("natter-{}", owner.to_lowercase()))
}

/// Runs the operator's tool to its end.
async fn admin(arguments: &[&str], variables: &[(String, String)]) -> Output {
    let variables = variables.iter().map(|(name, value)| (name, value));
    let run = Command::new(binary("natter-admin"))
        .args(arguments)
        .envs(variables)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = run.await.expect("natter-admin runs");
    let said =
        [&output.stdout, &output.stderr].map(|out| String::from_utf8_lossy(out).into_owned());
    assert_eq!(leak(&said), None, "natter-admin said what it must not");
    output
}

fn launch(program: &str, variables: &[(String, String)], public: &str, admin: &str) -> Process {
    let mut variables = variables.to_vec();
    variables.push(("NATTER_LISTEN".to_owned(), public.to_owned()));
    variables.push(("NATTER_ADMIN_LISTEN".to_owned(), admin.to_owned()));
    variables.push(("NATTER_LOG_FORMAT".to_owned(), "json".to_owned()));
    Process::start(&binary(program), &[], &variables)
}

/// Where a process listens, from its log.
async fn addresses(process: &mut Process) -> (String, String) {
    process
        .line("where it listens", |line| {
            let line: Value = serde_json::from_str(line).ok()?;
            let fields = &line["fields"];
            (fields["message"] == "listening").then_some(())?;
            let address = |name: &str| fields[name].as_str().map(str::to_owned);
            Some((address("public")?, address("admin")?))
        })
        .await
}

/// Waits until the servers of a cluster have agreed on who leads them.
async fn has_leader(nats: &Nats) {
    until("the cluster has a leader", || async {
        let broker = jetstream(nats, "admin").await;
        let error = broker.get_stream("CHAT").await.err()?;
        let GetStreamErrorKind::JetStream(error) = error.kind() else {
            return None;
        };
        // Until then it says that it is not available.
        (error.code() == 404).then_some(())
    })
    .await;
}
