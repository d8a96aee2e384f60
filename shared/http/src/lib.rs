//! The HTTP conventions that all services share: error bodies, request ids, the reading of bodies
//! and queries, paging, origins and proxies, deadlines, the OpenAPI document, and the listener.
//! What clients may rely on is `HTTP.md` in this crate's folder.
//!
//! [`wrap()`] puts the conventions around a service's routes; [`serve()`] answers connections with
//! them.
//! Deliberately absent: who is calling, which is `natter-auth`'s.

mod api;
mod body;
mod by_path;
mod cors;
mod deadline;
mod disposition;
mod origin;
mod paging;
mod problem;
mod query;
mod refusal;
mod serve;
mod settings;
mod trace;
mod typed;
mod wrap;

pub use api::{Api, file, file_or_none, from_one, from_zero};
pub use body::{BodyLimit, Fields, FieldsAndFiles, Upload, body_limit};
pub use by_path::by_path;
pub use origin::{BaseUrl, ClientAddress, PageOrigin};
pub use paging::{Page, PageParams, Paged};
pub use problem::{ErrorKey, Problem};
pub use query::{Flag, Number, Params, PathId};
pub use serve::serve;
pub use settings::HttpSettings;
pub use typed::{File, Filled, WrongField, sent};
pub use wrap::{describe_metrics, wrap};
