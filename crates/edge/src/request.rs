//! What of a request is looked at, and which requests are refused.

use http::header::VIA;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};

use crate::fetch::headers::X_REQUEST_ID;
use crate::http_cache::vary;

/// What this edge serves. All else is the shop's, which is on another port.
const PREFIXES: [&str; 2] = ["/photos/", "/assets/"];

const PATH_BYTES_MAX: usize = 1024;
const REQUEST_ID_BYTES_MAX: usize = 64;
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Why a request is refused without anybody being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Its length can be read in more than one way.
    Framing,
    /// It is for something that is not served here.
    NotHere,
    /// It wants to change something.
    Method,
    /// Its path is not one that a browser would send.
    Path,
    /// Its path is too long.
    PathLength,
}

impl Refused {
    /// What the client is told: status, slug of the problem type, title.
    pub fn problem(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Framing => (
                StatusCode::BAD_REQUEST,
                "ambiguous-length",
                "The length of the request can be read in more than one way",
            ),
            Self::NotHere => (StatusCode::NOT_FOUND, "not-found", "There is nothing here"),
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "Only GET and HEAD are served here",
            ),
            Self::Path => (StatusCode::BAD_REQUEST, "bad-request", "The path is malformed"),
            Self::PathLength => (StatusCode::URI_TOO_LONG, "uri-too-long", "The path is too long"),
        }
    }
}

/// The path of a request that is served here. The query is no part of it: photos and assets have none, and whoever
/// adds one would make a second copy of the same thing.
pub fn path<'a>(method: &Method, uri: &'a Uri) -> Result<&'a str, Refused> {
    let path = uri.path();
    if path.len() > PATH_BYTES_MAX {
        return Err(Refused::PathLength);
    }
    if !PREFIXES.iter().any(|prefix| path.starts_with(prefix)) {
        return Err(Refused::NotHere);
    }
    if method != Method::GET && method != Method::HEAD {
        return Err(Refused::Method);
    }
    if is_plain(path) { Ok(path) } else { Err(Refused::Path) }
}

/// Whether the path means what it says: no other path names the same thing, whoever interprets it.
fn is_plain(path: &str) -> bool {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    path.bytes().all(harmless)
        && path
            .split('/')
            .skip(1)
            .all(|segment| !matches!(segment, "" | "." | "..") && !is_padded(segment))
}

/// A number with zeros before it, which is another spelling of the same number.
fn is_padded(segment: &str) -> bool {
    segment.len() > 1 && segment.starts_with('0') && segment.bytes().all(|byte| byte.is_ascii_digit())
}

/// The request's own id if it has a sane one, else a new one.
pub fn id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(X_REQUEST_ID).filter(|value| {
        let bytes = value.as_bytes();
        let sane = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        !bytes.is_empty() && bytes.len() <= REQUEST_ID_BYTES_MAX && bytes.iter().all(sane)
    });
    given.cloned().unwrap_or_else(|| {
        HeaderValue::from_str(&format!("{:032x}", rand::random::<u128>()))
            .unwrap_or_else(|_| HeaderValue::from_static("unknown"))
    })
}

/// The trace that a request belongs to, for the log.
pub fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let mut parts = headers.get(TRACEPARENT)?.to_str().ok()?.split('-');
    let (_version, trace) = (parts.next()?, parts.next()?);
    let valid = trace.len() == 32 && trace.bytes().all(|byte| byte.is_ascii_hexdigit());
    valid.then_some(trace)
}

/// The headers that the origin gets. Nothing of the visitor is among them, no cookie and no credentials: what comes
/// back is for everybody.
pub fn forwarded(headers: &HeaderMap, id: &HeaderValue, instance: &str) -> HeaderMap {
    let mut forwarded = vary::forwarded(headers);
    for name in [TRACEPARENT, TRACESTATE] {
        if let Some(value) = headers.get(&name) {
            forwarded.insert(name, value.clone());
        }
    }
    forwarded.insert(X_REQUEST_ID, id.clone());
    if let Ok(via) = HeaderValue::from_str(&format!("1.1 {instance}")) {
        forwarded.insert(VIA, via);
    }
    forwarded
}

#[cfg(test)]
mod tests {
    use http::header::{ACCEPT_ENCODING, AUTHORIZATION, COOKIE};

    use super::*;

    fn check(method: &Method, uri: &str) -> Result<String, Refused> {
        path(method, &uri.parse().unwrap()).map(str::to_owned)
    }

    #[test]
    fn only_photos_and_assets_are_served_and_only_read() {
        assert_eq!(
            check(&Method::GET, "/photos/1/2/w320.webp").unwrap(),
            "/photos/1/2/w320.webp"
        );
        assert_eq!(
            check(&Method::HEAD, "/assets/shop.0a1b.css").unwrap(),
            "/assets/shop.0a1b.css"
        );
        assert_eq!(check(&Method::GET, "/api/products"), Err(Refused::NotHere));
        assert_eq!(check(&Method::GET, "/photos"), Err(Refused::NotHere));
        assert_eq!(check(&Method::POST, "/photos/1"), Err(Refused::Method));
    }

    #[test]
    fn a_query_makes_no_second_copy() {
        assert_eq!(
            check(&Method::GET, "/photos/1/2/w320.webp?x=1").unwrap(),
            "/photos/1/2/w320.webp"
        );
    }

    #[test]
    fn paths_that_could_mean_something_else_are_refused() {
        for uri in [
            "/photos/../admin",
            "/photos//1",
            "/photos/%2e%2e/x",
            "/photos/./1",
            "/photos/a%00",
            "/photos/007/1/w320.webp",
            "/photos/7/01/w320.webp",
            "/assets/",
        ] {
            assert_eq!(check(&Method::GET, uri), Err(Refused::Path), "{uri}");
        }
        let long = format!("/photos/{}", "a".repeat(PATH_BYTES_MAX));
        assert_eq!(check(&Method::GET, &long), Err(Refused::PathLength));
    }

    #[test]
    fn a_strange_request_id_is_replaced() {
        let with = |value: &str| {
            id(&HeaderMap::from_iter([(
                X_REQUEST_ID,
                HeaderValue::from_str(value).unwrap(),
            )]))
        };
        assert_eq!(with("abc-123"), "abc-123");
        assert_ne!(with("a b"), "a b");
        assert_eq!(with(&"x".repeat(65)).len(), 32);
    }

    #[test]
    fn nothing_of_the_visitor_is_sent_on() {
        let visitor = HeaderMap::from_iter([
            (COOKIE, HeaderValue::from_static("zillion_session=1")),
            (AUTHORIZATION, HeaderValue::from_static("Bearer x")),
            (ACCEPT_ENCODING, HeaderValue::from_static("gzip")),
        ]);
        let sent = forwarded(&visitor, &HeaderValue::from_static("r1"), "edge-1");
        let names: Vec<&str> = sent.keys().map(HeaderName::as_str).collect();
        assert_eq!(names.len(), 3, "{names:?}");
        assert!(!sent.contains_key(COOKIE) && !sent.contains_key(AUTHORIZATION));
    }
}
