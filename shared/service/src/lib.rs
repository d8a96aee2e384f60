//! What every Natter process is made of, once: the `main`, settings, telemetry, health, shutdown,
//! and the HTTP conventions of the contract (error bodies, request ids, body reading, paging), which is
//! `HTTP.md` beside this crate.
//!
//! Deliberately absent: NATS, Postgres and anything about chat. A service hands [`run()`] a function
//! that sets it up and returns its router; everything from the signal handler to the last log
//! line is here.

mod api;
mod body;
mod cors;
mod deadline;
mod disposition;
mod health;
mod http;
mod options;
mod origin;
mod paging;
mod probe;
mod problem;
mod query;
mod refusal;
mod run;
mod serve;
mod settings;
mod telemetry;
mod typed;

pub use api::{Api, file, file_or_none, from_one, from_zero};
pub use body::{Fields, FieldsAndFiles, Upload, body_limit};
pub use health::Health;
pub use http::wrap;
pub use origin::{BaseUrl, ClientAddress, PageOrigin};
pub use paging::{Page, PageParams, Paged};
pub use problem::{ErrorKey, Problem};
pub use query::{Flag, Number, Params, PathId};
pub use run::{Process, run, run_task};
pub use settings::{LogFormat, ProcessSettings, RateLimits};
pub use typed::{File, Filled, WrongField, sent};
