//! What a valid account is: the rules of names, addresses and passwords.

use email_address::{EmailAddress, Options};
use natter_protocol::profile::{BrokenRule, ProfileChange};
use unicode_normalization::UnicodeNormalization;

pub const MAX_USERNAME_CHARS: usize = 150;
const MAX_EMAIL_CHARS: usize = 254;
const MIN_PASSWORD_CHARS: usize = 8;
/// Argon2 would take longer passwords; nobody types them.
const MAX_PASSWORD_CHARS: usize = 1_000;
/// From this share of common text on, a password counts as derived from the name or address.
const TOO_SIMILAR: f64 = 0.7;

fn broken<T>(code: &'static str, sentence: impl Into<String>) -> Result<T, BrokenRule> {
    Err(BrokenRule::new(code, sentence))
}

/// A username in its normal form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Username(String);

impl Username {
    pub fn new(text: &str) -> Result<Self, BrokenRule> {
        let name: String = text.nfkc().collect();
        let allowed = |c: char| c.is_alphanumeric() && !is_filler(c) || "@.+-_".contains(c);
        if name.is_empty()
            || name.chars().count() > MAX_USERNAME_CHARS
            || !name.chars().all(allowed)
        {
            return broken(
                "invalid_username",
                "Enter a valid username: 1 to 150 letters, digits and @ . + - _ characters.",
            );
        }
        Ok(Self(name))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn key(&self) -> String {
        username_key(&self.0)
    }
}

/// The fillers of Hangul, of which nothing is seen, count as letters: with one of them a name looks
/// like another. (NFKC makes U+1160 of the two others, U+3164 and U+FFA0.) A name from before they
/// were refused is still one to log in with.
fn is_filler(c: char) -> bool {
    matches!(c, '\u{115f}' | '\u{1160}')
}

/// Equal for texts that full case folding makes equal, and for those that differ only in how they
/// are written in Unicode. A text need not be a username to have one: `i̇nci` is a spelling of
/// `İnci`, and 300 letters `s` of 150 letters `ß`. Upper case after lower: lower case alone tells
/// both forms of sigma apart, upper case alone `ẞ` and `ß`.
pub fn username_key(text: &str) -> String {
    // Postgres takes no U+0000, and no name has one.
    let text = text.replace('\0', "\u{fffd}");
    let lower = text.nfkc().collect::<String>().to_lowercase();
    lower.to_uppercase().nfkc().collect()
}

pub fn check_email(email: &str) -> Result<(), BrokenRule> {
    let options = Options::default()
        .with_required_tld()
        .without_display_text()
        .without_domain_literal();
    let fine = email.chars().count() <= MAX_EMAIL_CHARS
        && EmailAddress::parse_with_options(email, options).is_ok();
    if fine {
        Ok(())
    } else {
        broken("invalid_email", "Enter a valid email address.")
    }
}

type IsKind = fn(char) -> bool;

pub fn check_password(password: &str, username: &str, email: &str) -> Result<(), BrokenRule> {
    let chars = password.chars().count();
    if chars < MIN_PASSWORD_CHARS {
        let sentence = format!(
            "Password is too short. It must contain at least {MIN_PASSWORD_CHARS} characters."
        );
        return broken("password_too_short", sentence);
    }
    if chars > MAX_PASSWORD_CHARS {
        let sentence = format!(
            "Password is too long. It may contain at most {MAX_PASSWORD_CHARS} characters."
        );
        return broken("password_too_long", sentence);
    }
    let kinds: [(&str, IsKind); 4] = [
        ("an upper-case letter", char::is_uppercase),
        ("a lower-case letter", char::is_lowercase),
        ("a digit", |c| c.is_ascii_digit()),
        ("a special character", |c| {
            !c.is_alphanumeric() && !c.is_whitespace()
        }),
    ];
    let missing: Vec<&str> = kinds
        .iter()
        .filter(|(_, is_kind)| !password.chars().any(*is_kind))
        .map(|(name, _)| *name)
        .collect();
    if let Some((last, others)) = missing.split_last() {
        let list = match others {
            [] => (*last).to_owned(),
            others => format!("{} and {last}", others.join(", ")),
        };
        let sentence = format!("Password must contain at least {list}.");
        return broken("password_too_weak", sentence);
    }
    let local = email.split('@').next().unwrap_or_default();
    for (what, text) in [("username", username), ("email", email), ("email", local)] {
        if similarity(password, text) >= TOO_SIMILAR {
            let sentence = format!("Password is too similar to the {what}.");
            return broken("password_too_similar", sentence);
        }
    }
    Ok(())
}

/// One of each way to break the rules of a password, for the documents.
pub fn broken_passwords() -> Vec<BrokenRule> {
    let long = "Aa1!".repeat(MAX_PASSWORD_CHARS);
    ["Ab1!", &long, "lowercase", "Someone1!"]
        .into_iter()
        .filter_map(|password| check_password(password, "someone", "").err())
        .collect()
}

/// One of each way to break the rules of an account beside those of its password.
pub fn broken_accounts() -> Vec<BrokenRule> {
    let broken = [Username::new("").err(), check_email("").err()];
    let broken = broken.into_iter().flatten();
    broken.chain(ProfileChange::broken_rules()).collect()
}

/// The share of both texts that their longest common run makes up, case aside: 0 to 1.
fn similarity(a: &str, b: &str) -> f64 {
    let a: Vec<char> = a.to_lowercase().chars().collect();
    let b: Vec<char> = b.to_lowercase().chars().collect();
    if b.is_empty() {
        return 0.0;
    }
    let mut runs = vec![0_usize; b.len() + 1];
    let mut longest = 0;
    for x in &a {
        for j in (0..b.len()).rev() {
            runs[j + 1] = if *x == b[j] { runs[j] + 1 } else { 0 };
            longest = longest.max(runs[j + 1]);
        }
    }
    (2 * longest) as f64 / (a.len() + b.len()) as f64
}

/// Where an image is served, below the public URL.
pub fn image_path(name: &str) -> String {
    format!("/api/users/images/{name}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn usernames() {
        for good in ["a", "john.doe+x@y_z-1", "Ångström", "用户", "\u{212B}"] {
            assert!(Username::new(good).is_ok(), "{good}");
        }
        // The last four are fillers of Hangul: letters, of which nothing is seen.
        for bad in [
            "",
            "a b",
            "a/b",
            "a\n",
            "😀",
            &"x".repeat(151),
            "admin\u{115f}",
            "admin\u{1160}",
            "admin\u{3164}",
            "\u{ffa0}",
        ] {
            assert!(Username::new(bad).is_err(), "{bad:?}");
        }
        assert!(Username::new(&"x".repeat(150)).is_ok());
    }

    #[test]
    fn one_key_for_every_way_to_write_a_name() {
        assert_eq!(username_key("Ångström"), username_key("A\u{30a}NGSTRÖM"));
        assert_eq!(username_key("ΑΣ"), username_key("ας"));
        assert_eq!(username_key("ﬁx"), username_key("FIX"));
        assert_ne!(username_key("a.b"), username_key("a_b"));
    }

    #[test]
    fn a_spelling_that_folds_to_a_name_has_its_key() {
        for (name, spelling) in [
            ("İnci", "i\u{307}nci"),
            ("straße", "STRASSE"),
            ("straße", "STRAẞE"),
            (&"ß".repeat(150), &"SS".repeat(150)),
            ("ΟΔΟΣ", "οδος"),
            ("ŉame", "ʼName"),
            ("ᾼdes", "αιDES"),
            ("Ｗide", "wide"),
        ] {
            let name = Username::new(name).map(|name| name.key());
            assert_eq!(name, Ok(username_key(spelling)), "{spelling}");
        }
    }

    #[test]
    fn emails() {
        for good in ["a@b.co", "john.doe+tag@mail.example.org"] {
            assert_eq!(check_email(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "a",
            "a@b",
            "@b.co",
            "a@",
            "a b@c.de",
            "a@b.co\n",
            "A <a@b.co>",
            "a\0@b.co",
            "a@[1.2.3.4]",
        ] {
            assert!(check_email(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn passwords_name_what_is_missing() {
        let sentence = |password| match check_password(password, "someone", "else@mail.example") {
            Ok(()) => String::new(),
            Err(broken) => broken.sentence,
        };
        assert_eq!(sentence("Str0ng!pass"), "");
        assert_eq!(
            sentence("Ab1!"),
            "Password is too short. It must contain at least 8 characters."
        );
        assert_eq!(
            sentence("lowercase"),
            "Password must contain at least an upper-case letter, a digit and a special character."
        );
        assert_eq!(
            sentence("NoDigits!"),
            "Password must contain at least a digit."
        );
        assert_eq!(
            sentence("Someone1!"),
            "Password is too similar to the username."
        );
        assert_eq!(
            sentence("Else@mail.example1"),
            "Password is too similar to the email."
        );
    }

    const KINDS: [(&str, &str); 4] = [
        ("[A-Z]{3}", "an upper-case letter"),
        ("[a-z]{3}", "a lower-case letter"),
        ("[0-9]{3}", "a digit"),
        ("[!-/:-@]{3}", "a special character"),
    ];

    proptest! {
        #[test]
        fn a_username_is_its_own_normal_form(text in "\\PC{0,160}") {
            let Ok(name) = Username::new(&text) else { return Ok(()) };
            prop_assert!((1..=MAX_USERNAME_CHARS).contains(&name.as_str().chars().count()));
            prop_assert_eq!(Username::new(name.as_str()), Ok(name.clone()));
            prop_assert_eq!(username_key(&text), name.key());
            prop_assert_eq!(username_key(&name.key()), name.key());
        }

        #[test]
        fn letters_digits_and_five_signs_make_a_username(text in "[a-zA-Zäöüéñа-яα-ωא-ת一-龥ぁ-ん0-9٠-٩@.+_-]{1,40}") {
            prop_assert!(Username::new(&text).is_ok());
        }

        #[test]
        fn anything_else_does_not(
            before in "[a-z]{0,5}", other in "[\\p{Z}\\p{Cc}!-*,/:-?\\[-^`{-~]", after in "[a-z]{0,5}",
        ) {
            let text = before + &other + &after;
            prop_assert!(Username::new(&text).is_err());
        }

        #[test]
        fn ascii_case_makes_no_other_name(text in "[a-zA-Z0-9@.+_-]{1,40}") {
            prop_assert_eq!(username_key(&text.to_lowercase()), username_key(&text.to_uppercase()));
        }

        #[test]
        fn a_password_is_told_exactly_what_it_lacks(
            parts in KINDS.map(|(pattern, _)| prop::option::of(pattern)),
        ) {
            // Long enough without being of any kind.
            let password: String = parts.iter().flatten().map(String::as_str).collect::<String>() + "        ";
            let missing: Vec<&str> = parts.iter().zip(KINDS)
                .filter(|(part, _)| part.is_none()).map(|(_, (_, name))| name).collect();
            match check_password(&password, "", "") {
                Ok(()) => prop_assert!(missing.is_empty()),
                Err(broken) => {
                    prop_assert_eq!(broken.code, "password_too_weak");
                    for (_, name) in KINDS {
                        prop_assert_eq!(broken.sentence.contains(name), missing.contains(&name));
                    }
                }
            }
        }

        #[test]
        fn a_password_that_has_the_name_in_it_is_refused(name in "[a-z]{12,20}", end in "[A-Z][0-9][!-/]") {
            let broken = check_password(&(name.clone() + &end), &name, "").expect_err("it is similar");
            prop_assert_eq!(broken.code, "password_too_similar");
        }
    }
}
