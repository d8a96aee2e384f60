//! The file's name in a part's `Content-Disposition`, in all the forms in which clients write it.

use base64::{Engine, prelude::BASE64_STANDARD};

/// The name, if the part is a file's: `filename*` (RFC 8187) before `filename`, which may be quoted, in
/// UTF-8 or Latin-1, with the escapes of browsers, or in RFC 2047's encoded words.
pub fn filename(header: &[u8]) -> Option<String> {
    let parameters = parameters(&text(header));
    let of = |wanted: &str| {
        let mut all = parameters.iter();
        all.find(|(name, _)| name == wanted).map(|(_, value)| value)
    };
    let extended = of("filename*").and_then(|value| extended(value));
    extended.or_else(|| of("filename").map(|value| plain(value)))
}

/// UTF-8, or else Latin-1, in which every byte is a character.
fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    }
}

/// Names in lower case, and values without their quotes.
fn parameters(header: &str) -> Vec<(String, String)> {
    let mut parameters = Vec::new();
    let mut rest = header.split_once(';').map_or("", |(_, rest)| rest);
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([';', ' ', '\t']).to_ascii_lowercase();
        let after = after.trim_start();
        let value;
        (value, rest) = match after.strip_prefix('"') {
            Some(quoted) => unquoted(quoted),
            None => {
                let (value, rest) = after.split_once(';').unwrap_or((after, ""));
                (value.trim_end().to_owned(), rest)
            }
        };
        parameters.push((name, value));
    }
    parameters
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
fn extended(value: &str) -> Option<String> {
    let mut parts = value.splitn(3, '\'');
    let (charset, _, encoded) = (parts.next()?, parts.next()?, parts.next()?);
    let mut bytes = Vec::new();
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => hex(rest.next()?, rest.next()?)?,
            byte => byte,
        });
    }
    decoded(charset, &bytes)
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

fn decoded(charset: &str, bytes: &[u8]) -> Option<String> {
    match charset.to_ascii_lowercase().as_str() {
        "utf-8" | "us-ascii" => String::from_utf8(bytes.to_vec()).ok(),
        "iso-8859-1" | "windows-1252" => Some(bytes.iter().map(|byte| char::from(*byte)).collect()),
        _ => None,
    }
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

/// `=?UTF-8?B?w6kudHh0?=` and `=?ISO-8859-1?Q?=E9.txt?=`, one or several with spaces between them.
fn encoded_words(value: &str) -> Option<String> {
    let mut all = String::new();
    for word in value.split_whitespace() {
        let inner = word.strip_prefix("=?")?.strip_suffix("?=")?;
        let mut parts = inner.splitn(3, '?');
        let (charset, encoding, content) = (parts.next()?, parts.next()?, parts.next()?);
        let bytes = match encoding {
            "B" | "b" => BASE64_STANDARD.decode(content).ok()?,
            "Q" | "q" => quoted_printable(content)?,
            _ => return None,
        };
        all += &decoded(charset, &bytes)?;
    }
    (!all.is_empty()).then_some(all)
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
            (b"form-data; name=\"file\"; filename=\"\"", Some("")),
            (b"form-data; name=\"file\"", None),
            (b"", None),
        ] {
            let found = filename(header);
            assert_eq!(
                found.as_deref(),
                name,
                "{}",
                String::from_utf8_lossy(header)
            );
        }
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_without_a_panic(header in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = filename(&header);
        }

        #[test]
        fn whatever_follows_is_read_without_a_panic(rest in "[;=\"'%?\\\\ a-z0-9*é]{0,40}") {
            let _ = filename(format!("form-data; filename{rest}").as_bytes());
        }
    }
}
