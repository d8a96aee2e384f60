//! How long a request may take: its body to arrive, and then its answer.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http_body::{Frame, SizeHint};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::Problem;

#[derive(Clone, Copy)]
pub struct Deadlines {
    /// For a body to arrive.
    pub body: Duration,
    /// For the answer, from then on.
    pub answer: Duration,
}

/// Answers a body that is too slow with 408, and work that takes too long with 503.
pub async fn keep(State(deadlines): State<Deadlines>, request: Request, next: Next) -> Response {
    let arrived = CancellationToken::new();
    let guard = arrived.clone().drop_guard();
    let request = request.map(|body| {
        Body::new(Arriving {
            body,
            _guard: guard,
        })
    });
    let answer = next.run(request);
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => return answer,
        () = arrived.cancelled() => {}
        () = tokio::time::sleep(deadlines.body) => return Problem::body_too_slow().into_response(),
    }
    let answered = tokio::time::timeout(deadlines.answer, answer).await;
    answered.unwrap_or_else(|_| Problem::unavailable().into_response())
}

/// A body that tells when it is done with: whoever reads it drops it then.
struct Arriving {
    body: Body,
    _guard: DropGuard,
}

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
