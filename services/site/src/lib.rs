//! Pages for people: the web client, the library that it is made with, and the API documents in a
//! browser.
//!
//! No keys, no database, no broker. The gateway's process serves them, since it has no database and
//! no signing key either; every path that no service answers is answered here, with the error body
//! of the contract.

mod docs;
mod pages;

use axum::Router;
use natter_http::{ErrorKey, HttpSettings};

/// What the pages answer: all that no service does.
pub const PATHS: &[&str] = &["/"];

pub fn router(settings: &HttpSettings) -> Router {
    let routes = pages::routes().merge(docs::page());
    natter_http::wrap(routes, ErrorKey::Error, settings)
}
