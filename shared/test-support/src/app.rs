//! Services in the test's own process: their real routers on a real Postgres and a real NATS.

use std::sync::Arc;

use axum::Router;
use clap::{Args, Parser};
use natter_bus::{Bus, BusSettings, StreamSettings};
use natter_process::{Health, Process, ProcessSettings};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{Nats, PATIENCE, Postgres, until};

/// A service that is answering, with its database and its broker. Everything ends with it.
pub struct App {
    pub postgres: Postgres,
    pub nats: Nats,
    url: String,
    process: Process,
    // Removed when the test ends.
    _media: TempDir,
}

#[derive(Parser)]
struct Options<S: Args> {
    #[command(flatten)]
    process: ProcessSettings,
    #[command(flatten)]
    bus: BusSettings,
    #[command(flatten)]
    streams: StreamSettings,
    #[command(flatten)]
    service: S,
}

impl App {
    /// Starts what `start` sets up of the named services. `settings` come on top of the necessary
    /// ones, by the names of their environment variables.
    pub async fn start<S: Args>(
        services: &[&str],
        settings: &[(&str, &str)],
        start: impl AsyncFnOnce(S, BusSettings, &Postgres, &Process) -> anyhow::Result<Router>,
    ) -> Self {
        let (postgres, nats) = tokio::join!(Postgres::start(), Nats::start());
        let media = TempDir::with_prefix("natter-media-").expect("a temporary folder");
        let options: Options<S> = parse(services, settings, &postgres, &nats, &media);
        let password = Nats::password("admin").parse().expect("a password");
        let admin = Bus::connect(&options.bus, "admin", &password, PATIENCE).await;
        let admin = admin.expect("NATS answers");
        let set_up = admin.set_up_streams(&options.streams).await;
        set_up.expect("the streams");
        let process = Process {
            settings: Arc::new(options.process),
            health: Health::default(),
            shutdown: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let routes = start(options.service, options.bus, &postgres, &process).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        process.tasks.spawn(natter_http::serve(
            listener,
            routes.expect("it starts"),
            process.settings.http.head_timeout(),
            process.shutdown.clone(),
        ));
        process.health.start();
        until("the service is ready", async || {
            process.health.missing().await.is_empty().then_some(())
        })
        .await;
        Self {
            postgres,
            nats,
            url: format!("http://{address}"),
            process,
            _media: media,
        }
    }

    /// Where it answers.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.process.shutdown.cancel();
    }
}

/// The settings, as flags: the environment belongs to all tests together.
fn parse<P: Parser>(
    services: &[&str],
    settings: &[(&str, &str)],
    postgres: &Postgres,
    nats: &Nats,
    media: &TempDir,
) -> P {
    let folder = media.path().to_string_lossy().into_owned();
    let mut variables = vec![
        ("NATTER_NATS_URL".to_owned(), nats.url()),
        ("NATTER_RATE_LIMITS".to_owned(), "off".to_owned()),
        ("NATTER_MEDIA_DIR".to_owned(), folder),
    ];
    for service in services {
        let name = service.to_uppercase();
        let password = format!("NATTER_{name}_NATS_PASSWORD");
        variables.push((password, Nats::password(service)));
        let url = format!("NATTER_{name}_DATABASE_URL");
        variables.push((url, postgres.url(service)));
    }
    for (name, value) in settings {
        variables.retain(|(known, _)| known != name);
        variables.push(((*name).to_owned(), (*value).to_owned()));
    }
    let flag = |name: &str| {
        let name = name.trim_start_matches("NATTER_").to_lowercase();
        format!("--{}", name.replace('_', "-"))
    };
    let flags = variables
        .iter()
        .map(|(name, value)| format!("{}={value}", flag(name)));
    P::parse_from(std::iter::once("test".to_owned()).chain(flags))
}
