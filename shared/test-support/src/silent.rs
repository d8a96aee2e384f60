//! A way to a server that can fall silent: as when the other machine is gone without a word.

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::AbortHandle,
};

/// Carries connections to a server, until they are silenced: those that are open then stay open,
/// and nothing goes through them any more. Those that come later are carried as before.
pub struct Silent {
    port: u16,
    generation: watch::Sender<u64>,
    task: AbortHandle,
}

impl Drop for Silent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Silent {
    /// In front of the server at this port.
    pub async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("it is bound").port();
        let (generation, current) = watch::channel(0);
        let task = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let Ok(mut upstream) = TcpStream::connect(("127.0.0.1", server)).await else {
                    continue;
                };
                let mut current = current.clone();
                current.mark_unchanged();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut upstream) => return,
                        _ = current.changed() => {}
                    }
                    // Kept open, and never read again.
                    std::future::pending::<()>().await;
                });
            }
        });
        Self {
            port,
            generation,
            task: task.abort_handle(),
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Takes no more connections; those that are open go on.
    pub fn shut(&self) {
        self.task.abort();
    }

    /// Silences every connection that is open now.
    pub fn silence(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }
}
