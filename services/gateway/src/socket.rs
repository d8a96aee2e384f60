//! A client's WebSocket. What a client sent is read to its end, whatever becomes of the answers.
//! Tungstenite writes nothing once it has read a close frame, so the client's close frame is held
//! back until every frame before is answered. It reads nothing more once it cannot write a pong, so
//! what cannot be written is discarded.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use natter_protocol::frame::MAX_FRAME_BYTES;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        protocol::{Role, WebSocketConfig},
    },
};

use crate::close::Close;

/// The read buffer that each connection has, however idle it is: the default is 128 KiB.
const READ_BUFFER_BYTES: usize = 512;
/// What is gathered before it is written. A connection to which so much was once written together
/// keeps a buffer of this size.
const WRITE_BUFFER_BYTES: usize = 8 << 10;
/// A client that does not read is found by its queue and the write deadline long before.
const MAX_WRITE_BUFFER_BYTES: usize = 16 << 20;
/// How long a client has to answer a close frame, or to send the rest of its own.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// The same for a client that reads slowly, so that the close code still reaches it.
const SLOW_CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a client sent.
pub enum Received {
    Message(Message),
    /// Nothing but the client's close frame, or the end of the connection, is left to be read.
    Closing,
}

pub struct Socket(WebSocketStream<HoldsClose<TokioIo<Upgraded>>>);

impl Socket {
    pub async fn accept(upgraded: Upgraded) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(WRITE_BUFFER_BYTES)
            .max_write_buffer_size(MAX_WRITE_BUFFER_BYTES)
            .max_message_size(Some(MAX_FRAME_BYTES))
            .max_frame_size(Some(MAX_FRAME_BYTES));
        let stream = HoldsClose::new(TokioIo::new(upgraded));
        Self(WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await)
    }

    pub async fn receive(&mut self) -> Result<Received, Error> {
        poll_fn(|context| match self.0.poll_next_unpin(context) {
            Poll::Ready(Some(message)) => Poll::Ready(message.map(Received::Message)),
            Poll::Ready(None) => Poll::Ready(Ok(Received::Closing)),
            Poll::Pending if self.0.get_ref().is_holding() => Poll::Ready(Ok(Received::Closing)),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Reads the close frame that was held back.
    pub async fn receive_close(&mut self) -> Close {
        self.0.get_mut().release();
        match timeout(CLOSE_TIMEOUT, self.0.next()).await {
            Ok(Some(Err(error))) => Close::of_error(&error),
            _ => Close::Done,
        }
    }

    pub async fn send(&mut self, message: Message) -> Result<(), Error> {
        self.0.send(message).await?;
        self.check_written()
    }

    /// Writes without flushing.
    pub async fn feed(&mut self, message: Message) -> Result<(), Error> {
        self.0.feed(message).await?;
        self.check_written()
    }

    pub async fn flush(&mut self) -> Result<(), Error> {
        self.0.flush().await?;
        self.check_written()
    }

    /// Whether anything has come since this was asked last, be it a part of a frame.
    pub fn has_come(&mut self) -> bool {
        std::mem::take(&mut self.0.get_mut().has_read)
    }

    /// Whatever is written from now on is discarded: the client does not read.
    pub fn discard(&mut self) {
        self.0.get_mut().discards = true;
    }

    fn check_written(&self) -> Result<(), Error> {
        if self.0.get_ref().discards {
            Err(Error::AlreadyClosed)
        } else {
            Ok(())
        }
    }

    /// Closes with both sides' close frames. A client that reads slowly gets more time.
    pub async fn close(mut self, reason: Close) {
        let patience = if reason.is_slow() {
            SLOW_CLOSE_TIMEOUT
        } else {
            CLOSE_TIMEOUT
        };
        self.0.get_mut().release();
        let closing = async {
            // Refused where the client closed first; reading on then sends it the answer.
            let _ = self.0.send(Message::Close(Some(reason.frame()))).await;
            while let Some(Ok(_)) = self.0.next().await {}
        };
        // The client may be gone already; then there is nothing to say.
        let _ = timeout(patience, closing).await;
    }
}

/// Where the reading of a client's frames is: at the head of one or within its body.
#[derive(Default)]
struct Frames {
    head: [u8; 10],
    head_bytes: usize,
    /// What is still to come of the frame whose head is complete, its mask included.
    body_bytes: u64,
}

impl Frames {
    const OPCODE: u8 = 0x0f;
    const CLOSE: u8 = 0x8;
    const MASKED: u8 = 0x80;
    const MASK_BYTES: u64 = 4;

    /// Reads on. Returns where in these bytes a close frame starts: it is the client's last frame.
    fn close_in(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            let body = usize::try_from(self.body_bytes).unwrap_or(usize::MAX);
            let body = body.min(bytes.len() - at);
            if body > 0 {
                at += body;
                self.body_bytes -= body as u64;
                continue;
            }
            if self.head_bytes == 0 && bytes[at] & Self::OPCODE == Self::CLOSE {
                return Some(at);
            }
            self.head[self.head_bytes] = bytes[at];
            self.head_bytes += 1;
            at += 1;
            if let Some(body_bytes) = self.body_of_head() {
                (self.head_bytes, self.body_bytes) = (0, body_bytes);
            }
        }
        None
    }

    /// The length of what follows the head, once it is complete.
    fn body_of_head(&self) -> Option<u64> {
        let [_, second, rest @ ..] = &self.head[..self.head_bytes] else {
            return None;
        };
        let length = match second & !Self::MASKED {
            126 => u64::from(u16::from_be_bytes(*rest.first_chunk()?)),
            127 => u64::from_be_bytes(*rest.first_chunk()?),
            length => u64::from(length),
        };
        let mask = match second & Self::MASKED {
            0 => 0,
            _ => Self::MASK_BYTES,
        };
        Some(length.saturating_add(mask))
    }
}

/// A stream of WebSocket frames of which nothing from the close frame on is read until it is
/// released, and which reads on where nothing can be written any more.
struct HoldsClose<S> {
    stream: S,
    frames: Frames,
    /// From the close frame on.
    held: Vec<u8>,
    is_released: bool,
    /// Whether anything was read.
    has_read: bool,
    /// Whether what is written is discarded.
    discards: bool,
}

impl<S> HoldsClose<S> {
    fn new(stream: S) -> Self {
        Self {
            stream,
            frames: Frames::default(),
            held: Vec::new(),
            is_released: false,
            has_read: false,
            discards: false,
        }
    }

    fn is_holding(&self) -> bool {
        !self.is_released && !self.held.is_empty()
    }

    fn release(&mut self) {
        self.is_released = true;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for HoldsClose<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.is_holding() {
            // No waker is needed: the reader checks `is_holding` first.
            return Poll::Pending;
        }
        if !this.held.is_empty() {
            let count = this.held.len().min(buffer.remaining());
            buffer.put_slice(&this.held[..count]);
            this.held.drain(..count);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        this.has_read |= buffer.filled().len() > before;
        if this.is_released || !matches!(read, Poll::Ready(Ok(()))) {
            return read;
        }
        let Some(close) = this.frames.close_in(&buffer.filled()[before..]) else {
            return read;
        };
        this.held = buffer.filled()[before + close..].to_vec();
        buffer.set_filled(before + close);
        match close {
            // `Ready` without bytes would mean the end of the stream.
            0 => Poll::Pending,
            _ => read,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HoldsClose<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.discards {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        match written {
            Poll::Ready(Err(_)) => {
                self.discards = true;
                Poll::Ready(Ok(bytes.len()))
            }
            written => written,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.discards {
            return Poll::Ready(Ok(()));
        }
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        match flushed {
            Poll::Ready(Err(_)) => {
                self.discards = true;
                Poll::Ready(Ok(()))
            }
            flushed => flushed,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const TEXT: u8 = 0x81;
    const CLOSE: u8 = 0x88;

    fn frame(first: u8, length: usize, is_masked: bool) -> Vec<u8> {
        let mask_bit = u8::from(is_masked) << 7;
        let mut bytes = vec![first];
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(length @ ..=125), _) => bytes.push(mask_bit | length),
            (_, Ok(length)) => {
                bytes.push(mask_bit | 126);
                bytes.extend(length.to_be_bytes());
            }
            _ => {
                bytes.push(mask_bit | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        // What looks like a close frame at every place.
        bytes.extend(vec![CLOSE; length + 4 * usize::from(is_masked)]);
        bytes
    }

    proptest! {
        #[test]
        fn a_close_frame_is_found_wherever_reads_end(
            frames in prop::collection::vec((prop_oneof![0..300_usize, 65_000..66_000_usize], any::<bool>()), 0..8),
            read_bytes in 1..2_000_usize,
        ) {
            let before: Vec<u8> = frames.into_iter().flat_map(|(length, is_masked)| frame(TEXT, length, is_masked)).collect();
            let all = [before.clone(), frame(CLOSE, 2, true)].concat();
            let mut reading = Frames::default();
            let mut at = 0;
            let found = all.chunks(read_bytes).find_map(|read| {
                let close = reading.close_in(read).map(|close| at + close);
                at += read.len();
                close
            });
            prop_assert_eq!(found, Some(before.len()));
        }
    }

    #[tokio::test]
    async fn from_the_close_frame_on_nothing_is_read_until_it_is_released() {
        let (mut client, server) = duplex(1_024);
        let mut server = HoldsClose::new(server);
        let (before, behind) = (frame(TEXT, 3, true), frame(TEXT, 1, true));
        let close = [frame(CLOSE, 2, true), behind].concat();
        client.write_all(&before).await.expect("there is room");
        client.write_all(&close).await.expect("there is room");
        let mut read = vec![0; before.len()];
        server.read_exact(&mut read).await.expect("it is there");
        assert_eq!(read, before);
        let mut byte = [0];
        assert!(server.read(&mut byte).now_or_never().is_none());
        assert!(server.is_holding());
        server.release();
        // Into a buffer that is smaller than what was held.
        for expected in close {
            assert_eq!(server.read_u8().await.ok(), Some(expected));
        }
    }

    #[tokio::test]
    async fn where_nothing_can_be_written_any_more_reading_goes_on() {
        let (mut client, server) = duplex(1_024);
        let mut server = HoldsClose::new(server);
        let text = frame(TEXT, 3, true);
        client.write_all(&text).await.expect("there is room");
        drop(client);
        server.write_all(b"answer").await.expect("it is discarded");
        assert!(server.discards);
        let mut read = vec![0; text.len()];
        server.read_exact(&mut read).await.expect("it is there");
        assert_eq!(read, text);
    }
}
