//! Why a connection is closed, and the code that tells the client what to do next.

use std::sync::OnceLock;

use natter_protocol::{CloseCode, UserId};
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::{
    Error, Utf8Bytes, error::ProtocolError, protocol::CloseFrame,
};

/// The causes, listed once: [`Close::ALL`] has every one.
macro_rules! causes {
    ($($(#[$means:meta])* $cause:ident,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Close {
            $($(#[$means])* $cause,)*
        }

        impl Close {
            const ALL: &[Self] = &[$(Self::$cause),*];
        }
    };
}

causes! {
    /// The client closed, or is gone.
    Done,
    /// The client has not answered for long.
    Gone,
    /// The client breaks the WebSocket protocol.
    ProtocolError,
    NotUtf8,
    /// A client of the full protocol did not send `resume` in time.
    ResumeExpected,
    /// Too many malformed frames.
    Flood,
    FrameTooBig,
    /// This gateway stops.
    Restart,
    /// What the connection needs cannot be had now.
    Overloaded,
    /// Logged out, revoked, or the token expired.
    SessionEnded,
    /// The client reads more slowly than its channels are written to.
    DeliveriesFull,
    /// More happened to the user's friendships than the connection could tell.
    NoticesFull,
    /// The client has not taken a frame for long.
    WriteTimeout,
    /// The logs may have been set back (a restore, any failover or switchover): what was delivered
    /// may be gone.
    SetBack,
    /// The user has as many newer connections as are allowed.
    TooManyConnections,
}

impl Close {
    /// Whether the client takes what it is sent too slowly.
    pub fn is_slow(self) -> bool {
        matches!(
            self,
            Self::DeliveriesFull | Self::NoticesFull | Self::WriteTimeout
        )
    }

    /// What a connection that cannot be read any more is closed with.
    pub fn of_error(error: &Error) -> Self {
        match error {
            Error::Capacity(_) => Self::FrameTooBig,
            Error::Utf8(_) => Self::NotUtf8,
            // The client went away without a word.
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Self::Done,
            Error::Protocol(_) => Self::ProtocolError,
            _ => Self::Done,
        }
    }

    /// Whether the client ended the connection: what it had sent before is carried out.
    pub fn is_by_client(self) -> bool {
        matches!(
            self,
            Self::Done | Self::ProtocolError | Self::NotUtf8 | Self::FrameTooBig
        )
    }

    pub fn frame(self) -> CloseFrame {
        let (code, reason) = match self {
            Self::Done => (CloseCode::Normal, "Done"),
            Self::Gone => (CloseCode::GoingAway, "No answer to pings"),
            Self::ProtocolError => (CloseCode::ProtocolError, "Not the WebSocket protocol"),
            Self::NotUtf8 => (CloseCode::InvalidData, "A text is not UTF-8"),
            Self::ResumeExpected => (
                CloseCode::PolicyViolation,
                "The resume frame did not come in time",
            ),
            Self::Flood => (CloseCode::PolicyViolation, "Too many malformed frames"),
            Self::FrameTooBig => (CloseCode::TooBig, "Frame too big"),
            Self::Restart => (
                CloseCode::Restart,
                "The server restarts: reconnect and resume",
            ),
            Self::Overloaded => (CloseCode::TryAgainLater, "Try again later"),
            Self::SessionEnded => (CloseCode::Unauthorized, "Unauthorized access"),
            Self::DeliveriesFull | Self::NoticesFull | Self::WriteTimeout => {
                (CloseCode::Resume, "Too slow: resume")
            }
            Self::SetBack => (CloseCode::Resume, "The log was set back: resume"),
            Self::TooManyConnections => (CloseCode::TooManyConnections, "Too many connections"),
        };
        CloseFrame {
            code: code.number().into(),
            reason: Utf8Bytes::from_static(reason),
        }
    }

    /// The name of the reason in logs and metrics: one code may have several.
    fn cause(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Gone => "gone",
            Self::ProtocolError => "protocol_error",
            Self::NotUtf8 => "not_utf8",
            Self::ResumeExpected => "resume_expected",
            Self::Flood => "flood",
            Self::FrameTooBig => "frame_too_big",
            Self::Restart => "restart",
            Self::Overloaded => "overloaded",
            Self::SessionEnded => "session_ended",
            Self::DeliveriesFull => "deliveries_full",
            Self::NoticesFull => "notices_full",
            Self::WriteTimeout => "write_timeout",
            Self::SetBack => "log_set_back",
            Self::TooManyConnections => "too_many_connections",
        }
    }

    /// Writes the one log line, and the count, of a connection that was closed. The user of a
    /// refused upgrade may not be known.
    pub fn record(self, user: Option<UserId>) {
        let (code, cause) = (u16::from(self.frame().code), self.cause());
        let user = user.map(tracing::field::display);
        tracing::info!(code, cause, user, "connection closed");
        self.count(1);
    }

    /// Shows every count from the start on: of a series that begins with 1 Prometheus sees no
    /// increase.
    pub fn register() {
        Self::ALL.iter().for_each(|close| close.count(0));
    }

    fn count(self, more: u64) {
        let code = u16::from(self.frame().code).to_string();
        let labels = [("code", code), ("cause", self.cause().to_owned())];
        metrics::counter!("websocket_closes_total", &labels).increment(more);
    }
}

/// Closes a connection from outside it. The first reason counts.
#[derive(Default)]
pub struct Closer {
    reason: OnceLock<Close>,
    closed: Notify,
}

impl Closer {
    pub fn close(&self, reason: Close) {
        let _ = self.reason.set(reason);
        // Stored for the connection, the only one that waits, if it is not waiting now.
        self.closed.notify_one();
    }

    pub fn is_closed(&self) -> bool {
        self.reason.get().is_some()
    }

    pub async fn closed(&self) -> Close {
        loop {
            if let Some(reason) = self.reason.get() {
                return *reason;
            }
            self.closed.notified().await;
        }
    }
}
