//! Where a service's database is, and how it is connected to.

use std::{fmt, str::FromStr};

use natter_startup::Password;
use sqlx::postgres::PgConnectOptions;

/// Where a service's database is. Never shows its password.
#[derive(Clone)]
pub struct DatabaseUrl(PgConnectOptions);

impl FromStr for DatabaseUrl {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let refuse = || "it must look like postgres://user:password@host:5432/database".to_owned();
        // Anything else would be taken for a path, and shown as the name of a database.
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(refuse());
        }
        let options = PgConnectOptions::from_str(url).map_err(|_| refuse())?;
        Ok(Self(options))
    }
}

impl DatabaseUrl {
    /// The same URL with the password of a separate setting, if that is set.
    pub fn with_password(&self, password: Option<&Password>) -> Self {
        match password {
            Some(password) => Self(self.0.clone().password(password.expose())),
            None => self.clone(),
        }
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let database = self.0.get_database().unwrap_or("postgres");
        write!(f, "{}:{}/{database}", self.0.get_host(), self.0.get_port())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

pub(crate) fn options(url: &DatabaseUrl, schema: &'static str) -> PgConnectOptions {
    let options = url.0.clone().application_name(schema);
    // JIT is off: every statement here is short. Postgres compiles plans with a high estimated
    // cost, and `enable_seqscan = off` (of the writers) makes every sequential scan look expensive.
    // Compiling took a third of Postgres' CPU time per message.
    options.options([("search_path", schema), ("jit", "off")])
}
