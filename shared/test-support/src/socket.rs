//! A WebSocket client of the public contract.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{
        self, Message,
        client::IntoClientRequest,
        http::{HeaderName, HeaderValue},
    },
};

use crate::{PATIENCE, secrets};

/// The status with which an upgrade was refused; 0 if there was no answer.
pub fn refused_with(error: &tungstenite::Error) -> u16 {
    match error {
        tungstenite::Error::Http(answer) => answer.status().as_u16(),
        _ => 0,
    }
}

/// An open connection and every frame it got.
pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    seen: Vec<Value>,
}

impl Socket {
    /// Connects with the given headers to a gateway's base URL (`http://…`).
    pub async fn connect(
        base: &str,
        headers: &[(&'static str, String)],
    ) -> Result<Self, Box<tungstenite::Error>> {
        let url = format!("{}/ws/messages/", base.replacen("http", "ws", 1));
        let mut request = url.into_client_request()?;
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).expect("a header value");
            request
                .headers_mut()
                .insert(HeaderName::from_static(name), value);
        }
        let (stream, _) = connect_async(request).await?;
        Ok(Self {
            stream,
            seen: Vec::new(),
        })
    }

    pub async fn send(&mut self, frame: Value) {
        secrets::note(&frame);
        self.send_text(&frame.to_string()).await;
    }

    /// Sends in one write: nothing of it waits in this client's kernel for the rest to be confirmed.
    pub async fn send_together(&mut self, messages: impl IntoIterator<Item = Message>) {
        for message in messages {
            self.stream
                .feed(message)
                .await
                .expect("the connection is open");
        }
        self.stream.flush().await.expect("the connection is open");
    }

    /// Whether the frame could be sent: the other side may be gone.
    pub async fn try_send(&mut self, frame: &Value) -> bool {
        secrets::note(frame);
        self.stream
            .send(Message::text(frame.to_string()))
            .await
            .is_ok()
    }

    /// Says goodbye; the other side may be gone.
    pub async fn close(&mut self) {
        let _ = self.stream.close(None).await;
    }

    pub async fn send_text(&mut self, text: &str) {
        self.send_message(Message::text(text)).await;
    }

    pub async fn send_message(&mut self, message: Message) {
        self.stream
            .send(message)
            .await
            .expect("the connection is open");
    }

    /// Every frame received so far.
    pub fn seen(&self) -> &[Value] {
        &self.seen
    }

    /// The next frame. `Err` when the connection is closed, with the code if one came.
    pub async fn next(&mut self) -> Result<Value, Option<u16>> {
        // For all messages together: pings go on coming while no frame does.
        let give_up = Instant::now() + PATIENCE;
        loop {
            let message = timeout_at(give_up, self.stream.next()).await;
            let message =
                message.unwrap_or_else(|_| panic!("no frame came; before: {:#?}", self.seen));
            match message {
                Some(Ok(Message::Text(text))) => {
                    let frame: Value = serde_json::from_str(&text).expect("frames are JSON");
                    self.seen.push(frame.clone());
                    return Ok(frame);
                }
                Some(Ok(Message::Close(frame))) => return Err(frame.map(|frame| frame.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    /// The next frame that `wanted` accepts; others are passed over (and kept in [`Self::seen`]).
    pub async fn find(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let search = async {
            loop {
                match self.next().await {
                    Ok(frame) if wanted(&frame) => return frame,
                    Ok(_) => {}
                    Err(code) => panic!("closed with {code:?}; before: {:#?}", self.seen),
                }
            }
        };
        match tokio::time::timeout(PATIENCE, search).await {
            Ok(frame) => frame,
            Err(_) => panic!("the frame did not come"),
        }
    }

    /// The next frame of a type.
    pub async fn frame(&mut self, kind: &str) -> Value {
        self.find(|frame| frame["type"] == kind).await
    }

    /// Waits until the server closes; returns the code.
    pub async fn closed(&mut self) -> Option<u16> {
        loop {
            if let Err(code) = self.next().await {
                return code;
            }
        }
    }

    /// The code that the connection is closed with, however long that takes up to `patience`.
    pub async fn closed_within(&mut self, patience: Duration) -> Option<u16> {
        let closed = async {
            loop {
                match self.stream.next().await {
                    Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code.into()),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return None,
                }
            }
        };
        let closed = tokio::time::timeout(patience, closed).await;
        closed.expect("the connection stays open")
    }

    /// Whether the server answers the close frame that was sent, and ends the connection.
    pub async fn ended_cleanly(&mut self) -> bool {
        let end = async {
            loop {
                match self.stream.next().await {
                    Some(Ok(_)) => {}
                    Some(Err(_)) => return false,
                    // Without an error: the close handshake was completed.
                    None => return true,
                }
            }
        };
        tokio::time::timeout(PATIENCE, end).await.unwrap_or(false)
    }

    /// Sends a message and waits for its `ack` or `error`.
    pub async fn say(&mut self, channel: &str, client_id: &str, payload: &str) -> Value {
        self.send(json!({
            "type": "friendship", "channel": channel, "payload": payload, "client_id": client_id,
        }))
        .await;
        self.answer(client_id).await
    }

    /// The same until the answer is another than `unavailable`, which a replica that is slow may cause.
    pub async fn say_until_decided(
        &mut self,
        channel: &str,
        client_id: &str,
        payload: &str,
    ) -> Value {
        let saying = async {
            loop {
                let answer = self.say(channel, client_id, payload).await;
                if answer["code"] != "unavailable" {
                    return answer;
                }
            }
        };
        let answer = tokio::time::timeout(PATIENCE, saying).await;
        answer.expect("it stays unavailable")
    }

    /// The `ack` or `error` of a client id.
    pub async fn answer(&mut self, client_id: &str) -> Value {
        self.find(|frame| {
            (frame["type"] == "ack" || frame["type"] == "error") && frame["client_id"] == client_id
        })
        .await
    }
}
