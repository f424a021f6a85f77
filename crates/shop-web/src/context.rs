//! What is known about a request before anybody handles it.

use std::sync::Arc;

use axum::extract::MatchedPath;
use http::request::Parts;
use http::{HeaderMap, Method, header};
use uuid::Uuid;

use crate::WebState;

/// Set by the frame in the extensions of each request.
#[derive(Clone, Debug)]
pub(crate) struct RequestContext {
    pub(crate) request_id: Arc<str>,
    pub(crate) method: Method,
    pub(crate) path: Arc<str>,
    /// The route's pattern, for metrics: it has few values.
    pub(crate) route: Arc<str>,
    pub(crate) edge: Arc<str>,
    pub(crate) prefers_html: bool,
    /// Whether the browser asked over TLS: cookies are then for TLS only.
    pub(crate) secure: bool,
    /// The trace that the request belongs to, as 32 hex digits.
    pub(crate) trace_id: Option<Arc<str>>,
    /// Whether a service of ours asks, and has shown the token.
    pub(crate) internal: bool,
}

impl RequestContext {
    pub(crate) fn of(web: &WebState, parts: &Parts) -> Self {
        let headers = &parts.headers;
        let path = parts.uri.path();
        let scheme = if header_text(headers, "x-forwarded-proto") == Some("https") {
            "https"
        } else {
            "http"
        };
        let is_api = path.starts_with("/api/") || path.starts_with("/internal/");
        Self {
            request_id: request_id(headers),
            method: parts.method.clone(),
            path: path.into(),
            route: parts
                .extensions
                .get::<MatchedPath>()
                .map_or("unmatched", MatchedPath::as_str)
                .into(),
            edge: web.edge_base(scheme, host(parts)).into(),
            prefers_html: !is_api && header_text(headers, header::ACCEPT.as_str()).is_some_and(accepts_html),
            secure: scheme == "https",
            trace_id: trace_id(headers),
            internal: crate::extract::shows_token(web, headers),
        }
    }
}

/// The id that the balancer gave the request, if it is sane, else a new one.
fn request_id(headers: &HeaderMap) -> Arc<str> {
    match header_text(headers, "x-request-id") {
        Some(id)
            if (1..=64).contains(&id.len())
                && id
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) =>
        {
            id.into()
        }
        _ => Uuid::now_v7().to_string().into(),
    }
}

/// The trace's id out of `00-{trace}-{span}-{flags}`.
fn trace_id(headers: &HeaderMap) -> Option<Arc<str>> {
    let id = header_text(headers, "traceparent")?.split('-').nth(1)?;
    (id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| id.into())
}

/// The host that the browser asked for. What is no host name is not repeated into a page.
fn host(parts: &Parts) -> &str {
    let headers = &parts.headers;
    let host = header_text(headers, "x-forwarded-host")
        .or_else(|| header_text(headers, header::HOST.as_str()))
        .or_else(|| parts.uri.authority().map(http::uri::Authority::as_str));
    match host {
        Some(host)
            if (1..=255).contains(&host.len())
                && host
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte)) =>
        {
            host
        }
        _ => "localhost",
    }
}

fn accepts_html(accept: &str) -> bool {
    accept.split(',').any(|range| range.trim().starts_with("text/html"))
}

pub(crate) fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().uri("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("the request is well-formed").into_parts().0
    }

    #[test]
    fn a_host_that_could_break_out_of_an_attribute_is_not_repeated() {
        assert_eq!(host(&parts(&[("host", "shop.example:8080")])), "shop.example:8080");
        assert_eq!(host(&parts(&[("host", "a\"onload=x")])), "localhost");
        assert_eq!(host(&parts(&[("host", "a;script-src *")])), "localhost");
        assert_eq!(
            host(&parts(&[("host", "shop:1"), ("x-forwarded-host", "gallery")])),
            "gallery"
        );
    }

    #[test]
    fn a_sane_request_id_is_kept_and_any_other_is_replaced() {
        assert_eq!(&*request_id(&parts(&[("x-request-id", "abc-1")]).headers), "abc-1");
        assert_ne!(&*request_id(&parts(&[("x-request-id", "a b")]).headers), "a b");
        assert_ne!(&*request_id(&parts(&[("x-request-id", "")]).headers), "");
    }

    #[test]
    fn only_a_client_that_asks_for_html_gets_pages() {
        assert!(accepts_html("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"));
        assert!(!accepts_html("*/*"));
        assert!(!accepts_html("application/json"));
    }
}
