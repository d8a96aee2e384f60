//! The names in a part's `Content-Disposition`, in all the forms in which clients write them.

use std::collections::BTreeMap;

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use encoding_rs::{Encoding, UTF_8};

/// With or without its padding.
const LENIENT_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The longest header that is read: a name is at most a few hundred bytes.
const MAX_BYTES: usize = 8 * 1024;

#[derive(Debug, Default)]
pub struct Disposition {
    /// The field's.
    pub name: String,
    /// The file's, if the part is one: `filename*` (RFC 8187), in several parts where it is long (RFC
    /// 2231), or `filename`, which may be quoted, in UTF-8 or Latin-1, with the escapes of browsers, or
    /// in RFC 2047's encoded words.
    pub filename: Option<String>,
}

impl Disposition {
    /// `None` of one that is too long.
    pub fn parse(header: &[u8]) -> Option<Self> {
        if header.len() > MAX_BYTES {
            return None;
        }
        let parameters = Parameters::parse(&text(header));
        let extended = parameters.get("filename*").and_then(extended_value);
        let extended = extended.filter(|name| !name.is_empty());
        let filename = extended
            .or_else(|| parameters.continued("filename"))
            .or_else(|| parameters.get("filename").map(plain))
            // A name that cannot be read is no reason to lose the file.
            .or_else(|| parameters.unread("filename*"));
        Some(Self {
            name: parameters.get("name").unwrap_or_default().to_owned(),
            filename,
        })
    }
}

/// UTF-8, or else Latin-1, in which every byte is a character.
fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}

/// By their names in lower case, without the quotes of the values. Of two of one name the first counts.
struct Parameters(BTreeMap<String, String>);

impl Parameters {
    fn parse(header: &str) -> Self {
        let mut parameters = BTreeMap::new();
        let mut rest = header.split_once(';').map_or("", |(_, rest)| rest);
        while let Some((name, after)) = rest.split_once('=') {
            // What stands before the last `;` has no value, so it is not a parameter.
            let name = name.rsplit(';').next().unwrap_or_default();
            let name = name.trim().to_ascii_lowercase();
            let after = after.trim_start();
            let value;
            (value, rest) = match after.strip_prefix('"') {
                Some(quoted) => unquoted(quoted),
                None => {
                    let (value, rest) = after.split_once(';').unwrap_or((after, ""));
                    (value.trim_end().to_owned(), rest)
                }
            };
            parameters.entry(name).or_insert(value);
        }
        Self(parameters)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A value in parts, as in `filename*0*=UTF-8''na%C3%AFve; filename*1=".txt"`.
    fn continued(&self, name: &str) -> Option<String> {
        let mut charset = "";
        let mut bytes = Vec::new();
        for part in 0.. {
            if let Some(value) = self.get(&format!("{name}*{part}*")) {
                let (its_charset, encoded) = match part {
                    0 => charset_and_text(value)?,
                    _ => (charset, value),
                };
                charset = its_charset;
                bytes.extend(percent_decoded(encoded)?);
            } else if let Some(value) = self.get(&format!("{name}*{part}")) {
                bytes.extend(value.as_bytes());
            } else if part == 0 {
                return None;
            } else {
                break;
            }
        }
        decoded(charset, &bytes)
    }

    /// The values of all names that begin so, as they stand there.
    fn unread(&self, beginning: &str) -> Option<String> {
        let all = self.0.iter();
        let values = all.filter(|(name, _)| name.starts_with(beginning));
        let values: Vec<&str> = values.map(|(_, value)| value.as_str()).collect();
        (!values.is_empty()).then(|| values.concat())
    }
}

/// A quoted string up to its end, and what follows. A backslash escapes a quote and itself; elsewhere it
/// is one, as in the paths that old browsers send.
fn unquoted(quoted: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = quoted.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => match chars.next_if(|(_, next)| matches!(next, '"' | '\\')) {
                Some((_, escaped)) => value.push(escaped),
                None => value.push('\\'),
            },
            c => value.push(c),
        }
    }
    (value, "")
}

/// `UTF-8'en'na%C3%AFve.txt`
fn extended_value(value: &str) -> Option<String> {
    let (charset, encoded) = charset_and_text(value)?;
    decoded(charset, &percent_decoded(encoded)?)
}

fn charset_and_text(value: &str) -> Option<(&str, &str)> {
    let (charset, rest) = value.split_once('\'')?;
    let (_language, text) = rest.split_once('\'')?;
    Some((charset, text))
}

fn percent_decoded(encoded: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => hex(rest.next()?, rest.next()?)?,
            byte => byte,
        });
    }
    Some(bytes)
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// A charset that is not named is UTF-8.
fn decoded(charset: &str, bytes: &[u8]) -> Option<String> {
    let encoding = match charset {
        "" => UTF_8,
        charset => Encoding::for_label(charset.as_bytes())?,
    };
    let text = encoding.decode_without_bom_handling_and_without_replacement(bytes)?;
    Some(text.into_owned())
}

/// Encoded words, or the escapes of browsers: `%22` for a quote, `%0D` and `%0A` for a line's end.
fn plain(value: &str) -> String {
    if let Some(words) = encoded_words(value) {
        return words;
    }
    let escapes = [
        ("%22", "\""),
        ("%0D", "\r"),
        ("%0d", "\r"),
        ("%0A", "\n"),
        ("%0a", "\n"),
    ];
    let unescaped = |value: String, (escape, c): &(&str, &str)| value.replace(escape, c);
    escapes.iter().fold(value.to_owned(), unescaped)
}

/// `=?UTF-8?B?w6kudHh0?=` and `=?ISO-8859-1?Q?=E9.txt?=`, alone or between other text; none for a text
/// without any.
fn encoded_words(value: &str) -> Option<String> {
    let mut all = String::new();
    // A character may begin in one word and end in the next.
    let mut begun: Vec<u8> = Vec::new();
    let mut has_any = false;
    let mut rest = value;
    while let Some(start) = rest.find("=?") {
        let Some((charset, bytes, after)) = encoded_word(&rest[start..]) else {
            break;
        };
        // Spaces between two encoded words do not belong to the text.
        let before = &rest[..start];
        if !has_any || !before.trim().is_empty() {
            all += before;
        }
        begun.extend(bytes);
        if let Some(text) = decoded(charset, &begun) {
            all += &text;
            begun.clear();
        }
        has_any = true;
        rest = after;
    }
    (has_any && begun.is_empty()).then(|| all + rest)
}

/// The charset and bytes of the encoded word at the beginning, and what follows it.
fn encoded_word(text: &str) -> Option<(&str, Vec<u8>, &str)> {
    let (charset, rest) = text.strip_prefix("=?")?.split_once('?')?;
    // A language may follow (RFC 2231).
    let charset = charset.split('*').next().unwrap_or_default();
    let (encoding, rest) = rest.split_once('?')?;
    let (content, after) = rest.split_once("?=")?;
    let bytes = match encoding {
        "B" | "b" => LENIENT_BASE64.decode(content).ok()?,
        "Q" | "q" => quoted_printable(content)?,
        _ => return None,
    };
    Some((charset, bytes, after))
}

fn quoted_printable(content: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = content.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'=' => hex(rest.next()?, rest.next()?)?,
            b'_' => b' ',
            byte => byte,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_is_read_however_it_is_written() {
        for (header, name) in [
            (
                &br#"form-data; name="file"; filename="a.txt""#[..],
                Some("a.txt"),
            ),
            (br#"form-data; name=file; filename=a.txt"#, Some("a.txt")),
            (
                br#"form-data; filename="a;b=c.txt"; name="file""#,
                Some("a;b=c.txt"),
            ),
            (
                br#"form-data; name="file"; FileName = "a.txt""#,
                Some("a.txt"),
            ),
            (
                br#"form-data; name="file"; filename="say \"hi\".txt""#,
                Some("say \"hi\".txt"),
            ),
            (
                br#"form-data; name="file"; filename="say %22hi%22.txt""#,
                Some("say \"hi\".txt"),
            ),
            (
                br#"form-data; name="file"; filename="100%25.txt""#,
                Some("100%25.txt"),
            ),
            (
                br#"form-data; name="file"; filename="C:\dir\a.txt""#,
                Some("C:\\dir\\a.txt"),
            ),
            (
                "form-data; name=\"file\"; filename=\"naïve.txt\"".as_bytes(),
                Some("naïve.txt"),
            ),
            (
                b"form-data; name=\"file\"; filename=\"na\xefve.txt\"",
                Some("naïve.txt"),
            ),
            (
                b"form-data; name=\"file\"; filename=\"x\"; filename*=UTF-8''na%C3%AFve.txt",
                Some("naïve.txt"),
            ),
            (
                b"form-data; name=\"file\"; filename*=iso-8859-1'fr'na%EFve.txt",
                Some("naïve.txt"),
            ),
            (
                b"form-data; name=\"file\"; filename=\"x\"; filename*=UTF-8''%ZZ",
                Some("x"),
            ),
            (
                b"form-data; name=\"file\"; filename=\"=?UTF-8?B?bmHDr3ZlLnR4dA==?=\"",
                Some("naïve.txt"),
            ),
            (
                b"form-data; name=\"file\"; filename=\"=?ISO-8859-1?Q?na=EFve_1.txt?=\"",
                Some("naïve 1.txt"),
            ),
            (
                // Two encoded words, split in the middle of a character.
                b"form-data; filename=\"=?utf-8?B?bmHD?= =?utf-8?B?r3ZlLnR4dA==?=\"",
                Some("naïve.txt"),
            ),
            (
                b"form-data; filename=\"my =?Shift_JIS?B?g2WDWINn?=.txt\"",
                Some("my テスト.txt"),
            ),
            (
                b"form-data; filename=\"=?GB2312?Q?=CE=C4=BC=FE?=\"",
                Some("文件"),
            ),
            (
                b"form-data; filename=\"=?none?B?bmHD?=\"",
                Some("=?none?B?bmHD?="),
            ),
            (
                b"form-data; filename*0*=UTF-8''na%C3; filename*1*=%AFve; filename*2=\".txt\"",
                Some("naïve.txt"),
            ),
            (
                b"form-data; filename*1=\"b.txt\"; filename*0=\"a\"",
                Some("ab.txt"),
            ),
            (b"form-data; filename*=koi8-r''%C6%C1%CA%CC", Some("файл")),
            (
                b"form-data; filename*0*=''na%C3%AFve; filename*1=.txt",
                Some("naïve.txt"),
            ),
            (
                b"form-data; filename=\"a.txt\"; filename*=UTF-8''",
                Some("a.txt"),
            ),
            // Each word of this charset returns to ASCII at its end.
            (
                b"form-data; filename=\"=?iso-2022-jp?b?GyRCRnxLXBsoQg==?= =?ISO-2022-JP*ja?b?GyRCOGwbKEIudHh0?=\"",
                Some("日本語.txt"),
            ),
            (b"form-data; filename=\"=?utf-8?b?bmHDr3Zl?=\"", Some("naïve")),
            (b"form-data; filename=\"=?utf-8?b?bmHDrw?=\"", Some("naï")),
            // What cannot be read is shown as it stands.
            (b"form-data; filename*=UTF-8''%ZZ", Some("UTF-8''%ZZ")),
            (
                b"form-data; filename*0*=X-none''a; filename*1=.txt",
                Some("X-none''a.txt"),
            ),
            (b"form-data; filename*1=\"b.txt\"", Some("b.txt")),
            (b"form-data; filename*0=\"\"", Some("")),
            (b"form-data; name=\"file\"; filename=\"\"", Some("")),
            (b"form-data; name=\"file\"", None),
            (b"", None),
        ] {
            let found = Disposition::parse(header).expect("it is short");
            assert_eq!(
                found.filename.as_deref(),
                name,
                "{}",
                String::from_utf8_lossy(header)
            );
        }
    }

    #[test]
    fn a_field_has_the_name_of_its_own_parameter() {
        for header in [
            &br#"form-data; name="file""#[..],
            br#"form-data; NAME=file; filename=a.txt"#,
            br#"form-data; filename="x; name=other"; name="file""#,
            br#"form-data; attachment; name="file"; filename="a.txt""#,
        ] {
            let found = Disposition::parse(header).expect("it is short");
            assert_eq!(found.name, "file");
        }
        let none = Disposition::parse(b"form-data").expect("it is short");
        assert_eq!(none.name, "");
    }

    #[test]
    fn a_header_without_end_is_not_read() {
        let parts = (0..).map(|part| format!("; filename*{part}=x"));
        let header: String = parts.take(1_000).collect();
        assert!(Disposition::parse(format!("form-data{header}").as_bytes()).is_none());
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_without_a_panic(header in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Disposition::parse(&header);
        }

        #[test]
        fn whatever_follows_is_read_without_a_panic(rest in "[;=\"'%?\\\\ a-z0-9*é]{0,40}") {
            let _ = Disposition::parse(format!("form-data; filename{rest}").as_bytes());
        }
    }
}
