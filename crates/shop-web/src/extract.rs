//! Extractors: they authenticate and validate, and answer with a problem where that fails.
//!
//! All of them rely on the frame that [`crate::app::router_layers`] puts around every route.

mod people;
mod wire;

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use sha2::{Digest as _, Sha256};

pub use crate::consistency::Consistency;
pub use crate::deadline::Deadline;
pub use crate::page::Page;
pub use crate::session_cookie::SessionCookie;
pub use people::{ActiveSession, CurrentUser, LoginRequired, MaybeSession, Shopkeeper};
pub use wire::{Form, Json, Path, Query};

use crate::WebState;
use crate::context::{RequestContext, header_text};
use crate::problem::Problem;

/// Lets only our own services through: they show the internal token.
#[derive(Debug, Clone, Copy)]
pub struct Internal;

impl<S: Sync> FromRequestParts<S> for Internal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        if parts
            .extensions
            .get::<RequestContext>()
            .is_some_and(|context| context.internal)
        {
            return Ok(Self);
        }
        Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "internal-token",
            "This is for the shop's own services",
        ))
    }
}

impl<S: Sync> FromRequestParts<S> for Consistency {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(no_frame)
    }
}

impl<S: Sync> FromRequestParts<S> for Deadline {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().copied().ok_or_else(no_frame)
    }
}

impl<S: Sync> FromRequestParts<S> for SessionCookie {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(no_frame)
    }
}

/// Whether a request shows the internal token. Hashes are compared, so that the time it takes tells nothing.
pub(crate) fn shows_token(web: &WebState, headers: &HeaderMap) -> bool {
    let token = header_text(headers, header::AUTHORIZATION.as_str()).and_then(|value| value.strip_prefix("Bearer "));
    token.is_some_and(|token| <[u8; 32]>::from(Sha256::digest(token)) == web.internal_token_hash)
}

fn no_frame() -> Problem {
    tracing::error!("A route is served without the frame that its extractors need");
    Problem::internal()
}
