//! What people type into a search, and which texts it finds.

use std::mem;

use super::text::{GRAM, folded, grams};

/// A text matches if one of these clauses does.
pub struct Query(pub Vec<Clause>);

/// Terms that are all to be there, and terms of which none may be.
#[derive(Default)]
pub struct Clause {
    wanted: Vec<Term>,
    unwanted: Vec<Term>,
}

/// Words one after the other, the first and the last of which may be parts of words.
struct Term {
    /// With a space before and after.
    whole: String,
    /// Like `whole`, without the space at an end that may be inside a word; `None` if only whole
    /// words match.
    part: Option<String>,
}

/// How a text matches. Matches of whole words are listed before those of parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Match {
    Part,
    Whole,
}

impl Query {
    /// Terms with spaces between them; `"…"` around words that stand so; `-` before a term that may
    /// not be there, beside one that is to be there; `or` between alternatives.
    pub fn parse(text: &str) -> Self {
        let mut clauses = vec![Clause::default()];
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let is_unwanted = first == '-';
            let given = rest.strip_prefix('-').unwrap_or(rest);
            let (given, is_quoted, after) = match given.strip_prefix('"') {
                Some(quoted) => match quoted.split_once('"') {
                    Some((given, after)) => (given, true, after),
                    None => (quoted, true, ""),
                },
                None => {
                    let end = given.find(|c: char| c.is_whitespace() || c == '"');
                    let (given, after) = given.split_at(end.unwrap_or(given.len()));
                    (given, false, after)
                }
            };
            rest = after.trim_start();
            let is_between =
                clauses.last().is_some_and(|clause| !clause.is_empty()) && !rest.is_empty();
            if is_between && !is_unwanted && !is_quoted && given.eq_ignore_ascii_case("or") {
                clauses.push(Clause::default());
                continue;
            }
            if let (Some(clause), Some(term)) = (clauses.last_mut(), Term::new(given, is_quoted)) {
                if is_unwanted {
                    clause.unwanted.push(term)
                } else {
                    clause.wanted.push(term)
                }
            }
        }
        clauses.retain(|clause| !clause.is_empty());
        for clause in &mut clauses {
            // If every term has a `-`, the signs are ignored.
            if clause.wanted.is_empty() {
                clause.wanted = mem::take(&mut clause.unwanted);
            }
        }
        Self(clauses)
    }

    /// How this text (folded) is found.
    pub fn matches(&self, text: &str) -> Option<Match> {
        self.0
            .iter()
            .filter_map(|clause| clause.matches(text))
            .max()
    }
}

impl Clause {
    fn is_empty(&self) -> bool {
        self.wanted.is_empty() && self.unwanted.is_empty()
    }

    /// The grams that the search table has of every text that matches.
    pub fn grams(&self) -> Vec<i32> {
        let mut all: Vec<i32> = self
            .wanted
            .iter()
            .flat_map(|term| grams(&term.whole))
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    fn matches(&self, text: &str) -> Option<Match> {
        if self.unwanted.iter().any(|term| term.is_in(text).is_some()) {
            return None;
        }
        let mut worst = Match::Whole;
        for term in &self.wanted {
            worst = worst.min(term.is_in(text)?);
        }
        Some(worst)
    }
}

impl Term {
    /// `None` where folding leaves no word.
    fn new(text: &str, is_quoted: bool) -> Option<Self> {
        let whole = folded(text);
        let words = whole.trim();
        if words.is_empty() {
            return None;
        }
        // A first or last word shorter than `GRAM` characters matches only as a whole: the index
        // has no part of it.
        let is_long = |word: Option<&str>| word.is_some_and(|word| word.chars().count() >= GRAM);
        let before = if is_long(words.split(' ').next()) {
            ""
        } else {
            " "
        };
        let after = if is_long(words.rsplit(' ').next()) {
            ""
        } else {
            " "
        };
        let part = (!is_quoted).then(|| format!("{before}{words}{after}"));
        Some(Self { whole, part })
    }

    fn is_in(&self, text: &str) -> Option<Match> {
        if text.contains(&self.whole) {
            return Some(Match::Whole);
        }
        let part = self.part.as_ref()?;
        text.contains(part).then_some(Match::Part)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(query: &str, text: &str) -> Option<Match> {
        let query = Query::parse(query);
        let text = folded(text);
        query
            .0
            .iter()
            .filter_map(|clause| clause.matches(&text))
            .max()
    }

    #[test]
    fn what_people_type_is_found() {
        use Match::{Part, Whole};
        for (query, text, expected) in [
            (
                "https://example.com/a?b=c",
                "see https://example.com/a?b=c!",
                Some(Whole),
            ),
            ("example.com", "see https://example.com/a", Some(Whole)),
            ("foo", "foo.png", Some(Whole)),
            ("sess opts", "in sess.opts", Some(Whole)),
            ("opts sess", "in sess.opts", Some(Whole)),
            ("\"opts sess\"", "in sess.opts", None),
            ("eedl", "a needle", Some(Part)),
            ("\"eedl\"", "a needle", None),
            ("ne", "a needle", None),
            ("a", "a needle", Some(Whole)),
            ("北京", "我们去北京", Some(Whole)),
            ("京北", "我们去北京", None),
            ("cafe", "CAFÉ", Some(Whole)),
            ("❤", "love ❤️!", Some(Whole)),
            ("needle -hay", "a needle in hay", None),
            ("needle -\"in a\"", "a needle in hay", Some(Whole)),
            ("--help", "see natter --help", Some(Whole)),
            ("-needle", "a needle", Some(Whole)),
            ("pin or needle", "a needle", Some(Whole)),
            ("pin OR need", "a needle", Some(Part)),
            ("or", "this or that", Some(Whole)),
            ("prix or", "le prix de l'or", Some(Whole)),
            ("or prix", "le prix", None),
            ("\"or\"", "this or that", Some(Whole)),
            ("!!", "wow!!", None),
            ("e-mail", "my e-mail", Some(Whole)),
            ("\"unclosed", "it is unclosed", Some(Whole)),
        ] {
            assert_eq!(found(query, text), expected, "{query} in {text}");
        }
    }

    proptest! {
        /// The index gives whatever matches.
        #[test]
        fn what_matches_has_the_grams(
            text in "\\PC{0,40}", from in 0_usize..40, length in 1_usize..20, is_quoted: bool,
        ) {
            let part: String = text.chars().skip(from).take(length).collect();
            let part = part.replace(['"', '-'], " ");
            let typed = if is_quoted { format!("\"{part}\"") } else { part };
            let text = folded(&text);
            for clause in &Query::parse(&typed).0 {
                let all = grams(&text);
                if clause.matches(&text).is_some() {
                    prop_assert!(clause.grams().iter().all(|gram| all.contains(gram)));
                }
            }
        }
    }
}
