//! The server's own refusals, with a body.
//!
//! What is no HTTP request never reaches a route: hyper answers it alone, without a body. Here its
//! answer gets the body that the contract promises.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use uuid::Uuid;

/// Status line, code and text of each.
const REFUSALS: [(&[u8], &str, &str); 3] = [
    (
        b"HTTP/1.1 400 Bad Request\r\n",
        "bad_request",
        "The request is not HTTP/1.1.",
    ),
    (
        b"HTTP/1.1 414 URI Too Long\r\n",
        "uri_too_long",
        "The request's address is too long.",
    ),
    (
        b"HTTP/1.1 431 Request Header Fields Too Large\r\n",
        "headers_too_large",
        "The request's headers are too large.",
    ),
];
/// Only hyper's own refusals have this header: those of a route have a body.
const EMPTY: &[u8] = b"content-length: 0\r\n";

/// Whether a route answers on a connection: what is written then is the route's, whatever it looks
/// like. A file may begin like a refusal.
#[derive(Clone, Default)]
pub struct Answering(Arc<AtomicU8>);

impl Answering {
    const NO: u8 = 0;
    const YES: u8 = 1;
    /// Answered, and perhaps not written yet.
    const ENDED: u8 = 2;

    pub fn begin(&self) {
        self.0.store(Self::YES, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Self::NO
    }

    fn end(&self) {
        self.0.store(Self::ENDED, Ordering::Relaxed);
    }

    /// Everything that was answered is written. Returns whether an answer ended with it.
    fn flushed(&self) -> bool {
        let (ended, no) = (Self::ENDED, Self::NO);
        let order = Ordering::Relaxed;
        self.0.compare_exchange(ended, no, order, order).is_ok()
    }
}

/// The body of a route's answer: when it is gone, the route has answered.
pub struct Answer {
    body: Body,
    answering: Answering,
}

impl Answer {
    pub fn new(body: Body, answering: Answering) -> Self {
        Self { body, answering }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.answering.end();
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection whose server's refusals get a body on their way out.
pub struct Explained<S> {
    inner: S,
    answering: Answering,
    /// What the request begins with, as far as it is read: an answer to HEAD has no body.
    begins: Vec<u8>,
    /// The rest of a refusal that is being written.
    rest: Vec<u8>,
}

const HEAD: &[u8] = b"HEAD ";

impl<S> Explained<S> {
    pub fn new(inner: S, answering: Answering) -> Self {
        Self {
            inner,
            answering,
            begins: Vec::with_capacity(HEAD.len()),
            rest: Vec::new(),
        }
    }
}

/// The refusal with what it lacks, if one is written.
fn explained(written: &[u8], is_head: bool) -> Option<Vec<u8>> {
    let (line, code, text) = REFUSALS
        .iter()
        .find(|(line, ..)| written.starts_with(line))?;
    let head = written.strip_suffix(b"\r\n")?;
    if !head
        .windows(EMPTY.len())
        .any(|part| part.eq_ignore_ascii_case(EMPTY))
    {
        return None;
    }
    // Which service it was for is not known: the text stands under both keys.
    let body = json!({"error": text, "detail": text, "code": code}).to_string();
    let (length, id) = (body.len(), Uuid::new_v4());
    let mut answer = line.to_vec();
    answer.extend_from_slice(
        format!(
            "content-type: application/json\r\ncontent-length: {length}\r\nx-content-type-options: nosniff\r\nx-request-id: {id}\r\nconnection: close\r\n\r\n"
        )
        .as_bytes(),
    );
    if !is_head {
        answer.extend_from_slice(body.as_bytes());
    }
    Some(answer)
}

impl<S: AsyncWrite + Unpin> Explained<S> {
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.rest.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.rest.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Explained<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        let missing = HEAD.len() - self.begins.len();
        let read = buffer.filled().get(before..).unwrap_or_default();
        self.begins.extend(read.iter().take(missing));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Explained<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_rest(cx))?;
        let refusal = self.answering.is_over();
        let refusal = refusal.then(|| explained(buffer, self.begins == HEAD));
        match refusal.flatten() {
            Some(answer) => {
                self.rest = answer;
                // Taken whole: what cannot be written now is written by the flush that follows.
                if let Poll::Ready(Err(error)) = self.poll_rest(cx) {
                    return Poll::Ready(Err(error));
                }
                Poll::Ready(Ok(buffer.len()))
            }
            None => Pin::new(&mut self.inner).poll_write(cx, buffer),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_rest(cx))?;
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        if self.answering.flushed() {
            self.begins.clear();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_rest(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
