//! The real thing on private ports: Natter's processes with a Postgres and a NATS of their own.
//!
//! The tests in `tests/it` play the contract's promises against it, in one process and apart.

mod broker;
mod chat;
pub mod feeds;
mod otlp;
mod python;
mod raw;
mod story;
mod subscriber;
mod world;

pub use broker::{jetstream, tell_marks};
pub use chat::{Log, Place, Talker, talk_during};
pub use otlp::{Collector, Span};
pub use python::python;
pub use raw::said_to;
pub use story::{Addresses, story};
pub use subscriber::Subscriber;
pub use world::{Topology, World};
