//! What users tell of themselves beside their username, email address and picture: its shape, its
//! rules, and how a request changes it.
//!
//! A field that is added here is shown in the profile, to friends, to other services and in the
//! export; what it needs elsewhere is in `services/README.md`, *A field of the profile*.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

/// The fields, as everybody who sees the user sees them. A field that a replica of the previous
/// version does not send reads as empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProfileFields {
    #[serde(default)]
    #[schema(required = true)]
    pub first_name: String,
    #[serde(default)]
    #[schema(required = true)]
    pub last_name: String,
}

/// The fields in a request. What is not sent stays as it is; null counts as empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
pub struct ProfileChange {
    #[serde(default, deserialize_with = "sent")]
    #[schema(max_length = 150)]
    pub first_name: Option<String>,
    #[serde(default, deserialize_with = "sent")]
    #[schema(max_length = 150)]
    pub last_name: Option<String>,
}

fn sent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(Some(text.unwrap_or_default()))
}

/// What a field must be, in the order of [`ProfileChange::texts`].
const RULES: [Rule; 2] = [
    Rule {
        field: "first_name",
        code: "invalid_name",
        max_chars: 150,
    },
    Rule {
        field: "last_name",
        code: "invalid_name",
        max_chars: 150,
    },
];

struct Rule {
    field: &'static str,
    /// The error code for a text that breaks the rule.
    code: &'static str,
    max_chars: usize,
}

impl Rule {
    fn check(&self, text: &str) -> Result<(), BrokenRule> {
        let (field, most) = (self.field, self.max_chars);
        // Postgres stores no text with a U+0000.
        let sentence = if text.contains('\0') {
            format!("{field} contains the character U+0000.")
        } else if text.chars().count() > most {
            format!("{field} has at most {most} characters.")
        } else {
            return Ok(());
        };
        Err(BrokenRule::new(self.code, sentence))
    }
}

/// A rule that an input breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenRule {
    /// For programs.
    pub code: &'static str,
    /// For the person who typed it.
    pub sentence: String,
}

impl BrokenRule {
    pub fn new(code: &'static str, sentence: impl Into<String>) -> Self {
        Self {
            code,
            sentence: sentence.into(),
        }
    }
}

impl ProfileChange {
    fn texts(&self) -> [&Option<String>; RULES.len()] {
        let Self {
            first_name,
            last_name,
        } = self;
        [first_name, last_name]
    }

    pub fn check(&self) -> Result<(), BrokenRule> {
        let checked = RULES.iter().zip(self.texts());
        checked
            .filter_map(|(rule, text)| Some(rule.check(text.as_ref()?)))
            .collect()
    }

    /// The error code for a field of this name whose value has the wrong type.
    pub fn error_code(field: &str) -> Option<&'static str> {
        let rule = RULES.iter().find(|rule| rule.field == field);
        rule.map(|rule| rule.code)
    }

    /// One broken rule of each code, for the documents.
    pub fn broken_rules() -> Vec<BrokenRule> {
        let too_long = |rule: &Rule| rule.check(&"x".repeat(rule.max_chars + 1)).err();
        let mut broken: Vec<_> = RULES.iter().filter_map(too_long).collect();
        broken.dedup_by_key(|one| one.code);
        broken
    }
}

/// Of a new account: what is not sent is empty.
impl From<ProfileChange> for ProfileFields {
    fn from(sent: ProfileChange) -> Self {
        let ProfileChange {
            first_name,
            last_name,
        } = sent;
        Self {
            first_name: first_name.unwrap_or_default(),
            last_name: last_name.unwrap_or_default(),
        }
    }
}
