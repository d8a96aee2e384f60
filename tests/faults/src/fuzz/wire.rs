//! WebSocket frames and HTTP requests byte by byte: no client library sends what is sent here.

use anyhow::{Context, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

pub const CONTINUATION: u8 = 0x0;
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
const PONG: u8 = 0xA;
pub const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
/// Of no effect, so nothing has to be masked.
const MASK: [u8; 4] = [0; 4];
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// Appends a frame; its first byte has the flags and the opcode.
pub fn put(out: &mut Vec<u8>, first: u8, payload: &[u8]) {
    put_head(out, first, payload.len() as u64);
    out.extend_from_slice(payload);
}

/// Appends the head of a frame that says to be so long.
pub fn put_head(out: &mut Vec<u8>, first: u8, length: u64) {
    out.push(first);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ ..=125), _) => out.push(MASKED | length),
        (_, Ok(length)) => {
            out.push(MASKED | 126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(MASKED | 127);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
}

/// What a server sent.
#[derive(Debug)]
pub enum Received {
    Text(Vec<u8>),
    Close(Option<u16>),
    /// A ping or a pong.
    Control,
    /// Nothing that a server may send.
    Broken(u8),
    /// The connection ended.
    End,
}

pub struct Reader(BufReader<OwnedReadHalf>);

impl Reader {
    pub async fn next(&mut self) -> Received {
        self.read().await.unwrap_or(Received::End)
    }

    async fn read(&mut self) -> std::io::Result<Received> {
        let first = self.0.read_u8().await?;
        let length = match self.0.read_u8().await? {
            126 => u64::from(self.0.read_u16().await?),
            127 => self.0.read_u64().await?,
            length @ ..=125 => u64::from(length),
            _ => return Ok(Received::Broken(first)),
        };
        let mut payload = vec![0; usize::try_from(length).unwrap_or_default()];
        self.0.read_exact(&mut payload).await?;
        Ok(match first ^ FIN {
            TEXT => Received::Text(payload),
            CLOSE => Received::Close(payload.first_chunk().map(|code| u16::from_be_bytes(*code))),
            PING | PONG => Received::Control,
            _ => Received::Broken(first),
        })
    }
}

/// Opens a WebSocket with these headers; otherwise the status of the refusal.
pub async fn open(
    address: &str,
    headers: &[(&str, String)],
) -> anyhow::Result<Result<(Reader, OwnedWriteHalf), u16>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.into_split();
    let mut head = format!(
        "GET /ws/messages/ HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    writer.write_all(head.as_bytes()).await?;
    let mut reader = BufReader::new(reader);
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(reader.read_u8().await.context("the answer to an upgrade")?);
        if answer.len() > MAX_HEAD_BYTES {
            bail!("the head of an answer does not end");
        }
    }
    Ok(match status(&answer) {
        Some(101) => Ok((Reader(reader), writer)),
        other => Err(other.unwrap_or_default()),
    })
}

fn status(head: &[u8]) -> Option<u16> {
    let line = head.strip_prefix(b"HTTP/1.")?;
    std::str::from_utf8(line.get(2..5)?).ok()?.parse().ok()
}

/// The answer to an HTTP request.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// The names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter();
        let found = all.find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// From all that a server said until it closed; None if that is no answer.
    fn of(said: &[u8]) -> Option<Self> {
        let end = said.windows(4).position(|four| four == b"\r\n\r\n")?;
        let (head, body) = (&said[..end], &said[end + 4..]);
        let status = status(head)?;
        // `100 Continue`: the answer follows.
        if status < 200 {
            return Self::of(body);
        }
        let head = String::from_utf8_lossy(head);
        let lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let headers = lines
            .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
            .collect();
        let mut answer = Self {
            status,
            headers,
            body: Vec::new(),
        };
        answer.body = if answer.header("transfer-encoding") == Some("chunked") {
            joined(body)?
        } else {
            body.to_vec()
        };
        Some(answer)
    }
}

/// A chunked body as one.
fn joined(mut chunks: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = chunks.windows(2).position(|two| two == b"\r\n")?;
        let length = std::str::from_utf8(&chunks[..end]).ok()?;
        let length = usize::from_str_radix(length, 16).ok()?;
        if length == 0 {
            return Some(body);
        }
        let chunk = chunks.get(end + 2..)?;
        body.extend_from_slice(chunk.get(..length)?);
        chunks = chunk.get(length + 2..)?;
    }
}

/// Sends a request on a connection of its own, and reads to its end; None if that is no answer.
/// Where the request is not all there, nothing more of it comes.
pub async fn ask(address: &str, request: &[u8], is_whole: bool) -> anyhow::Result<Option<Answer>> {
    let stream = TcpStream::connect(address).await.context("it listens")?;
    let (mut reader, mut writer) = stream.into_split();
    let mut said = Vec::new();
    let write = async {
        // A server that refuses may not read to the end.
        let _ = writer.write_all(request).await;
        if !is_whole {
            let _ = writer.shutdown().await;
        }
    };
    // A reset after the answer changes nothing.
    let (_, _) = tokio::join!(write, reader.read_to_end(&mut said));
    Ok(Answer::of(&said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read() {
        let said = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n";
        let answer = Answer::of(said).unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"abcd"[..]));
        assert!(Answer::of(b"HTTP/1.1 200 OK\r\n").is_none());
        assert!(Answer::of(b"nonsense\r\n\r\n").is_none());
    }
}
