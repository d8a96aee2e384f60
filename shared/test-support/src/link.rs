//! A link to a server with the faults of a network: cut, silent, slow.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::AbortHandle,
    time::sleep,
};

/// How often a slow link carries something.
const SLOW_TICK: Duration = Duration::from_millis(50);

/// Carries connections to a server on this machine.
pub struct Link {
    port: u16,
    now: watch::Sender<Now>,
    task: AbortHandle,
}

/// What holds for the link now. Connections are numbered from 1.
#[derive(Default)]
struct Now {
    connections: u64,
    /// Connections up to this number are ended.
    cut: u64,
    /// Connections up to this number stay open, and carry nothing ever again.
    silenced: u64,
    /// No connection carries anything.
    is_silent: bool,
    /// The bytes that a connection carries each way per [`SLOW_TICK`].
    slow: Option<usize>,
}

impl Now {
    fn carries(&self, connection: u64) -> bool {
        !self.is_silent && connection > self.silenced.max(self.cut)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Link {
    /// In front of the server at this port.
    pub async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("it is bound").port();
        let (now, _) = watch::channel(Now::default());
        let connected = now.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                connected.send_modify(|now| now.connections += 1);
                let number = connected.borrow().connections;
                tokio::spawn(carry(client, server, number, connected.subscribe()));
            }
        });
        Self {
            port,
            now,
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

    /// Ends every connection that is open now.
    pub fn cut(&self) {
        self.now.send_modify(|now| now.cut = now.connections);
    }

    /// Silences every connection that is open now, as when the other machine is gone without a word.
    /// Those that come later are carried as before.
    pub fn silence(&self) {
        self.now.send_modify(|now| now.silenced = now.connections);
    }

    /// Carries nothing, on no connection, until it is mended: what was sent arrives then.
    pub fn partition(&self) {
        self.now.send_modify(|now| now.is_silent = true);
    }

    /// Carries no more than this many bytes a second each way on a connection, until it is mended.
    pub fn slow(&self, bytes_per_second: usize) {
        let ticks = usize::try_from(Duration::from_secs(1).as_millis() / SLOW_TICK.as_millis());
        let bytes = bytes_per_second / ticks.unwrap_or(1);
        self.now.send_modify(|now| now.slow = Some(bytes.max(1)));
    }

    pub fn mend(&self) {
        self.now.send_modify(|now| {
            now.is_silent = false;
            now.slow = None;
        });
    }
}

async fn carry(client: TcpStream, server: u16, number: u64, now: watch::Receiver<Now>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let both = async {
        tokio::join!(
            pump(from_client, to_server, number, now.clone()),
            pump(from_server, to_client, number, now.clone()),
        )
    };
    let mut cut = now.clone();
    tokio::select! {
        _ = both => {}
        _ = cut.wait_for(|now| now.cut >= number) => {}
    }
}

/// Carries one direction to its end.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    number: u64,
    mut now: watch::Receiver<Now>,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let slow = carried(&mut now, number).await;
        let most = slow.unwrap_or(buffer.len()).min(buffer.len());
        let read = from.read(&mut buffer[..most]).await?;
        carried(&mut now, number).await;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
        if slow.is_some() {
            sleep(SLOW_TICK).await;
        }
    }
}

/// Waits until the connection carries something; returns how much at a time, if it is slow.
async fn carried(now: &mut watch::Receiver<Now>, number: u64) -> Option<usize> {
    match now.wait_for(|now| now.carries(number)).await {
        Ok(now) => now.slow,
        // The link is gone: what was open goes on.
        Err(_) => None,
    }
}
