//! `deploy/faults`: long runs of faults, of a steady load and of frames and bodies that nobody means.

use std::{process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand};
use natter_faults::{
    client::Place,
    fuzz::{Fuzz, fuzz},
    run::{self, Settings, Summary},
    soak::{Soak, soak},
};

/// Clients do random work while faults strike; then everything that they saw is held against the promises
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Options {
    #[command(subcommand)]
    instead: Option<Instead>,
    #[command(flatten)]
    faults: Faults,
}

#[derive(Subcommand)]
enum Instead {
    /// A steady load, without faults: what grows, and what is not given back
    Soak {
        #[arg(long, default_value_t = 60)]
        minutes: u64,
        /// Messages a second in all
        #[arg(long, default_value_t = 50)]
        rate: u32,
        /// For the same choices again
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Frames and HTTP bodies that are broken in every way: no panic, no 500, no hang
    Fuzz {
        #[arg(long, default_value_t = 10_000_000)]
        frames: u64,
        #[arg(long, default_value_t = 100_000)]
        bodies: u64,
        /// For the same choices again
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

#[derive(Args)]
struct Faults {
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
    let Options { instead, faults } = Options::parse();
    match instead {
        None => {
            let summary = with_faults(faults).await?;
            Ok(code(summary.violations.is_empty()))
        }
        Some(Instead::Soak {
            minutes,
            rate,
            seed,
        }) => {
            let settings = Soak {
                length: minutes_long(minutes),
                rate,
                seed,
                ..Soak::default()
            };
            let report = soak(settings, say).await?;
            Ok(code(report.faults.is_empty()))
        }
        Some(Instead::Fuzz {
            frames,
            bodies,
            seed,
        }) => {
            let settings = Fuzz {
                frames,
                bodies,
                seed,
            };
            let report = fuzz(settings, say).await?;
            Ok(code(report.violations.is_empty()))
        }
    }
}

async fn with_faults(options: Faults) -> anyhow::Result<Summary> {
    let Faults {
        minutes,
        seed,
        cluster,
        only,
        url,
    } = options;
    let length = minutes_long(minutes);
    if let Some(url) = url {
        let url = url.trim_end_matches('/').to_owned();
        let place = Place::new(url.clone(), url.clone(), vec![url.clone()], vec![url]);
        return run::without_faults(place, seed, length, say).await;
    }
    let settings = Settings {
        length: only.is_empty().then_some(length),
        seed,
        is_cluster: cluster,
        only,
        ..Settings::default()
    };
    run::with_faults(settings, say).await
}

fn minutes_long(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

fn say(line: String) {
    eprintln!("{line}");
}

fn code(is_fine: bool) -> ExitCode {
    if is_fine {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
