//! WebSocket frames (RFC 6455) byte by byte, as no client library would send them.

use std::io;

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
pub const PONG: u8 = 0xA;
pub const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
/// Of no effect, so nothing has to be masked.
pub const NO_MASK: Mask = [0; 4];
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// What every byte of a client's payload is changed by.
pub type Mask = [u8; 4];

/// Appends a client's frame; its first byte has the flags and the opcode.
pub fn put(out: &mut Vec<u8>, mask: Mask, first: u8, payload: &[u8]) {
    put_head(out, mask, first, payload.len() as u64);
    if mask == NO_MASK {
        out.extend_from_slice(payload);
    } else {
        let mask = mask.iter().cycle();
        out.extend(payload.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
    }
}

/// Appends the head of a frame that claims this length.
pub fn put_head(out: &mut Vec<u8>, mask: Mask, first: u8, length: u64) {
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
    out.extend_from_slice(&mask);
}

/// A frame of a server.
#[derive(Debug)]
pub struct Frame {
    /// The flags and the opcode.
    pub first: u8,
    /// Empty where the frame is masked, which no server's may be.
    pub payload: Vec<u8>,
    pub is_masked: bool,
}

/// Reads what a server sends.
pub struct Frames(BufReader<OwnedReadHalf>);

impl Frames {
    pub async fn next(&mut self) -> io::Result<Frame> {
        let first = self.0.read_u8().await?;
        let length = match self.0.read_u8().await? {
            126 => u64::from(self.0.read_u16().await?),
            127 => self.0.read_u64().await?,
            length @ ..=125 => u64::from(length),
            _ => {
                return Ok(Frame {
                    first,
                    payload: Vec::new(),
                    is_masked: true,
                });
            }
        };
        let mut payload = vec![0; usize::try_from(length).unwrap_or_default()];
        self.0.read_exact(&mut payload).await?;
        Ok(Frame {
            first,
            payload,
            is_masked: false,
        })
    }
}

/// What a server said to an upgrade, and the connection.
pub struct Opened {
    /// 101: what follows are frames.
    pub status: u16,
    /// The whole head of the answer, in lower case.
    pub head: String,
    pub frames: Frames,
    pub writer: OwnedWriteHalf,
}

/// Asks a gateway for a WebSocket, with these headers and the key of the RFC's own example.
pub async fn open(address: &str, headers: &[(&str, String)]) -> io::Result<Opened> {
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
        answer.push(reader.read_u8().await?);
        if answer.len() > MAX_HEAD_BYTES {
            return Err(io::Error::other("the head of an answer does not end"));
        }
    }
    Ok(Opened {
        status: status(&answer).unwrap_or_default(),
        head: String::from_utf8_lossy(&answer).to_lowercase(),
        frames: Frames(reader),
        writer,
    })
}

/// The status in the head of an HTTP answer.
pub fn status(head: &[u8]) -> Option<u16> {
    let line = head.strip_prefix(b"HTTP/1.")?;
    std::str::from_utf8(line.get(2..5)?).ok()?.parse().ok()
}
