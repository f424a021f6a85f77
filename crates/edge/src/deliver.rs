//! Making a response out of an object: conditions, ranges, and the headers that say how it came.

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, AGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use serde_json::json;

use crate::body::{self, EdgeBody};
use crate::cache_status::CacheStatus;
use crate::fetch::Fill;
use crate::fetch::headers::{OriginNotes, SERVER_TIMING, X_REQUEST_ID, X_SERVED_BY};
use crate::http_cache::conditional::{client_has_it, range_applies};
use crate::http_cache::range::{self, RangeRequest};
use crate::http_cache::unix_now;
use crate::store::{FileBody, Head};

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const TIMING_ALLOW_ORIGIN: HeaderName = HeaderName::from_static("timing-allow-origin");
const CONTENT_TYPE_OPTIONS: HeaderName = HeaderName::from_static("x-content-type-options");

/// What a client asks for.
#[derive(Clone, Copy)]
pub struct Visit<'a> {
    /// GET or HEAD.
    pub method: &'a Method,
    /// All headers.
    pub headers: &'a HeaderMap,
}

/// Where the body comes from.
pub enum Source {
    /// Nowhere: the response has none.
    None,
    /// Memory.
    Memory(Bytes),
    /// A file.
    File(FileBody),
    /// The origin, just now.
    Arriving(Arc<Fill>),
}

/// Which answer an object gives to a client.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    NotModified,
    Unsatisfiable,
    Whole,
    Part(Range<u64>),
}

fn plan(visit: Visit<'_>, head: &Head) -> Plan {
    if !head.status.is_success() {
        return Plan::Whole;
    }
    if client_has_it(visit.headers, &head.headers) {
        return Plan::NotModified;
    }
    // Ranges are defined for GET only (RFC 9110 section 14.2), and a part of an error page helps nobody.
    if visit.method != Method::GET || head.status != StatusCode::OK || !range_applies(visit.headers, &head.headers) {
        return Plan::Whole;
    }
    match range::requested(visit.headers, head.body_bytes) {
        RangeRequest::Whole => Plan::Whole,
        RangeRequest::Part { first, last } => Plan::Part(first..last + 1),
        RangeRequest::Unsatisfiable => Plan::Unsatisfiable,
    }
}

/// Whether the answer has a body, so that there is a point in reading it.
pub fn needs_body(visit: Visit<'_>, head: &Head) -> bool {
    visit.method == Method::GET && matches!(plan(visit, head), Plan::Whole | Plan::Part(_))
}

/// The answer that an object gives to a client.
pub async fn object(visit: Visit<'_>, head: &Head, source: Source) -> Response<EdgeBody> {
    let plan = plan(visit, head);
    let whole = 0..head.body_bytes;
    let (status, range) = match &plan {
        Plan::NotModified => (StatusCode::NOT_MODIFIED, 0..0),
        Plan::Unsatisfiable => (StatusCode::RANGE_NOT_SATISFIABLE, 0..0),
        Plan::Whole => (head.status, whole),
        Plan::Part(range) => (StatusCode::PARTIAL_CONTENT, range.clone()),
    };
    let length = range.end - range.start;
    let mut response = Response::new(match source {
        Source::None => body::empty(),
        Source::Memory(bytes) => body::full(slice(&bytes, &range)),
        Source::Arriving(_) if length == 0 || visit.method == Method::HEAD => body::empty(),
        Source::Arriving(fill) => body::streamed(fill.read(range.clone())),
        Source::File(file) => match body::file(file, range.clone()).await {
            Ok(body) => body,
            Err(error) => {
                tracing::warn!(%error, key = %head.key, "A cached body can't be read");
                let mut response = Response::new(body::empty());
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                return response;
            }
        },
    });
    *response.status_mut() = status;
    let headers = response.headers_mut();
    // Room for what is added here and in `sign`: growing a header map means hashing it all again.
    headers.reserve(head.headers.len() + 12);
    headers.extend(head.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
    headers.insert(AGE, head.lifetime.age_seconds(unix_now()).into());
    if head.status == StatusCode::OK {
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    }
    match plan {
        Plan::Whole => {
            headers.insert(CONTENT_LENGTH, length.into());
        }
        Plan::Part(range) => {
            headers.insert(CONTENT_LENGTH, length.into());
            let text = format!("bytes {}-{}/{}", range.start, range.end - 1, head.body_bytes);
            headers.extend(HeaderValue::from_str(&text).ok().map(|value| (CONTENT_RANGE, value)));
        }
        Plan::NotModified => {
            // These describe a body, and there is none.
            headers.remove(CONTENT_TYPE);
            headers.remove(CONTENT_ENCODING);
        }
        Plan::Unsatisfiable => {
            headers.remove(CONTENT_TYPE);
            headers.remove(CONTENT_ENCODING);
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            let text = format!("bytes */{}", head.body_bytes);
            headers.extend(HeaderValue::from_str(&text).ok().map(|value| (CONTENT_RANGE, value)));
        }
    }
    response
}

/// Says in the headers who answered, from where, and how long it took.
pub fn sign(
    response: &mut Response<EdgeBody>,
    instance: &str,
    cache: CacheStatus,
    notes: &OriginNotes,
    id: &HeaderValue,
    elapsed: Duration,
) {
    let headers = response.headers_mut();
    let mut timing = String::with_capacity(96);
    let word = cache.word();
    let ms = elapsed.as_secs_f64() * 1000.0;
    let _ = write!(timing, "edge;desc=\"{instance}\";dur={ms:.1}, cache;desc=\"{word}\"");
    if let Some(age) = headers.get(AGE).and_then(|age| age.to_str().ok()) {
        let _ = write!(timing, ", age;desc=\"{age}\"");
    }
    append_text(&mut timing, notes.server_timing.as_ref());
    let mut served_by = instance.to_owned();
    append_text(&mut served_by, notes.served_by.as_ref());
    let texts = [
        (SERVER_TIMING, timing),
        (X_SERVED_BY, served_by),
        (CACHE_STATUS, cache.header(instance)),
    ];
    for (name, text) in texts {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name, value);
        }
    }
    headers.insert(X_REQUEST_ID, id.clone());
    headers.insert(TIMING_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// An error as RFC 9457 has it.
pub fn problem(status: StatusCode, slug: &str, title: &str, path: &str, id: &HeaderValue) -> Response<EdgeBody> {
    let problem = json!({
        "type": format!("/problems/{slug}"),
        "title": title,
        "status": status.as_u16(),
        "instance": path,
        "request_id": id.to_str().unwrap_or_default(),
    });
    let mut response = Response::new(body::full(problem.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn append_text(list: &mut String, more: Option<&HeaderValue>) {
    if let Some(more) = more.and_then(|more| more.to_str().ok()).filter(|more| !more.is_empty()) {
        list.push_str(", ");
        list.push_str(more);
    }
}

fn slice(bytes: &Bytes, range: &Range<u64>) -> Bytes {
    let at = |offset: u64| usize::try_from(offset).map_or(bytes.len(), |offset| offset.min(bytes.len()));
    bytes.slice(at(range.start)..at(range.end))
}

#[cfg(test)]
mod tests {
    use http::header::{IF_NONE_MATCH, RANGE};

    use super::*;
    use crate::http_cache::vary::Selection;
    use crate::store::test_entry;

    fn planned(method: &Method, headers: &[(HeaderName, &str)]) -> Plan {
        let head = test_entry("/photos/a", Selection::default(), &[], 1000).head.clone();
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect();
        plan(
            Visit {
                method,
                headers: &headers,
            },
            &head,
        )
    }

    #[test]
    fn a_condition_comes_before_a_range() {
        let both = [(IF_NONE_MATCH, "\"a\""), (RANGE, "bytes=0-9")];
        assert_eq!(planned(&Method::GET, &both), Plan::NotModified);
        let changed = [(IF_NONE_MATCH, "\"b\""), (RANGE, "bytes=0-9")];
        assert_eq!(planned(&Method::GET, &changed), Plan::Part(0..10));
    }

    #[test]
    fn a_head_request_has_no_ranges() {
        assert_eq!(planned(&Method::HEAD, &[(RANGE, "bytes=0-9")]), Plan::Whole);
    }

    #[tokio::test]
    async fn a_part_is_cut_out_of_memory() {
        let head = test_entry("/photos/a", Selection::default(), &[], 10).head.clone();
        let headers = HeaderMap::from_iter([(RANGE, HeaderValue::from_static("bytes=-3"))]);
        let visit = Visit {
            method: &Method::GET,
            headers: &headers,
        };
        let response = object(visit, &head, Source::Memory(Bytes::from_static(b"0123456789"))).await;
        assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
        assert_eq!(response.headers()[CONTENT_RANGE], "bytes 7-9/10");
        let body = http_body_util::BodyExt::collect(response.into_body())
            .await
            .unwrap()
            .to_bytes();
        assert_eq!(body, "789");
    }
}
