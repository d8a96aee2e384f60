//! Requests that a client may send, and many that it may not.

use natter_test_support::{Choices, PNG};

use super::Operation;
use crate::fuzz::{
    BODIES_PASSWORD, Circle, WRITTEN,
    mutate::{Object, damage, deep, is_one_in, noise, odd, pick},
};

const NOBODY: &str = "01a20000-0000-7000-8000-00000000000a";
const BOUNDARY: &str = "natter-boundary";
/// Of the smallest limit of a body, and of those for files.
const LONG_BODIES: [usize; 3] = [(64 << 10) + 1, (6 << 20) + 1, (25 << 20) + 100_000];
/// Around the limits of an address, of headers, and of a request's head.
const LONG_HEADS: [usize; 4] = [300, 33_000, 66_000, 300_000];
const SEGMENTS: &[&str] = &[
    "%00",
    "..",
    ".",
    "%2e%2e",
    "%2F",
    "%ff",
    "%zz",
    "%",
    "é",
    " ",
    "",
    "{id}",
    "'",
    "%F0%9F%98%80",
    "-1",
    "00000000-0000-0000-0000-000000000000",
    "01A20000-0000-7000-8000-00000000000A",
    "01a2000000007000800000000000000a",
    "%30%31a20000-0000-7000-8000-00000000000a",
    "a;b",
    "a?b",
    "a#b",
    "\t",
];
const QUERIES: &[&str] = &[
    "&&",
    "=",
    "=x",
    "%zz",
    "%00",
    "%ff=%ff",
    "+",
    "a=1&a=2",
    "[]=1",
    "page",
    "page=1&page=2",
    "?",
    "é=é",
    "page=%31",
    "page_size=",
    "username=%00",
    "q=%00",
    "q=%ff",
];
const CONTENT_TYPES: &[&str] = &[
    "application/json; charset=utf-8",
    "application/json; charset=utf-16",
    "APPLICATION/JSON",
    "application/json;",
    "application/json; ; x",
    "application/problem+json",
    "text/plain",
    "text/json",
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "multipart/form-data; boundary=\"natter-boundary\"",
    "multipart/form-data; boundary=other",
    "multipart/form-data; boundary=\"é\"",
    "multipart/mixed; boundary=natter-boundary",
    "application/x-www-form-urlencoded; charset=latin-1",
    "*/*",
    "/",
    "",
    "é",
];
const FILE_NAMES: &[&str] = &[
    "filename=\"a.png\"",
    "filename=a.png",
    "filename=\"\"",
    "filename=\"../../etc/passwd\"",
    "filename=\"a\\\"b.png\"",
    "filename=\"%22%0d%0a.png\"",
    "filename*=UTF-8''%e2%82%ac.png",
    "filename*=nonsense''%ff",
    "filename*=UTF-8''%zz",
    "filename*0=\"a\"; filename*1=\".png\"",
    "filename*0*=UTF-8''a; filename*9=b",
    "filename=\"=?utf-8?B?4oKs?=\"",
    "filename=\"=?nonsense?Q?=ff?=\"",
    "filename=\"=?utf-8?X?x?=\"",
    "filename=\"unclosed",
    "filename=\"\u{202e}gnp.exe\"; filename=\"b\"",
    "filename*0*=iso-2022-jp''%1b%24%42; filename*1*=%1b",
];
const PART_TYPES: &[&str] = &[
    "image/png",
    "text/plain",
    "text/html",
    "image/svg+xml",
    "nonsense",
    "",
    "image/jpeg; charset=x",
    "multipart/mixed; boundary=x",
];
const HEADERS: &[&str] = &[
    "Content-Encoding: gzip",
    "Content-Encoding: identity",
    "Content-Encoding: br, gzip",
    "Accept-Encoding: gzip",
    "Accept-Encoding: identity;q=0, *;q=0",
    "Accept-Encoding: ;q=x",
    "Accept: nonsense/;q=9",
    "X-Request-Id: é",
    "X-Request-Id: ",
    "Range: bytes=0-1,5-",
    "Range: bytes=-0",
    "Range: bytes=-9999999999999999999999",
    "Range: bytes=9999999999999999999-",
    "Range: bytes=5-1",
    "Range: lines=1",
    "Range: bytes=0-,0-,0-,0-,0-,0-,0-,0-,0-,0-",
    "If-None-Match: *",
    "If-None-Match: \"x",
    "If-Range: \"x\"\r\nRange: bytes=0-1",
    "If-Modified-Since: Thu, 99 Foo 2026 25:61:61 GMT",
    "Origin: null",
    "Origin: http://evil.example",
    "Origin: \u{7f}",
    "Origin: http://evil.example\r\nAccess-Control-Request-Method: FOO",
    "X-Forwarded-For: nonsense, , 1.2.3.4:99999",
    "X-Forwarded-Host: a b",
    "X-Forwarded-Proto: gopher",
    "Forwarded: for=\"[::1\";by=;;=",
    "Expect: 100-continue",
    "Expect: nonsense",
    "Upgrade: websocket",
    "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
    "traceparent: 00-00000000000000000000000000000000-0000000000000000-01",
    "traceparent: zz",
    "Cookie: x=\"",
    "Host: other.example",
    "User-Agent: é\u{202e}",
    "User-Agent: ",
    "Content-Type: text/plain",
    "Sec-WebSocket-Protocol: ,,bearer.,",
    "TE: trailers, deflate;q=0.5",
    "Trailer: Authorization",
];
/// Lines that are no headers.
const BAD_HEADERS: &[&str] = &[
    "no colon",
    " leading: x",
    "Bad Name: x",
    "X: a\0b",
    "X: a\rb",
    ": x",
    "X : y",
    "Content-Length: 5\r\nContent-Length: 6",
    "Content-Length: -1",
    "Content-Length: 99999999999999999999",
    "Content-Length: +2",
    "Transfer-Encoding: gzip",
    "Transfer-Encoding: chunked, gzip",
    "Transfer-Encoding: nonsense",
];
const HOSTS: &[&str] = &[
    "",
    "Host: a b\r\n",
    "Host: [::1\r\n",
    "Host: é\r\n",
    "Host:\r\n",
    "Host: a/b\r\n",
    "Host: x:99999\r\n",
];
const TOKENS: &[&str] = &[
    "",
    "Authorization: Bearer\r\n",
    "Authorization: Bearer x.y.z\r\n",
    "Authorization: Bearer é\r\n",
    "Authorization: Basic eDp4\r\n",
    "Authorization: Bearer e30.e30.\r\n",
    "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n",
    "Authorization: Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.\r\n",
];
const METHODS: &[&str] = &[
    "HEAD", "OPTIONS", "PUT", "PATCH", "POST", "GET", "DELETE", "TRACE", "FOO", "get", "G\u{e9}T",
];
const VERSIONS: &[&str] = &[
    "HTTP/1.0",
    "HTTP/2.0",
    "HTTP/9.9",
    "HTTP/1.1 x",
    "http/1.1",
    "",
    "\0",
];

/// Whose requests they are, and what there is to name in them.
pub struct Ids {
    pub circle: Circle,
    pub message: String,
    pub media: String,
    pub session: String,
}

/// What is sent, and what is known of it.
#[derive(Default)]
pub struct Request {
    pub bytes: Vec<u8>,
    /// Whether all of it is there, so that there must be an answer.
    pub is_whole: bool,
    /// Whether its token is good.
    pub is_authorized: bool,
    /// Whether it goes to an operation as the document has it, with any fields and any body.
    pub is_as_documented: bool,
    pub is_head: bool,
    pub has_odd_header: bool,
}

/// A body, and the headers that say what it is.
struct Body {
    headers: String,
    bytes: Vec<u8>,
    is_whole: bool,
}

pub struct Maker {
    pub choices: Choices,
    pub ids: Ids,
    task: u64,
    made: u64,
}

impl Maker {
    pub fn new(choices: Choices, task: u64, ids: Ids) -> Self {
        Self {
            choices,
            ids,
            task,
            made: 0,
        }
    }

    pub fn request(&mut self, operation: &Operation, address: &str) -> Request {
        self.made += 1;
        let is_method_odd = is_one_in(&mut self.choices, 15);
        let method = if is_method_odd {
            *self.choices.of(METHODS)
        } else {
            &operation.method
        };
        let (path, is_path_odd) = self.path(operation);
        let query = self.query(operation);
        let is_version_odd = is_one_in(&mut self.choices, 60);
        let version = if is_version_odd {
            *self.choices.of(VERSIONS)
        } else {
            "HTTP/1.1"
        };
        let is_host_odd = is_one_in(&mut self.choices, 40);
        let host = if is_host_odd {
            (*self.choices.of(HOSTS)).to_owned()
        } else {
            format!("Host: {address}\r\n")
        };
        let is_token_odd = is_one_in(&mut self.choices, 15);
        let token = if is_token_odd {
            (*self.choices.of(TOKENS)).to_owned()
        } else {
            format!(
                "Authorization: Bearer {}\r\n",
                self.ids.circle.friends[0].access
            )
        };
        let odd_header = is_one_in(&mut self.choices, 5).then(|| self.odd_header());
        let body = self.body(operation);
        let head = format!(
            "{method} {path}{query} {version}\r\n{host}{token}{}{}Connection: close\r\n\r\n",
            odd_header.as_deref().unwrap_or_default(),
            body.headers
        );
        Request {
            bytes: [head.as_bytes(), &body.bytes].concat(),
            is_whole: body.is_whole,
            is_authorized: !is_token_odd,
            is_as_documented: !is_method_odd
                && !is_path_odd
                && !is_version_odd
                && odd_header.is_none(),
            is_head: method == "HEAD",
            has_odd_header: odd_header.is_some(),
        }
    }

    fn is_likely(&mut self) -> bool {
        !is_one_in(&mut self.choices, 4)
    }

    fn odd_header(&mut self) -> String {
        match self.choices.below(12) {
            0 => format!("{}\r\n", self.choices.of(BAD_HEADERS)),
            1 => format!("X-Long: {}\r\n", "x".repeat(*self.choices.of(&LONG_HEADS))),
            2 => (0..*self.choices.of(&[90, 101, 1_000]))
                .map(|at| format!("X-{at}: x\r\n"))
                .collect(),
            _ => format!("{}\r\n", self.choices.of(HEADERS)),
        }
    }

    /// The path of an operation with ids in it, and whether it is another.
    fn path(&mut self, operation: &Operation) -> (String, bool) {
        let mut path = operation.path.clone();
        if let Some((before, rest)) = operation.path.split_once('{') {
            let (name, after) = rest.split_once('}').unwrap_or_default();
            let id = if self.is_likely() {
                self.sample(name)
            } else {
                (*self.choices.of(SEGMENTS)).to_owned()
            };
            let is_odd = SEGMENTS.contains(&id.as_str());
            path = format!("{before}{id}{after}");
            if is_odd {
                return (path, true);
            }
        }
        if !is_one_in(&mut self.choices, 12) {
            return (path, false);
        }
        let at = pick(&mut self.choices, path.len());
        match self.choices.below(6) {
            0 => path = path.trim_end_matches('/').to_owned(),
            1 => path.push('/'),
            2 => {
                let segment = *self.choices.of(SEGMENTS);
                path.insert_str(at, segment);
            }
            3 => path.truncate(at),
            4 => path.push_str(&"x".repeat(*self.choices.of(&LONG_HEADS))),
            _ => path.make_ascii_uppercase(),
        }
        (path, true)
    }

    fn query(&mut self, operation: &Operation) -> String {
        let mut parts = Vec::new();
        for name in &operation.query {
            if is_one_in(&mut self.choices, 3) {
                let value = self.field(name);
                parts.push(format!("{name}={}", encoded(&value)));
            }
        }
        if is_one_in(&mut self.choices, 6) {
            parts.push((*self.choices.of(QUERIES)).to_owned());
        }
        if is_one_in(&mut self.choices, 80) {
            parts.push("x".repeat(*self.choices.of(&LONG_HEADS)));
        }
        if parts.is_empty() {
            return String::new();
        }
        format!("?{}", parts.join("&"))
    }

    /// A value as documented, or an odd one, without quotes.
    fn field(&mut self, name: &str) -> String {
        if self.is_likely() {
            self.sample(name)
        } else {
            odd(&mut self.choices).trim_matches('"').to_owned()
        }
    }

    /// A value as documented. What ends the session or the account is seldom right.
    fn sample(&mut self, name: &str) -> String {
        let is_right = is_one_in(&mut self.choices, 8);
        let own = &self.ids.circle.friends[0];
        let text = match name {
            "username" if is_right => &own.username,
            "username" => return format!("fuzz{}x{}", self.task, self.made),
            "password" | "current" if is_right => BODIES_PASSWORD,
            "new" => BODIES_PASSWORD,
            "password" | "current" => "Wr0ng!password",
            "email" => return format!("fuzz{}x{}@mail.example", self.task, self.made),
            "refresh" if is_right => &own.refresh,
            "refresh" => "x.y.z",
            "to_user" if is_right => &self.ids.circle.friends[1].id,
            "status" => *self.choices.of(&["accepted", "pending", "rejected"]),
            "friendship_id" if is_right => &self.ids.circle.closed,
            "friendship_id" => &self.ids.circle.channel,
            "message_id" | "start_message_id" | "reply_to" => &self.ids.message,
            "sid" if is_right => &self.ids.session,
            "id" => &self.ids.media,
            "payload" => WRITTEN,
            "client_id" => return format!("{}-{}", self.task, self.made),
            "media" => "[]",
            "q" => *self.choices.of(&[
                "one",
                "\"one two\" or -x",
                "-",
                "or or",
                "日本",
                "\"",
                "a\u{301}",
                "%_\\",
            ]),
            "start_date" => "2026-01-01T00:00:00Z",
            "after" | "before" => *self.choices.of(&["1", "true", "0", "yes"]),
            "page" | "page_size" | "limit" | "after_seq" | "before_seq" => {
                *self
                    .choices
                    .of(&["0", "1", "3", "501", "9223372036854775807"])
            }
            "expand" => "users",
            "name" => "x.png",
            "first_name" | "last_name" => "Ada",
            "personal_image" => "",
            _ => NOBODY,
        };
        text.to_owned()
    }

    fn body(&mut self, operation: &Operation) -> Body {
        if operation.body.is_empty() && !is_one_in(&mut self.choices, 8) {
            return Body {
                headers: String::new(),
                bytes: Vec::new(),
                is_whole: true,
            };
        }
        let object = self.object(operation);
        let (kind, mut bytes) = match self.choices.below(12) {
            0..=5 => (
                "application/json".to_owned(),
                object.json(&mut self.choices).into_bytes(),
            ),
            6 | 7 => (
                "application/x-www-form-urlencoded".to_owned(),
                form(&object),
            ),
            8..=10 => (
                format!("multipart/form-data; boundary={BOUNDARY}"),
                self.multipart(&object),
            ),
            _ => ("application/json".to_owned(), self.no_object()),
        };
        if is_one_in(&mut self.choices, 8) {
            damage(&mut bytes, &mut self.choices);
        }
        let kind = if is_one_in(&mut self.choices, 10) {
            (*self.choices.of(CONTENT_TYPES)).to_owned()
        } else {
            kind
        };
        let mut body = self.framed(bytes);
        body.headers.push_str(&format!("Content-Type: {kind}\r\n"));
        body
    }

    /// The fields of an operation's body, changed in some ways.
    fn object(&mut self, operation: &Operation) -> Object {
        let mut object = Object::default();
        for name in &operation.body {
            if is_one_in(&mut self.choices, 8) {
                continue;
            }
            let value = if is_one_in(&mut self.choices, 6) {
                self.field(name)
            } else {
                self.sample(name)
            };
            object = if name == "media" {
                object.with(name, value)
            } else {
                object.text(name, &value)
            };
        }
        for _ in 0..self.choices.below(3) {
            object.mutate(&mut self.choices);
        }
        object
    }

    fn no_object(&mut self) -> Vec<u8> {
        match self.choices.below(40) {
            0..=9 => noise(&mut self.choices),
            10..=19 => odd(&mut self.choices).into_bytes(),
            20..=28 => {
                let depth = *self.choices.of(&[127, 128, 5_000]);
                deep(&mut self.choices, depth).into_bytes()
            }
            29..=38 => Vec::new(),
            _ => vec![b' '; *self.choices.of(&LONG_BODIES)],
        }
    }

    fn multipart(&mut self, object: &Object) -> Vec<u8> {
        let mut body = Vec::new();
        for (key, value) in object.members() {
            let is_file =
                matches!(key, "file" | "personal_image") || is_one_in(&mut self.choices, 12);
            let mut head =
                format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{key}\"");
            let mut content = value.trim_matches('"').as_bytes().to_vec();
            if is_file {
                head.push_str(&format!("; {}", self.choices.of(FILE_NAMES)));
                head.push_str(&format!(
                    "\r\nContent-Type: {}",
                    self.choices.of(PART_TYPES)
                ));
                content = PNG.to_vec();
                if is_one_in(&mut self.choices, 2) {
                    damage(&mut content, &mut self.choices);
                }
            }
            head.push_str("\r\n\r\n");
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(&content);
            body.extend_from_slice(b"\r\n");
        }
        if !is_one_in(&mut self.choices, 15) {
            body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
        }
        body
    }

    /// A body with the headers that say how long it is.
    fn framed(&mut self, bytes: Vec<u8>) -> Body {
        let length = bytes.len();
        let (headers, is_whole) = match self.choices.below(40) {
            0..=3 => {
                let is_odd = is_one_in(&mut self.choices, 4);
                return Body {
                    headers: "Transfer-Encoding: chunked\r\n".to_owned(),
                    bytes: self.chunked(&bytes, is_odd),
                    is_whole: !is_odd,
                };
            }
            4 => (format!("Content-Length: {}\r\n", length / 2), true),
            5 => (format!("Content-Length: {}\r\n", length + 5), false),
            6 => (String::new(), true),
            7 => (
                format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
                false,
            ),
            _ => (format!("Content-Length: {length}\r\n"), true),
        };
        Body {
            headers,
            bytes,
            is_whole,
        }
    }

    fn chunked(&mut self, bytes: &[u8], is_odd: bool) -> Vec<u8> {
        let size = 1 + pick(&mut self.choices, bytes.len());
        let mut out = Vec::new();
        for chunk in bytes.chunks(size) {
            out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            out.extend_from_slice(chunk);
            out.extend_from_slice(b"\r\n");
        }
        let end = if is_odd {
            *self.choices.of(&[
                "",
                "x\r\n",
                "-1\r\n\r\n",
                "ffffffffffffffff\r\n",
                "0\r\nbad trailer\r\n\r\n",
                "5\r\nab",
            ])
        } else {
            *self
                .choices
                .of(&["0\r\n\r\n", "0;x=y\r\n\r\n", "0\r\nX-Trailer: x\r\n\r\n"])
        };
        out.extend_from_slice(end.as_bytes());
        out
    }
}

fn form(object: &Object) -> Vec<u8> {
    let fields = object.members().map(|(key, value)| {
        let value = value.trim_matches('"');
        format!("{}={}", encoded(key), encoded(value))
    });
    fields.collect::<Vec<_>>().join("&").into_bytes()
}

fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
