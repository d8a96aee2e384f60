//! What would stand in the way of a set-up or a start, told before either.

use std::{io::Write, time::Duration};

use anyhow::ensure;
use clap::Args;
use natter_auth::AuthSettings;
use natter_bus::{Bus, StreamSettings};
use natter_media::{MediaSettings, MediaStore};
use natter_pg::{Role, Schema};
use natter_process::ProcessSettings;
use natter_startup::Password;

use crate::{Broker, setup::Owners};

/// How long a connection to NATS may take: an operator waits for the result.
const PATIENCE: Duration = Duration::from_secs(5);

/// The settings of every service and of the set-up.
#[derive(Args)]
#[group(skip)]
pub struct Check {
    #[command(flatten)]
    broker: Broker,
    #[command(flatten)]
    streams: StreamSettings,
    #[command(flatten)]
    owners: Owners,
    #[command(flatten)]
    process: ProcessSettings,
    #[command(flatten)]
    auth: AuthSettings,
    #[command(flatten)]
    media: MediaSettings,
    #[command(flatten)]
    users: natter_users::Settings,
    #[command(flatten)]
    friendships: natter_friendships::Settings,
    #[command(flatten)]
    messages: natter_messages::Settings,
    #[command(flatten)]
    gateway: natter_gateway::Settings,
}

impl Check {
    /// Fails if one of the checks failed.
    pub async fn run(self) -> anyhow::Result<()> {
        let mut told = Told::default();
        // Those with a value of the wrong kind were refused when this program read its settings.
        told.good("settings: each that is needed is set, to a value of its kind")?;
        let key = natter_users::check_signing_key(&self.users);
        told.result("signing key: as it should be, or left to the schema", key)?;
        let media = MediaStore::open(&self.media).await;
        told.result("media store: can be written to and read", media.map(drop))?;
        self.databases(&mut told).await?;
        self.broker(&mut told).await?;
        told.end()
    }

    async fn databases(&self, told: &mut Told) -> anyhow::Result<()> {
        use Role::{Owner, Service};
        let Self {
            owners,
            users,
            friendships,
            messages,
            ..
        } = self;
        told.schema(
            "natter_users_owner",
            natter_users::inspect(&owners.users(), Owner).await,
        )?;
        told.schema(
            "natter_users",
            natter_users::inspect(&users.database(), Service).await,
        )?;
        let (owner, service) = (owners.friendships(), friendships.database());
        told.schema(
            "natter_friendships_owner",
            natter_friendships::inspect(&owner, Owner).await,
        )?;
        told.schema(
            "natter_friendships",
            natter_friendships::inspect(&service, Service).await,
        )?;
        let (owner, service) = (owners.messages(), messages.database());
        told.schema(
            "natter_messages_owner",
            natter_messages::inspect(&owner, Owner).await,
        )?;
        told.schema(
            "natter_messages",
            natter_messages::inspect(&service, Service).await,
        )
    }

    async fn broker(&self, told: &mut Told) -> anyhow::Result<()> {
        let users: [(&str, &Password); 4] = [
            ("users", &self.users.users_nats_password),
            ("friendships", &self.friendships.friendships_nats_password),
            ("messages", &self.messages.messages_nats_password),
            ("gateway", &self.gateway.gateway_nats_password),
        ];
        for (user, password) in users {
            let connected = Bus::connect(&self.broker.bus, user, password, PATIENCE).await;
            told.result(&format!("NATS user {user}: connects"), connected.map(drop))?;
        }
        let password = &self.broker.admin_nats_password;
        let what = "NATS user admin: connects";
        let admin = match Bus::connect(&self.broker.bus, "admin", password, PATIENCE).await {
            Ok(admin) => admin,
            Err(error) => return told.bad(what, &error),
        };
        told.good(what)?;
        match admin.check_streams(&self.streams).await {
            Ok(streams) => streams.iter().try_for_each(|stream| told.note(stream)),
            Err(error) => told.bad("streams: can be set up", &error),
        }
    }
}

/// Prints a line for each check (`ok`, `note` or `FAIL`), and counts them.
#[derive(Default)]
struct Told {
    tried: usize,
    failed: usize,
}

impl Told {
    fn good(&mut self, what: &str) -> anyhow::Result<()> {
        self.tried += 1;
        print_line("ok  ", what)
    }

    fn bad(&mut self, what: &str, error: &anyhow::Error) -> anyhow::Result<()> {
        self.tried += 1;
        self.failed += 1;
        // `what` is "subject: what is good"; if the check failed, the error stands after the
        // subject.
        let subject = what.split_once(": ").map_or(what, |(subject, _)| subject);
        print_line("FAIL", &format!("{subject}: {error:#}"))
    }

    fn result(&mut self, what: &str, result: anyhow::Result<()>) -> anyhow::Result<()> {
        match result {
            Ok(()) => self.good(what),
            Err(error) => self.bad(what, &error),
        }
    }

    fn note(&self, what: &str) -> anyhow::Result<()> {
        print_line("note", what)
    }

    fn schema(&mut self, role: &str, found: anyhow::Result<Schema>) -> anyhow::Result<()> {
        let what =
            format!("Postgres role {role}: connects, and has the rights it needs and no other");
        match found {
            Ok(schema) => {
                let rights = schema
                    .require()
                    .and_then(|()| schema.require_least_rights());
                self.result(&what, rights)?;
                schema.lack().map_or(Ok(()), |lack| self.note(&lack))
            }
            Err(error) => self.bad(&what, &error),
        }
    }

    fn end(self) -> anyhow::Result<()> {
        ensure!(
            self.failed == 0,
            "{} of {} checks failed",
            self.failed,
            self.tried
        );
        Ok(())
    }
}

fn print_line(verdict: &str, what: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{verdict}  {what}")?;
    Ok(())
}
