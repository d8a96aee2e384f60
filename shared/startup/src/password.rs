//! A secret among the settings.

use std::{fmt, str::FromStr};

/// The password of a NATS user or of a database role. Never shown.
#[derive(Clone)]
pub struct Password(String);

impl FromStr for Password {
    type Err = &'static str;

    fn from_str(password: &str) -> Result<Self, Self::Err> {
        if password.is_empty() {
            Err("it is empty")
        } else {
            Ok(Self(password.to_owned()))
        }
    }
}

impl Password {
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}
