//! Another key that signs tokens, with nobody logged out.

use std::{io::Write, path::PathBuf, time::Duration};

use anyhow::ensure;
use clap::Args;

use crate::setup::Owners;

#[derive(Args)]
#[group(skip)]
pub struct RotateKey {
    #[command(flatten)]
    owners: Owners,

    /// After how long the new key signs, in seconds; until then it is published, and whoever verifies tokens fetches it
    #[arg(long, default_value_t = 600)]
    after: u64,

    /// File with the Ed25519 key that signs tokens (PKCS#8 v1, PEM); without this file the service makes a key and keeps it in its schema
    #[arg(long, env = "NATTER_SIGNING_KEY_FILE")]
    signing_key_file: Option<PathBuf>,
}

impl RotateKey {
    pub async fn run(self) -> anyhow::Result<()> {
        ensure!(
            self.signing_key_file.is_none(),
            "NATTER_SIGNING_KEY_FILE is set: the users service signs with the key of that file, and not with one of its schema"
        );
        let after = Duration::from_secs(self.after);
        let kid = natter_users::rotate_key(&self.owners.users(), after).await?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "the key {kid} signs in {} seconds", self.after)?;
        Ok(())
    }
}
