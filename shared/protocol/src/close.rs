//! The codes that the gateway closes WebSocket connections with.

/// A code, and what it tells a client. `WEBSOCKET.md` in this crate's folder and the AsyncAPI
/// document list them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum CloseCode {
    Normal = 1000,
    GoingAway = 1001,
    ProtocolError = 1002,
    InvalidData = 1007,
    PolicyViolation = 1008,
    TooBig = 1009,
    Restart = 1012,
    TryAgainLater = 1013,
    Unauthorized = 4001,
    Resume = 4008,
    TooManyConnections = 4009,
}

impl CloseCode {
    pub const ALL: [Self; 11] = [
        Self::Normal,
        Self::GoingAway,
        Self::ProtocolError,
        Self::InvalidData,
        Self::PolicyViolation,
        Self::TooBig,
        Self::Restart,
        Self::TryAgainLater,
        Self::Unauthorized,
        Self::Resume,
        Self::TooManyConnections,
    ];

    pub fn number(self) -> u16 {
        self as u16
    }

    /// When the gateway closes with it.
    pub fn when(self) -> &'static str {
        match self {
            Self::Normal => "The client closed the connection",
            Self::GoingAway => "The client answered no ping for two heartbeats",
            Self::ProtocolError => "The client broke the WebSocket protocol",
            Self::InvalidData => "A text frame was not UTF-8",
            Self::PolicyViolation => "No resume frame came in time, or too many malformed frames",
            Self::TooBig => "A frame was larger than 8 MiB",
            Self::Restart => "The gateway restarts",
            Self::TryAgainLater => "The gateway is overloaded, or a service it needs is away",
            Self::Unauthorized => "The session ended or the access token expired",
            Self::Resume => "The client reads too slowly, or the log was set back",
            Self::TooManyConnections => {
                "The user has more connections than allowed; the oldest is closed"
            }
        }
    }

    /// What the client should do.
    pub fn then(self) -> &'static str {
        match self {
            Self::Normal => "Nothing",
            Self::GoingAway | Self::Resume => "Reconnect and resume",
            Self::ProtocolError | Self::InvalidData | Self::PolicyViolation => "Mend the client",
            Self::TooBig => "Send files over HTTP",
            Self::Restart => "Reconnect with jitter, and resume",
            Self::TryAgainLater => "Reconnect later, with jitter",
            Self::Unauthorized => "Refresh the access token, or log in",
            Self::TooManyConnections => "Nothing: another connection of the user took its place",
        }
    }
}
