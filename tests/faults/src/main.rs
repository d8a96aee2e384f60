//! `deploy/faults`: a long run, or the judgement of any Natter.

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use natter_faults::{
    client::Place,
    run::{self, Settings},
};

/// Clients do random work while faults strike; then everything that they saw is held against the promises
#[derive(Parser)]
struct Options {
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// For the same choices again
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Three NATS servers instead of one
    #[arg(long)]
    cluster: bool,
    /// Make only the faults with this word in their names, and each once: `--only PostgresFull`
    #[arg(long)]
    only: Vec<String>,
    /// A Natter that runs already, behind its ingress: it is judged, and no faults are made. Its rate limits
    /// must be off (NATTER_RATE_LIMITS=off)
    #[arg(long)]
    url: Option<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let Options {
        minutes,
        seed,
        cluster,
        only,
        url,
    } = Options::parse();
    let length = Duration::from_secs(minutes * 60);
    let say = |line: String| eprintln!("{line}");
    let summary = match url {
        Some(url) => {
            let url = url.trim_end_matches('/').to_owned();
            let place = Place::new(url.clone(), url.clone(), vec![url.clone()], vec![url]);
            run::without_faults(place, seed, length, say).await?
        }
        None => {
            let settings = Settings {
                length: only.is_empty().then_some(length),
                seed,
                is_cluster: cluster,
                only,
                ..Settings::default()
            };
            run::with_faults(settings, say).await?
        }
    };
    eprintln!("{summary}");
    Ok(if summary.violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
