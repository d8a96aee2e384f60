//! What travels on Natter's wires: ids, WebSocket frames, broker events, calls and subjects.
//!
//! The contracts that these types carry are `WEBSOCKET.md` and `EVENTS.md` in this crate's folder.
//! Owner of every public name and shape; the services and the test clients use these types on
//! both ends. Deliberately absent: sockets, NATS, SQL and HTTP. A change here is a change of the
//! public contract, which is why `tests/wire.rs` freezes, in both directions, each shape that
//! Natter's own processes write; what clients send shows in the AsyncAPI document.

pub mod call;
mod close;
pub mod ephemeral;
pub mod event;
pub mod frame;
pub mod friendship;
mod id;
pub mod message;
pub mod profile;
pub mod subject;
mod time;

pub use close::CloseCode;
pub use id::{FriendshipId, MediaId, MessageId, SessionId, UserId};
pub use time::Timestamp;
