//! WebSocket frames, both ways. All are JSON objects told apart by `type`.

mod client;
mod server;

pub use client::{
    AuthFrame, ClientFrame, DeleteFrame, EditFrame, FrameError, MarkFrame, MediaItem, Parsed,
    ResumeFrame, SendFrame, media_items,
};
pub use server::{ErrorCode, Marks, ServerError, ServerFrame};

/// The largest frame, in bytes: 8 MiB.
pub const MAX_FRAME_BYTES: usize = 8 << 20;
