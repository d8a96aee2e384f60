//! WebSocket frames and HTTP requests byte by byte: no client library sends what is sent here.

use anyhow::Context;
use natter_test_support::frames::{self, Frames, NO_MASK, PONG, status};
pub use natter_test_support::frames::{BINARY, CLOSE, CONTINUATION, FIN, PING, TEXT};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, tcp::OwnedWriteHalf},
};

/// Appends a frame; its first byte has the flags and the opcode.
pub fn put(out: &mut Vec<u8>, first: u8, payload: &[u8]) {
    frames::put(out, NO_MASK, first, payload);
}

/// Appends the head of a frame that says to be so long.
pub fn put_head(out: &mut Vec<u8>, first: u8, length: u64) {
    frames::put_head(out, NO_MASK, first, length);
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

pub struct Reader(Frames);

impl Reader {
    pub async fn next(&mut self) -> Received {
        let Ok(frame) = self.0.next().await else {
            return Received::End;
        };
        match frame.first ^ FIN {
            _ if frame.is_masked => Received::Broken(frame.first),
            TEXT => Received::Text(frame.payload),
            CLOSE => Received::Close(
                frame
                    .payload
                    .first_chunk()
                    .map(|code| u16::from_be_bytes(*code)),
            ),
            PING | PONG => Received::Control,
            _ => Received::Broken(frame.first),
        }
    }
}

/// Opens a WebSocket with these headers; otherwise the status of the refusal.
pub async fn open(
    address: &str,
    headers: &[(&str, String)],
) -> anyhow::Result<Result<(Reader, OwnedWriteHalf), u16>> {
    let opened = frames::open(address, headers).await;
    let opened = opened.context("the answer to an upgrade")?;
    Ok(match opened.status {
        101 => Ok((Reader(opened.frames), opened.writer)),
        other => Err(other),
    })
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
