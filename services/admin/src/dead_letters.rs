//! Events that a service could not process: looked at, and published again.

use std::io::Write;

use anyhow::ensure;
use clap::Args;
use serde_json::json;

use crate::Broker;

#[derive(Args)]
#[group(skip)]
pub struct List {
    #[command(flatten)]
    broker: Broker,

    /// Also print the payloads, which may contain personal data
    #[arg(long)]
    payload: bool,
}

#[derive(Args)]
#[group(skip)]
pub struct Replay {
    #[command(flatten)]
    broker: Broker,

    /// Numbers of the dead letters
    #[arg(required_unless_present = "all")]
    numbers: Vec<u64>,

    /// All of them
    #[arg(long, conflicts_with = "numbers")]
    all: bool,
}

impl List {
    pub async fn run(self) -> anyhow::Result<()> {
        let bus = self.broker.connect().await?;
        let mut out = std::io::stdout().lock();
        for letter in bus.dead_letters().await? {
            let mut line = json!({
                "number": letter.number,
                "time": letter.time,
                "stream": letter.stream,
                "consumer": letter.consumer,
                "subject": letter.subject,
                "reason": letter.reason,
            });
            if self.payload {
                line["payload"] = String::from_utf8_lossy(&letter.payload).into();
            }
            writeln!(out, "{line}")?;
        }
        Ok(())
    }
}

impl Replay {
    pub async fn run(self) -> anyhow::Result<()> {
        let bus = self.broker.connect().await?;
        let mut letters = bus.dead_letters().await?;
        if !self.all {
            for number in &self.numbers {
                ensure!(
                    letters.iter().any(|letter| letter.number == *number),
                    "there is no dead letter {number}"
                );
            }
            letters.retain(|letter| self.numbers.contains(&letter.number));
        }
        let mut out = std::io::stdout().lock();
        for letter in letters {
            bus.replay(&letter).await?;
            writeln!(out, "replayed {}", letter.number)?;
        }
        Ok(())
    }
}
