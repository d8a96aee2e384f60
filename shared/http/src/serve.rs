//! The public listener: HTTP/1.1 with a deadline for the head of each request.
//!
//! axum's own server has none, so somebody who opens connections and says nothing would keep them.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{Request, Response},
};
use futures_util::TryFutureExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_io_timeout::TimeoutWriter;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use crate::refusal::{Answer, Answering, Explained};

/// How much of a request's head is read, in bytes. The refusal of a longer one does not say whether
/// its URL or its headers are too long.
const MAX_HEAD_BYTES: usize = 256 * 1024;
/// A client that takes nothing of an answer for so long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// When there are no file descriptors left, closing connections frees some.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves until `stop`, then lets the requests that are in hand finish. A connection that was
/// upgraded is not waited for: it belongs to whoever took it.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    head_timeout: Duration,
    stop: CancellationToken,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(MAX_HEAD_BYTES);
    let connections = TaskTracker::new();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((socket, peer)) => {
                let mut socket = TimeoutWriter::new(ready(socket));
                socket.set_timeout(Some(WRITE_TIMEOUT));
                let answering = Answering::default();
                let socket = Explained::new(Box::pin(socket), answering.clone());
                let connection = http
                    .serve_connection(TokioIo::new(socket), service(&routes, peer, answering))
                    .with_upgrades();
                let stop = stop.clone();
                connections.spawn(async move {
                    tokio::pin!(connection);
                    let served = tokio::select! {
                        served = &mut connection => served,
                        () = stop.cancelled() => {
                            connection.as_mut().graceful_shutdown();
                            connection.await
                        }
                    };
                    if let Err(error) = served {
                        tracing::debug!(%error, "a connection broke");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

fn ready(socket: TcpStream) -> TcpStream {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY was refused");
    }
    socket
}

fn service(
    routes: &Router,
    peer: SocketAddr,
    answering: Answering,
) -> impl hyper::service::Service<
    Request<Incoming>,
    Response = Response<Answer>,
    Error = Infallible,
    Future: Send,
> + Send
+ use<> {
    let routes = routes.clone();
    service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        answering.begin();
        let answering = answering.clone();
        let answered = routes.clone().oneshot(request.map(Body::new));
        answered.map_ok(|response| response.map(|body| Answer::new(body, answering)))
    })
}
