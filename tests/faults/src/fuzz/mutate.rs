//! What is sent in place of what is documented.

use natter_test_support::Choices;

/// Values of JSON that are seldom thought of, and texts that are none.
const ODD: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "-0",
    "-1",
    "1.5",
    "-1e-400",
    "1e999",
    "2147483648",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775809",
    "123456789012345678901234567890123456789012345678901234567890",
    "NaN",
    "Infinity",
    "01",
    ".5",
    "+1",
    "0x10",
    "'x'",
    "undefined",
    "\"\"",
    "\" \"",
    "\"\\u0000\"",
    "\"a\\u0000b\"",
    "\"\\ud800\"",
    "\"\\udc00\\ud800\"",
    "\"\\ud83d\\ude00\"",
    "\"\\u12\"",
    "\"\\x\"",
    "\"\n\"",
    "\"\u{202e}\u{200b}\u{feff}\"",
    "\"e\u{301}\u{301}\u{301}\u{301}\u{301}\"",
    "\"👩‍👩‍👧‍👦\"",
    "\"ﷺ\u{fdfa}ß\u{130}\u{1e9e}\"",
    "\"\u{10ffff}\u{fffe}\"",
    "\"../../etc/passwd\"",
    "\"..\"",
    "\"%00\"",
    "\"'; DROP TABLE users; --\"",
    "\"true\"",
    "\"1\"",
    "\"00000000-0000-0000-0000-000000000000\"",
    "\"ffffffff-ffff-ffff-ffff-ffffffffffff\"",
    "\"01A20000-0000-7000-8000-00000000000A\"",
    "\"01a2000000007000800000000000000a\"",
    "\"urn:uuid:01a20000-0000-7000-8000-00000000000a\"",
    "\"{01a20000-0000-7000-8000-00000000000a}\"",
    "\"01a20000-0000-7000-8000-00000000000\"",
    "\"2026-02-30\"",
    "\"9999-12-31T23:59:60Z\"",
    "\"-262144-01-01T00:00:00Z\"",
    "\"====\"",
    "\"eA\"",
    "\"pending\"",
    "\"Accepted\"",
    "[]",
    "{}",
    "[[]]",
    "[null]",
    "[{}]",
    "{\"\":null}",
    "{\"id\":1}",
    "[{\"id\":\"x\"}]",
    "[{\"a.txt\":\"eA==\"}]",
    "[{\"a.txt\":\"%%%\"}]",
    "[{\"a\":\"\",\"b\":\"\"}]",
    "[{\"a\":\"eA==\",\"a\":\"eQ==\"}]",
    "[{\"../..\":\"eA==\"}]",
    "[{\"\\u0000\":\"eA==\"}]",
    "{\"01a20000-0000-7000-8000-00000000000a\":0}",
    "{\"x\":1,\"x\":2}",
    "{\"x\":-1}",
    "{\"x\":1.5}",
    "{\"x\":18446744073709551615}",
];
const ODD_KEYS: &[&str] = &[
    "",
    "type",
    "Type",
    "TYPE",
    "typ",
    "channel",
    "channels",
    "message",
    "message_id",
    "media",
    "payload",
    "client_id",
    "reply_to",
    "epoch",
    "access",
    "active",
    "user",
    "seq",
    "id",
    "ID",
    "__proto__",
    "\\u0000",
    "\\ud800",
    "\\u0074ype",
    "ключ",
    "\u{202e}",
    "a.b",
    "a[0]",
    "$ref",
];
/// Around every limit of the contract.
const LENGTHS: &[usize] = &[
    63, 64, 65, 128, 129, 150, 151, 254, 255, 256, 257, 1_000, 1_001, 8_191, 8_192, 8_193, 30_000,
];
const FILLERS: &[&str] = &[
    "x", "é", "😀", "\\u0000", "\\n", "\\\"", "\u{301}", "A1!a", "ß",
];
/// serde_json gives up at 128.
const DEPTHS: &[usize] = &[2, 126, 127, 128, 129, 1_000, 10_000];

pub fn is_one_in(choices: &mut Choices, many: u64) -> bool {
    choices.below(many) == 0
}

pub fn pick(choices: &mut Choices, limit: usize) -> usize {
    usize::try_from(choices.below(limit.max(1) as u64)).unwrap_or_default()
}

/// A text in quotes, at a limit or beyond it.
pub fn long_text(choices: &mut Choices) -> String {
    let filler = *choices.of(FILLERS);
    format!("\"{}\"", filler.repeat(*choices.of(LENGTHS)))
}

/// An array or object in another, and so on; sometimes it does not end.
pub fn deep(choices: &mut Choices, depth: usize) -> String {
    let (open, close) = *choices.of(&[("[", "]"), ("{\"a\":", "}")]);
    let close = if is_one_in(choices, 4) { "" } else { close };
    format!("{}1{}", open.repeat(depth), close.repeat(depth))
}

fn many(choices: &mut Choices) -> String {
    let item = *choices.of(ODD);
    format!("[{}]", vec![item; *choices.of(&[9, 10, 11, 500])].join(","))
}

/// A value, or what is none.
pub fn odd(choices: &mut Choices) -> String {
    match choices.below(60) {
        0 => long_text(choices),
        1 => {
            let depth = *choices.of(DEPTHS);
            deep(choices, depth)
        }
        2 => many(choices),
        _ => (*choices.of(ODD)).to_owned(),
    }
}

/// An object as no library would write it: its members are texts, and any text.
#[derive(Clone, Debug, Default)]
pub struct Object(Vec<(String, String)>);

impl Object {
    /// A member whose value is JSON.
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.0.push((format!("\"{key}\""), value.into()));
        self
    }

    /// A member whose value is a text in which nothing is to be escaped.
    pub fn text(self, key: &str, value: &str) -> Self {
        self.with(key, format!("\"{value}\""))
    }

    pub fn members(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.trim_matches('"'), value.as_str()))
    }

    /// Whether it has this text once, and nothing else under that name.
    pub fn has(&self, key: &str, value: &str) -> bool {
        let mut named = self.members().filter(|(known, _)| *known == key);
        named.next().map(|(_, known)| known.trim_matches('"')) == Some(value)
            && named.next().is_none()
    }

    pub fn json(&self, choices: &mut Choices) -> String {
        let space = match choices.below(8) {
            0 => " ",
            1 => "\r\n\t ",
            _ => "",
        };
        let mut json = String::from("{");
        for (at, (key, value)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            for part in [comma, space, key, space, ":", space, value] {
                json.push_str(part);
            }
        }
        json.push_str(space);
        json.push('}');
        json
    }

    /// Changes one thing.
    pub fn mutate(&mut self, choices: &mut Choices) {
        let at = pick(choices, self.0.len());
        if self.0.is_empty() {
            self.0.push(("\"x\"".to_owned(), odd(choices)));
            return;
        }
        match choices.below(11) {
            0 => {
                self.0.remove(at);
            }
            1 => self.0.push(self.0[at].clone()),
            2 => {
                let key = self.0[at].0.clone();
                self.0.push((key, odd(choices)));
            }
            3 => self.0[at].0 = format!("\"{}\"", choices.of(ODD_KEYS)),
            4 => self.0[at].0 = self.0[at].0.to_uppercase(),
            5 => {
                let key = format!("\"{}\"", choices.of(ODD_KEYS));
                self.0.insert(at, (key, odd(choices)));
            }
            6 => self.0[at].1 = format!("[{}]", self.0[at].1),
            7 => {
                let other = pick(choices, self.0.len());
                let value = self.0[other].1.clone();
                self.0[at].1 = value;
            }
            _ => self.0[at].1 = odd(choices),
        }
    }
}

/// Changes a text so that hardly anything of it holds.
pub fn damage(bytes: &mut Vec<u8>, choices: &mut Choices) {
    let at = pick(choices, bytes.len());
    match choices.below(9) {
        0 => bytes.truncate(at),
        1 => bytes.extend_from_slice(choices.of(&["x", "{}", "\0", "}", ",", "]"]).as_bytes()),
        2 if !bytes.is_empty() => {
            bytes.remove(at);
        }
        3 if !bytes.is_empty() => bytes[at] ^= 1 << choices.below(7),
        4 => bytes.insert(at, *choices.of(b"\0\"\\{}[]:,\x7f -e")),
        5 => {
            let rest = bytes.split_off(at);
            bytes.extend_from_slice(&rest[rest.len() / 2..]);
        }
        6 => *bytes = [b"[", bytes.as_slice(), b"]"].concat(),
        7 => *bytes = ["\u{feff}".as_bytes(), bytes].concat(),
        _ => bytes.make_ascii_uppercase(),
    }
}

/// Bytes without any meaning.
pub fn noise(choices: &mut Choices) -> Vec<u8> {
    let length = *choices.of(&[0, 1, 2, 3, 20, 200]);
    (0..length)
        .map(|_| u8::try_from(choices.below(256)).unwrap_or_default())
        .collect()
}
