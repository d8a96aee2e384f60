//! Where a message is: the answer to "it did not arrive".

use std::{io::Write, time::Duration};

use anyhow::Context;
use clap::Args;
use natter_messages::Step;
use natter_protocol::{
    MessageId, UserId,
    call::{Delivered, GatewayConnections, GetConnections},
};

use crate::{Broker, setup::MessagesOwner};

/// How long the gateways have for their answers.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Args)]
#[group(skip)]
pub struct Trace {
    #[command(flatten)]
    broker: Broker,
    #[command(flatten)]
    owner: MessagesOwner,

    /// The id of a message, or of an edit or deletion
    #[arg(value_name = "MESSAGE_ID")]
    message: MessageId,
}

impl Trace {
    pub async fn run(self) -> anyhow::Result<()> {
        let id = self.message;
        let traced = natter_messages::trace(&self.owner.url(), id).await?;
        let traced = traced.with_context(|| {
            format!(
                "no log has {id}: it was never acknowledged, or the database was set back since"
            )
        })?;
        let (sender, receiver) = (traced.sender, traced.receiver);
        let mut out = std::io::stdout().lock();
        writeln!(
            out,
            "{id}: seq {} of channel {}, from {sender} to {receiver}",
            traced.seq, traced.channel
        )?;
        for Step { at, what } in &traced.steps {
            let at = at.map_or_else(|| "-".to_owned(), |at| at.to_string());
            writeln!(out, "{at:27}  {what}")?;
        }
        let question = GetConnections {
            channel: traced.channel,
            seq: traced.seq,
            users: vec![receiver, sender],
        };
        let bus = self.broker.connect().await?;
        let gateways = bus.call_all(&question, PATIENCE).await?;
        writeln!(
            out,
            "{} gateways answered; the connections of now:",
            gateways.len()
        )?;
        for (user, name) in [(receiver, "receiver"), (sender, "sender")] {
            let lines = connections(&gateways, user);
            if lines.is_empty() {
                writeln!(
                    out,
                    "the {name} has none; the last one's end is in a gateway's log, as `connection closed` with this user"
                )?;
            }
            for line in lines {
                writeln!(out, "the {name}'s {line}")?;
            }
        }
        Ok(())
    }
}

/// A line for each connection of a user.
fn connections(gateways: &[GatewayConnections], user: UserId) -> Vec<String> {
    let all = gateways.iter().flat_map(|gateway| {
        let own = gateway.connections.iter().filter(|one| one.user == user);
        own.map(|one| {
            let (opened_at, gateway) = (one.opened_at, &gateway.gateway);
            format!("since {opened_at} at {gateway}: {}", meaning(one.state))
        })
    });
    all.collect()
}

fn meaning(state: Delivered) -> &'static str {
    match state {
        Delivered::Written => {
            "written, or older than the connection and then left to its resume or the history"
        }
        Delivered::Queued => "waits, since the client does not take what was written before",
        Delivered::NotCome => "has not come to this gateway, which fetches what it lacks",
        Delivered::NotResumed => "waits for the client's resume",
        Delivered::NotJoined => "not in this channel, which is closed, or could not be joined yet",
    }
}
