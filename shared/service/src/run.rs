//! From the command line to the last log line.

use std::{io::Write, net::SocketAddr, process::ExitCode, sync::Arc};

use anyhow::Context;
use axum::{Router, http::StatusCode, response::IntoResponse, routing::get};
use clap::{
    Args, Parser, Subcommand,
    error::{ContextKind, ContextValue, ErrorKind},
};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{Health, ProcessSettings, telemetry, telemetry::Telemetry};

/// What stands in the names of settings that are, or hold, secrets.
const SECRETS: [&str; 3] = ["PASSWORD", "DATABASE_URL", "SECRET"];

/// What a service is given of the process it lives in.
#[derive(Clone)]
pub struct Process {
    pub settings: Arc<ProcessSettings>,
    pub health: Health,
    /// Cancelled when the process should end.
    pub shutdown: CancellationToken,
    /// Every task that must end before the process does.
    pub tasks: TaskTracker,
}

#[derive(Parser)]
struct Options<S: Args> {
    #[command(flatten)]
    process: ProcessSettings,
    #[command(flatten)]
    service: S,
}

#[derive(Parser)]
struct TaskOptions<T: Subcommand> {
    #[command(subcommand)]
    task: T,
}

/// Runs a service as a process: reads its settings from the environment, lets `start` set it up,
/// serves its router until SIGTERM or SIGINT, and then lets everything finish within the deadline.
///
/// What stops the start is one sentence on standard error and exit status 1.
pub fn run<S, F, Fut>(name: &'static str, about: &'static str, start: F) -> ExitCode
where
    S: Args,
    F: FnOnce(S, Process) -> Fut,
    Fut: Future<Output = anyhow::Result<Router>>,
{
    let options = match parse::<Options<S>>(name, about) {
        Ok(options) => options,
        Err(code) => return code,
    };
    end(name, run_with(name, options, start))
}

/// Runs a tool to its end: reads what to do from the command line and its settings from the
/// environment.
pub fn run_task<T, F, Fut>(name: &'static str, about: &'static str, work: F) -> ExitCode
where
    T: Subcommand,
    F: FnOnce(T) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let options = match parse::<TaskOptions<T>>(name, about) {
        Ok(options) => options,
        Err(code) => return code,
    };
    let done = runtime().and_then(|runtime| runtime.block_on(work(options.task)));
    end(name, done)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime could not be started")
}

fn end(name: &str, result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(name, &format!("{error:#}")),
    }
}

fn fail(name: &str, sentence: &str) -> ExitCode {
    // Nothing is left to be done when standard error is closed.
    let _ = writeln!(std::io::stderr(), "{name}: {sentence}");
    ExitCode::FAILURE
}

fn parse<P: Parser>(name: &'static str, about: &'static str) -> Result<P, ExitCode> {
    let command = P::command()
        .name(name)
        .about(about)
        .version(env!("CARGO_PKG_VERSION"))
        .hide_possible_values(false)
        .mut_args(|arg| arg.hide_env_values(true))
        .mut_subcommands(|command| command.mut_args(|arg| arg.hide_env_values(true)));
    let refuse = |error: clap::Error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = write!(std::io::stdout(), "{}", error.render());
            ExitCode::SUCCESS
        }
        _ => {
            let text = error.render().to_string();
            let sentence = text.split("\n\n").next().unwrap_or(&text);
            let words: Vec<&str> = sentence.split_whitespace().collect();
            let sentence = without_secret(&error, words.join(" "));
            fail(name, sentence.trim_start_matches("error: "))
        }
    };
    if let Some(flag) = secret_flag(std::env::args()) {
        return Err(fail(
            name,
            &format!(
                "{flag} would show a secret to everyone on this machine: set it in the environment, see --help"
            ),
        ));
    }
    let matches = command.try_get_matches().map_err(refuse)?;
    P::from_arg_matches(&matches).map_err(refuse)
}

/// A flag of the command line whose value is a secret.
fn secret_flag(arguments: impl Iterator<Item = String>) -> Option<String> {
    let mut flags = arguments.filter_map(|argument| {
        let name = argument.strip_prefix("--")?.split('=').next()?;
        Some(format!("--{name}"))
    });
    flags.find(|flag| {
        SECRETS
            .iter()
            .any(|secret| flag.contains(&secret.to_lowercase().replace('_', "-")))
    })
}

/// The sentence without the refused value, where that may hold a password.
fn without_secret(error: &clap::Error, sentence: String) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    let argument = context(ContextKind::InvalidArg);
    let value = context(ContextKind::InvalidValue);
    let is_secret = SECRETS.iter().any(|secret| argument.contains(secret));
    match !value.is_empty() && is_secret {
        true => sentence.replace(value, "…"),
        false => sentence,
    }
}

fn run_with<S, F, Fut>(name: &'static str, options: Options<S>, start: F) -> anyhow::Result<()>
where
    S: Args,
    F: FnOnce(S, Process) -> Fut,
    Fut: Future<Output = anyhow::Result<Router>>,
{
    let telemetry = Telemetry::start(name, &options.process)?;
    // Reads FAILPOINTS, where the tests' feature is on.
    let _failpoints = fail::FailScenario::setup();
    let runtime = runtime()?;
    let process = Process {
        settings: Arc::new(options.process),
        health: Health::default(),
        shutdown: CancellationToken::new(),
        tasks: TaskTracker::new(),
    };
    let metrics = telemetry.metrics.clone();
    let result = runtime.block_on(serve(name, process, metrics, |process| {
        start(options.service, process)
    }));
    runtime.shutdown_background();
    telemetry.stop();
    result
}

async fn serve<F, Fut>(
    name: &'static str,
    process: Process,
    metrics: PrometheusHandle,
    start: F,
) -> anyhow::Result<()>
where
    F: FnOnce(Process) -> Fut,
    Fut: Future<Output = anyhow::Result<Router>>,
{
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be handled")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be handled")?;
    // Both addresses are taken before anything is set up: a taken port is the first thing told.
    let public = listen("NATTER_LISTEN", process.settings.listen).await?;
    let admin = listen("NATTER_ADMIN_LISTEN", process.settings.admin_listen).await?;
    let admin_address = admin.local_addr()?;
    tokio::spawn(telemetry::upkeep(metrics.clone()));
    let admin_routes = admin_routes(process.health.clone(), metrics);
    tokio::spawn(async move { axum::serve(admin, admin_routes).await });

    let signal = async {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    tokio::pin!(signal);
    let routes = tokio::select! {
        routes = start(process.clone()) => routes?,
        signal = &mut signal => {
            tracing::info!(signal, "stopped before it had started");
            return Ok(());
        }
    };

    let public_address = public.local_addr()?;
    let head_timeout = process.settings.head_timeout();
    let stopping = process.shutdown.clone();
    process
        .tasks
        .spawn(crate::serve::serve(public, routes, head_timeout, stopping));
    process.health.start();
    // The tests read this line to learn the ports.
    tracing::info!(service = name, public = %public_address, admin = %admin_address, "listening");

    let signal = signal.await;
    tracing::info!(signal, "draining");
    process.health.drain();
    process.shutdown.cancel();
    process.tasks.close();
    let deadline = process.settings.shutdown_timeout();
    if tokio::time::timeout(deadline, process.tasks.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            tasks = process.tasks.len(),
            "not everything finished in time"
        );
    }
    tracing::info!("stopped");
    Ok(())
}

async fn listen(setting: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("{setting}={address} cannot be listened on"))
}

fn admin_routes(health: Health, metrics: PrometheusHandle) -> Router {
    let ready = move || {
        let health = health.clone();
        async move {
            let missing = health.missing().await;
            match missing.is_empty() {
                true => (StatusCode::OK, "ready\n".to_owned()).into_response(),
                false => (
                    StatusCode::SERVICE_UNAVAILABLE,
                    format!("waiting for: {}\n", missing.join(", ")),
                )
                    .into_response(),
            }
        }
    };
    Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(move || async move { metrics.render() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_no_flags() {
        let flag =
            |argument: &str| secret_flag(["natter".to_owned(), argument.to_owned()].into_iter());
        for argument in [
            "--users-nats-password=x",
            "--messages-database-url",
            "--media-s3-secret-access-key",
        ] {
            let name = argument.split('=').next().map(str::to_owned);
            assert_eq!(flag(argument), name);
        }
        for argument in [
            "--help",
            "--listen=127.0.0.1:0",
            "--users-database-connections",
        ] {
            assert_eq!(flag(argument), None, "{argument}");
        }
    }
}
