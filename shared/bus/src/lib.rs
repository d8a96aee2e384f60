//! NATS: the connection, streams, requests and replies, durable consumers, and the feed of
//! revoked sessions.
//!
//! Whatever waits for the broker has a deadline, because the client buffers and waits without one
//! while it reconnects. Deliberately absent: what the payloads mean, which is
//! `natter-protocol`'s.

mod call;
mod connection;
mod consumer;
mod dead_letters;
mod request;
mod revocation;
mod streams;
mod trace;
mod unknown;

pub use async_nats::{HeaderMap, Message, Subscriber};
pub use call::{CallError, Calls};
pub use connection::{Bus, BusSettings, PendingAck, PublishError, StreamPosition, until_drained};
pub use consumer::{Consumer, Failure, consume};
pub use dead_letters::DeadLetter;
pub use request::{Ask, RequestError, Verdict};
pub use revocation::{Revocation, put_subject, watch_revoked};
pub use streams::{Feed, Stream, StreamSettings};
pub use trace::{batch_span, outbox_span, process_span, publish_span, request_span, traceparent};
pub use unknown::{pass_over, unread};
