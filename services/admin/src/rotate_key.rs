//! Another key that signs tokens, with nobody logged out.

use std::{io::Write, time::Duration};

use clap::Args;

use crate::setup::UsersOwner;

#[derive(Args)]
#[group(skip)]
pub struct RotateKey {
    #[command(flatten)]
    owner: UsersOwner,

    /// After how long the new key signs, in seconds; until then it is published. Less than 330 and a service that keeps the published keys for five minutes refuses new tokens until it asks again
    #[arg(long, default_value_t = 600)]
    after: u64,
}

impl RotateKey {
    pub async fn run(self) -> anyhow::Result<()> {
        let after = Duration::from_secs(self.after);
        let kid = natter_users::rotate_key(&self.owner.url(), after).await?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "the key {kid} signs in {} seconds", self.after)?;
        Ok(())
    }
}
