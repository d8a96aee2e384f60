//! From the command line to the last log line.

use std::{net::SocketAddr, process::ExitCode, sync::Arc};

use anyhow::Context;
use axum::{Router, http::StatusCode, response::IntoResponse, routing::get};
use clap::{Args, Parser, Subcommand};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Health, ProcessSettings,
    options::{fail, parse},
    probe, telemetry,
    telemetry::Telemetry,
};

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

    /// Starts nothing: asks the process at NATTER_ADMIN_LISTEN whether it is ready, and ends with 0 if it is
    #[arg(long)]
    ready: bool,
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
    if options.ready {
        end(name, probe::ready(options.process.admin_listen))
    } else {
        end(name, run_with(name, options, start))
    }
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
    telemetry::start_task();
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
    // Both addresses are bound before anything is set up: a port in use is the first thing told.
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
    let head_timeout = process.settings.http.head_timeout();
    let stopping = process.shutdown.clone();
    process
        .tasks
        .spawn(natter_http::serve(public, routes, head_timeout, stopping));
    process.health.start();
    // The tests read this line to learn the ports.
    tracing::info!(service = name, public = %public_address, admin = %admin_address, "listening");

    let signal = signal.await;
    process.health.drain();
    let delay = process.settings.shutdown_delay();
    if !delay.is_zero() {
        tracing::info!(signal, ?delay, "unready; still serving what comes");
        tokio::time::sleep(delay).await;
    }
    tracing::info!(signal, "draining");
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
            if missing.is_empty() {
                (StatusCode::OK, "ready\n".to_owned()).into_response()
            } else {
                (
                    StatusCode::SERVICE_UNAVAILABLE,
                    format!("waiting for: {}\n", missing.join(", ")),
                )
                    .into_response()
            }
        }
    };
    Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(move || async move { metrics.render() }))
}
