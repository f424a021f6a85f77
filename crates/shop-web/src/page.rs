//! Pages, and what every page knows.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::request::Parts;
use http::{HeaderValue, header};
use sha2::{Digest as _, Sha256};

use crate::assets;
use crate::context::RequestContext;
use crate::problem::Problem;

/// What the layout needs. An extractor; templates carry it as `page`.
///
/// It is the same for every visitor who asks the same host for the same path, so that pages can be cached.
#[derive(Debug, Clone)]
pub struct Page {
    edge: Arc<str>,
    path: Arc<str>,
}

impl Page {
    /// A page at a path of the shop, with the edge at a base URL.
    pub(crate) fn for_path(edge: &str, path: &str) -> Self {
        Self {
            edge: edge.into(),
            path: path.into(),
        }
    }

    pub(crate) fn of(context: &RequestContext) -> Self {
        Self {
            edge: context.edge.clone(),
            path: context.path.clone(),
        }
    }

    /// Where the browser finds the edge; photos and assets lie there.
    #[must_use]
    pub fn edge(&self) -> &str {
        &self.edge
    }

    /// The path of this page.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The address of an asset on the edge, with the hash of what is in it.
    #[must_use]
    pub fn asset(&self, name: &str) -> String {
        format!("{}{}", self.edge, assets::path(name))
    }

    /// The address of an asset at the origin, for what must work while the edge is down.
    #[must_use]
    pub fn origin_asset(&self, name: &str) -> &'static str {
        assets::path(name)
    }

    /// Whether this page is in a part of the shop, for `aria-current`.
    #[must_use]
    pub fn is_in(&self, part: &str) -> bool {
        self.path
            .strip_prefix(part)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || part == "/")
    }
}

impl<S: Sync> FromRequestParts<S> for Page {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(match parts.extensions.get::<RequestContext>() {
            Some(context) => Self::of(context),
            None => Self::for_path("", parts.uri.path()),
        })
    }
}

/// Marks a page that a handler made: the frame lets it be whatever its status, as a form that says what was wrong.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MadeByHandler;

/// A rendered template, with an `ETag` by its content.
#[derive(Debug, Clone)]
pub struct Html<T>(pub T);

impl<T: askama::Template> IntoResponse for Html<T> {
    fn into_response(self) -> Response {
        match self.0.render() {
            Ok(html) => {
                let etag = etag(html.as_bytes());
                let mut response = axum::response::Html(html).into_response();
                if let Ok(etag) = HeaderValue::from_str(&etag) {
                    response.headers_mut().insert(header::ETAG, etag);
                }
                response.extensions_mut().insert(MadeByHandler);
                response
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "A page could not be rendered");
                Problem::internal().into_response()
            }
        }
    }
}

/// Weak, because the balancer may compress what it names.
fn etag(bytes: &[u8]) -> String {
    format!("W/\"{}\"", URL_SAFE_NO_PAD.encode(&Sha256::digest(bytes)[..12]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_knows_in_which_part_of_the_shop_it_is() {
        let page = Page::for_path("", "/categories/strata");
        assert!(page.is_in("/categories/strata"));
        assert!(page.is_in("/categories"));
        assert!(!page.is_in("/cat"));
        assert!(!page.is_in("/cart"));
    }
}
