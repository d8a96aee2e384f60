//! What kind of content a file has.

/// The content type of a file: by its first bytes where they tell, then by what its sender says of it,
/// then by its name. The first bytes of what reads as text tell little: some kinds of
/// pictures and sounds begin with a few letters.
pub fn content_type(filename: &str, claimed: Option<&str>, bytes: &[u8]) -> String {
    let is_text = is_text(bytes);
    let claimed = claimed.and_then(essence).filter(|kind| kind != OCTETS);
    let said = claimed.unwrap_or_else(|| by_name(filename));
    let said = match TRANSPORT_STREAMS.contains(&said.as_str()) {
        // A sender that goes by the name `.ts` takes TypeScript for an MPEG transport stream.
        true if is_text => "text/plain".to_owned(),
        true if !is_transport_stream(bytes) => OCTETS.to_owned(),
        _ => said,
    };
    let seen = infer::get(bytes).map(|kind| kind.mime_type());
    match seen.filter(|seen| !is_text || HAVE_TEXT.contains(seen)) {
        // Opus alone has no files of its own: they are Ogg.
        Some("audio/opus") => "audio/ogg".to_owned(),
        // A container that several kinds share: `audio/webm` is not wrong where `video/webm` is seen,
        // nor is an office document where a ZIP archive is.
        Some(seen) if is_within(&said, seen) => said,
        Some(seen) => seen.to_owned(),
        None => said,
    }
}

const OCTETS: &str = "application/octet-stream";
/// Kinds whose files may be text from the first byte on.
const HAVE_TEXT: [&str; 6] = [
    "text/html",
    "text/xml",
    "text/x-shellscript",
    "application/pdf",
    "application/rtf",
    "application/postscript",
];
const TRANSPORT_STREAMS: [&str; 3] = ["video/mp2t", "video/vnd.dlna.mpeg-tts", "video/mpeg2-ts"];
/// Each packet of a transport stream has this length and begins with the byte [`PACKET_START`].
const PACKET_BYTES: usize = 188;
const PACKET_START: u8 = 0x47;

fn is_transport_stream(bytes: &[u8]) -> bool {
    let starts = bytes.iter().step_by(PACKET_BYTES).take(2);
    !bytes.is_empty() && starts.copied().all(|byte| byte == PACKET_START)
}

/// How many of a file's first bytes are looked at to tell whether it is text.
const SNIFFED: usize = 1_024;

fn is_text(bytes: &[u8]) -> bool {
    let first = &bytes[..bytes.len().min(SNIFFED)];
    let text = match std::str::from_utf8(first) {
        Ok(text) => text,
        // The last of these bytes may be in the middle of a character.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&first[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text.is_empty() && !text.contains(|c: char| c.is_control() && !"\t\n\r\x0c".contains(c))
}

const MAX_CHARS: usize = 100;

/// A content type in lower case without its parameters; `None` for a text that is not one.
fn essence(claimed: &str) -> Option<String> {
    let essence = claimed.split(';').next()?.trim().to_ascii_lowercase();
    let (kind, subtype) = essence.split_once('/')?;
    let is_token = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte))
    };
    let is_fine = essence.len() <= MAX_CHARS && is_token(kind) && is_token(subtype);
    is_fine.then_some(essence)
}

fn by_name(filename: &str) -> String {
    let extension = filename.rsplit_once('.').map(|(_, extension)| extension);
    // These extensions mean TypeScript far more often than an MPEG transport stream, and one of
    // those is known by its first bytes.
    let is_script = |extension: &str| {
        ["ts", "mts", "cts", "tsx"]
            .iter()
            .any(|one| extension.eq_ignore_ascii_case(one))
    };
    if extension.is_some_and(is_script) {
        return "text/plain".to_owned();
    }
    let guess = mime_guess::from_path(filename).first_or_octet_stream();
    guess.essence_str().to_owned()
}

fn is_within(said: &str, seen: &str) -> bool {
    let (said_kind, said_subtype) = said.split_once('/').unwrap_or_default();
    let (seen_kind, seen_subtype) = seen.split_once('/').unwrap_or_default();
    let plays = |kind: &str| kind == "audio" || kind == "video";
    if plays(said_kind) && plays(seen_kind) {
        let bare = |subtype: &str| subtype.trim_start_matches("x-").to_owned();
        let (said, seen) = (bare(said_subtype), bare(seen_subtype));
        let of_mp4 = |subtype: &str| ["mp4", "m4a", "m4v", "quicktime"].contains(&subtype);
        return said == seen || of_mp4(&said) && of_mp4(&seen);
    }
    let packs = [
        "application/zip",
        "application/x-ole-storage",
        "text/xml",
        "text/plain",
    ];
    // What is shown in a page is never taken on its sender's word against its bytes.
    packs.contains(&seen) && !plays(said_kind) && said_kind != "image" && said != OCTETS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_count_before_the_sender_and_the_sender_before_the_name() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
        let ogg = b"OggS\0\x02\0\0\0\0\0\0\0\0";
        let opus = b"OggS\0\x02\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\x01\x13OpusHead\x01\x01";
        let webm = b"\x1a\x45\xdf\xa3\x01\0\0\0\0\0\0\x1f\x42\x86\x81\x01\x42\xf7\x81\x01\x42\xf2\x81\x04\x42\xf3\x81\x08\x42\x82\x84webm";
        let html = b"<!DOCTYPE html><script>alert(1)</script>";
        let zip = b"PK\x03\x04\x14\0\0\0\x08\0";
        for (filename, claimed, bytes, expected) in [
            ("blob", Some("image/png"), &png[..], "image/png"),
            ("blob", None, png, "image/png"),
            ("photo.txt", Some("text/plain"), png, "image/png"),
            ("blob", Some("audio/ogg; codecs=opus"), ogg, "audio/ogg"),
            ("blob", Some("audio/webm"), webm, "audio/webm"),
            ("blob", Some("image/png"), html, "text/html"),
            ("a.png", None, html, "text/html"),
            (
                "a.docx",
                None,
                zip,
                "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            ),
            ("a.zip", None, zip, "application/zip"),
            ("a.png", Some("image/png"), zip, "application/zip"),
            ("app.ts", None, b"export const a = 1;", "text/plain"),
            ("a.txt", None, b"x", "text/plain"),
            ("a.txt", Some("nonsense"), b"x", "text/plain"),
            (
                "a.json",
                Some("application/octet-stream"),
                b"{}",
                "application/json",
            ),
            ("blob", Some("Text/CSV; charset=utf-8"), b"a,b", "text/csv"),
            ("none", None, b"x", OCTETS),
            ("voice.ogg", Some("audio/ogg"), opus, "audio/ogg"),
            ("voice.ogg", None, opus, "audio/ogg"),
            ("app.ts", Some("video/mp2t"), b"export {}", "text/plain"),
            (
                "notes.txt",
                Some("text/plain"),
                b"BMW meeting",
                "text/plain",
            ),
            ("notes.txt", None, b"GIFs are fun", "text/plain"),
            ("notes.txt", None, b"ID3 tags, MAC address", "text/plain"),
            ("mail.txt", None, b"BCC: all", "text/plain"),
            ("a.svg", None, b"<svg/>", "image/svg+xml"),
            (
                "app.ts",
                Some("video/vnd.dlna.mpeg-tts"),
                b"export {}",
                "text/plain",
            ),
            ("app.ts", Some("video/mp2t"), b"// caf\xe9 x", OCTETS),
            ("film.ts", Some("video/mp2t"), b"G\0\x01\x02", "video/mp2t"),
            ("a.pdf", None, b"%PDF-1.4", "application/pdf"),
        ] {
            assert_eq!(
                content_type(filename, claimed, bytes),
                expected,
                "{filename} {claimed:?}"
            );
        }
    }
}
