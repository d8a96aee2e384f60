//! WebSocket frames, both ways. All are JSON objects told apart by `type`.

mod client;
mod server;

pub use client::{ClientFrame, FrameError, MarkFrame, SendFrame};
pub use server::{ErrorCode, Marks, ServerError, ServerFrame};
