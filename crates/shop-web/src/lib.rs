//! What the shop's web services share: how a request comes in, how an answer goes out, and how it looks.
//!
//! A service builds its routes, hands them to [`app::router_layers`] and serves them with [`app::serve`]. Handlers take
//! the extractors of [`extract`], answer with [`page::Html`] or [`extract::Json`], and turn their errors into a
//! [`problem::Problem`], which becomes `application/problem+json` or a page of the shop, as the client prefers.

pub mod app;
pub mod assets;
pub mod consistency;
pub mod extract;
pub mod idempotency;
pub mod internal;
pub mod label;
pub mod money;
pub mod page;
pub mod photo;
pub mod problem;

mod config;
mod context;
mod deadline;
mod frame;
mod origin;
mod session_cookie;

pub use config::{WebArgs, WebState};
