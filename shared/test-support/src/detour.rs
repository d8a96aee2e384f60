//! A TCP proxy: a port in front of a server, of which [`Lossy`](crate::Lossy) and
//! [`Recorder`](crate::Recorder) are made.

use tokio::{
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

pub struct Detour {
    port: u16,
    task: AbortHandle,
}

impl Drop for Detour {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Detour {
    /// In front of the server at this `host:port`, or `nats://host:port`. `pass` carries what a
    /// client and the server say to each other, until one of them ends.
    pub async fn start<F, Fut>(server: &str, pass: F) -> Self
    where
        F: Fn(TcpStream, TcpStream) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let server = server.trim_start_matches("nats://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("it is bound").port();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if let Ok(upstream) = TcpStream::connect(&server).await {
                    tokio::spawn(pass(client, upstream));
                }
            }
        });
        Self {
            port,
            task: task.abort_handle(),
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Of a NATS server.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}
