//! A link to NATS that loses, repeats and reorders what it carries.

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy},
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
};

use crate::detour::Detour;

/// Between NATS and its clients: of five log events that it hands out one is dropped, one is
/// sent twice, and one held back until the next has gone ahead. All else goes through.
pub struct Lossy(Detour);

impl Lossy {
    pub async fn start(server: &str) -> Self {
        let detour = Detour::start(server, |client, upstream| async move {
            let (mut from_client, to_client) = client.into_split();
            let (from_server, mut to_server) = upstream.into_split();
            tokio::select! {
                _ = copy(&mut from_client, &mut to_server) => {}
                _ = pass(BufReader::new(from_server), to_client) => {}
            }
        });
        Self(detour.await)
    }

    pub fn url(&self) -> String {
        self.0.url()
    }
}

/// What the server says, with its log events mistreated.
async fn pass(mut from: BufReader<OwnedReadHalf>, mut to: OwnedWriteHalf) -> std::io::Result<()> {
    let mut held: Vec<u8> = Vec::new();
    let mut count = 0_u32;
    loop {
        let mut message = Vec::new();
        if from.read_until(b'\n', &mut message).await? == 0 {
            return Ok(());
        }
        let line = String::from_utf8_lossy(&message).into_owned();
        let words: Vec<&str> = line.split_whitespace().collect();
        if matches!(words.first(), Some(&("MSG" | "HMSG"))) {
            // The last word is the length of what follows, without its line end.
            let length: usize = words.last().and_then(|word| word.parse().ok()).unwrap_or(0);
            let begun = message.len();
            message.resize(begun + length + 2, 0);
            from.read_exact(&mut message[begun..]).await?;
        }
        let subject = words.get(1).copied().unwrap_or_default();
        if !(subject.starts_with("chat.friendship.") && subject.ends_with(".log")) {
            to.write_all(&message).await?;
            continue;
        }
        count += 1;
        match count % 5 {
            1 => {}
            2 => {
                to.write_all(&message).await?;
                to.write_all(&message).await?;
            }
            3 => held = message,
            _ => {
                to.write_all(&message).await?;
                to.write_all(&std::mem::take(&mut held)).await?;
            }
        }
    }
}
