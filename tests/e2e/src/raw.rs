//! Bytes to a server, as no client library would send them.

use natter_test_support::PATIENCE;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Everything that the server at `base` (`http://…`) says until it closes.
pub async fn said_to(base: &str, request: &[u8]) -> String {
    let address = base.replace("http://", "");
    let mut socket = TcpStream::connect(address).await.expect("it listens");
    socket.write_all(request).await.expect("it reads");
    let mut said = Vec::new();
    let read = timeout(PATIENCE, socket.read_to_end(&mut said)).await;
    // A server that refuses what it has not read to the end resets the connection.
    let _ = read.expect("the server hangs");
    String::from_utf8_lossy(&said).into_owned()
}
