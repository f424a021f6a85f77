//! Refuses what other sites make a browser send here.

use http::{HeaderMap, Method, StatusCode, header};

use crate::context::header_text;
use crate::problem::Problem;

/// A request that changes something must come from our own pages, as far as its headers tell. Clients that are no
/// browsers send neither header, and have no cookies that somebody else could make them use. Gives the refusal, if any.
pub(crate) fn forgery(method: &Method, headers: &HeaderMap) -> Option<Problem> {
    if method.is_safe() {
        return None;
    }
    if let Some(site) = header_text(headers, "sec-fetch-site") {
        // `none` is the person, by way of the address bar or a bookmark.
        return (!matches!(site, "same-origin" | "none")).then(refusal);
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let host = header_text(headers, "x-forwarded-host").or_else(|| header_text(headers, header::HOST.as_str()));
        let origin_host = origin
            .to_str()
            .ok()
            .and_then(|origin| origin.split_once("://"))
            .map(|(_, host)| host);
        return (origin_host.is_none() || origin_host != host).then(refusal);
    }
    None
}

fn refusal() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "cross-site", "That came from somewhere else").detail(
        "Another site sent this in your name, so we did not do it. If it was you, do it from a page of the shop.",
    )
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn outcome(method: &Method, headers: &[(&'static str, &'static str)]) -> bool {
        let headers = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        forgery(method, &headers).is_none()
    }

    #[test]
    fn a_form_on_another_site_is_refused() {
        assert!(!outcome(&Method::POST, &[("sec-fetch-site", "cross-site")]));
        assert!(!outcome(&Method::POST, &[("sec-fetch-site", "same-site")]));
        assert!(!outcome(
            &Method::PUT,
            &[("origin", "https://evil.example"), ("host", "shop:8080")]
        ));
        assert!(!outcome(&Method::POST, &[("origin", "null"), ("host", "shop:8080")]));
    }

    #[test]
    fn our_own_pages_and_clients_that_are_no_browsers_may_write() {
        assert!(outcome(
            &Method::POST,
            &[("sec-fetch-site", "same-origin"), ("origin", "null")]
        ));
        assert!(outcome(
            &Method::POST,
            &[("origin", "http://shop:8080"), ("host", "shop:8080")]
        ));
        assert!(outcome(
            &Method::POST,
            &[
                ("origin", "http://shop:8080"),
                ("host", "inner:80"),
                ("x-forwarded-host", "shop:8080")
            ]
        ));
        assert!(outcome(&Method::DELETE, &[]));
    }

    #[test]
    fn whoever_only_reads_may_come_from_anywhere() {
        assert!(outcome(&Method::GET, &[("sec-fetch-site", "cross-site")]));
    }
}
