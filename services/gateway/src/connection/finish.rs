//! The end of a connection that the client ended.

use std::{future::ready, time::Duration};

use tokio::time::timeout;

use super::{Connection, next_answer};
use crate::{close::Close, connection::sends::Sends, socket::Received};

/// How long it may take to carry out what a client sent before it closed or went away. One answer
/// takes at most 2.5 seconds; what waits behind it in the same channel goes with the next request.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest one answer may wait for a client that has closed and does not read.
const ANSWER_WRITE_TIMEOUT: Duration = Duration::from_secs(1);

impl Connection {
    /// Carries out what the client sent before it closed or went away, and answers it where it still
    /// reads.
    pub(super) async fn finish(&mut self, reason: Close) -> Close {
        match timeout(FINISH_TIMEOUT, self.finish_all(reason)).await {
            Ok(Some(reason)) => return reason,
            Ok(None) => {}
            Err(_) => tracing::warn!("a client closed before everything that it sent was answered"),
        }
        match reason {
            Close::Done => self.socket.receive_close().await,
            reason => reason,
        }
    }

    /// Goes on until everything is read, answered and written, or there is another reason to close,
    /// which is returned.
    async fn finish_all(&mut self, reason: Close) -> Option<Close> {
        let bus = self.gateway.bus.clone();
        // After a protocol error, or a frame that is too big, nothing more can be read.
        let mut is_read = reason != Close::Done;
        loop {
            let sends = self.used.as_ref().map(|used| &used.sends);
            let is_answered = sends.is_none_or(Sends::is_empty);
            let has_room = sends.is_none_or(Sends::has_room);
            if is_read && is_answered && !self.unflushed {
                return None;
            }
            let done = tokio::select! {
                biased;
                Some(answered) = next_answer(&mut self.used, &bus) => {
                    let written = timeout(ANSWER_WRITE_TIMEOUT, self.answer(answered)).await;
                    written.unwrap_or_else(|_| {
                        self.socket.discard();
                        Ok(())
                    })
                }
                // Dropped: the client gets them on resume, and a full queue would close the
                // connection too early.
                _ = self.peer.deliveries.next() => Ok(()),
                received = self.socket.receive(), if has_room && !is_read => match received {
                    Ok(Received::Message(message)) => self.on_message(message).await,
                    Ok(Received::Closing) | Err(_) => {
                        is_read = true;
                        Ok(())
                    }
                },
                () = ready(()), if self.unflushed => {
                    let flushed = timeout(ANSWER_WRITE_TIMEOUT, self.flush()).await;
                    flushed.unwrap_or_else(|_| {
                        self.socket.discard();
                        Ok(())
                    })
                }
            };
            // What cannot be written is for a client that is gone: the rest is carried out.
            if let Err(reason @ (Close::SessionEnded | Close::Flood)) = done {
                return Some(reason);
            }
        }
    }
}
