//! How long a request may take: its body to arrive, and then its answer.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    http::header,
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use http_body::{Body as _, Frame, SizeHint};
use tokio::sync::oneshot;

use crate::Problem;

/// How much of a body that nobody wants is still read, so that the client gets to read why.
const MAX_DRAINED_BYTES: usize = 32 << 20;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone, Copy)]
pub struct Deadlines {
    /// For a body to arrive.
    pub body: Duration,
    /// For the answer, from then on.
    pub answer: Duration,
}

/// Answers a body that is too slow with 408, and work that takes too long with 503.
pub async fn keep(State(deadlines): State<Deadlines>, request: Request, next: Next) -> Response {
    let (let_go, mut unread) = oneshot::channel();
    let waits_to_send = request.headers().contains_key(header::EXPECT);
    let request = request.map(|body| {
        Body::new(Arriving {
            body,
            is_read: waits_to_send,
            let_go: Some(let_go),
        })
    });
    let answer = next.run(request);
    tokio::pin!(answer);
    let mut rest = None;
    let answer = tokio::select! {
        biased;
        answer = &mut answer => answer,
        body = &mut unread => {
            rest = body.ok();
            let answer = tokio::time::timeout(deadlines.answer, answer).await;
            answer.unwrap_or_else(|_| Problem::unavailable().into_response())
        }
        () = tokio::time::sleep(deadlines.body) => return Problem::body_too_slow().into_response(),
    };
    if let Some(rest) = rest.or_else(|| unread.try_recv().ok()).flatten() {
        // A socket that is closed with something unread in it takes the answer away.
        let _ = tokio::time::timeout(DRAIN_TIMEOUT, drain(rest)).await;
    }
    answer
}

async fn drain(body: Body) {
    let mut stream = body.into_data_stream();
    let mut left = MAX_DRAINED_BYTES;
    while let Some(Ok(part)) = stream.next().await {
        match left.checked_sub(part.len()) {
            Some(less) => left = less,
            None => return,
        }
    }
}

/// A body that is handed back by whoever reads it: what is left of it, if anything.
struct Arriving {
    body: Body,
    /// Nothing more is to come, or (`Expect: 100-continue`) will come unless it is read.
    is_read: bool,
    let_go: Option<oneshot::Sender<Option<Body>>>,
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let is_read = self.is_read || self.body.is_end_stream();
        let rest = (!is_read).then(|| std::mem::take(&mut self.body));
        if let Some(let_go) = self.let_go.take() {
            // Nobody waits for it any more: the answer is on its way.
            let _ = let_go.send(rest);
        }
    }
}

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        self.is_read = matches!(polled, Poll::Ready(None | Some(Err(_))));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
