//! Which headers belong to an object, which to one delivery of it, and which to one connection only.

use http::header::{
    ACCEPT_RANGES, AGE, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName,
    SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderMap, HeaderValue};

/// Names a group of objects that can be purged at once.
const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_AUTHENTICATE: HeaderName = HeaderName::from_static("proxy-authenticate");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const TIMING_ALLOW_ORIGIN: HeaderName = HeaderName::from_static("timing-allow-origin");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Who took part in an answer, and for how long.
pub const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
/// Which instances took part in an answer.
pub const X_SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");
/// One number for one request, all the way.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// An object that can be purged by more names than this is a mistake of the origin's.
const TAGS_MAX: usize = 16;
const TAG_BYTES_MAX: usize = 128;

/// The headers without those that are about one connection (RFC 9110 section 7.6.1), and without the length, which
/// is set anew for each delivery.
pub fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let named: Vec<&str> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    let of_connection = [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_AUTHENTICATE,
        PROXY_CONNECTION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
        CONTENT_LENGTH,
    ];
    without(headers, |name| {
        of_connection.contains(name) || named.iter().any(|other| name.as_str().eq_ignore_ascii_case(other))
    })
}

/// The headers that are the same for everybody who gets this object, now and later.
pub fn of_object(headers: &HeaderMap) -> HeaderMap {
    let of_delivery = [
        ACCEPT_RANGES,
        AGE,
        CACHE_STATUS,
        CACHE_TAG,
        SERVER_TIMING,
        TIMING_ALLOW_ORIGIN,
        TRACEPARENT,
        VIA,
        X_REQUEST_ID,
        X_SERVED_BY,
    ];
    let mut kept = without(&end_to_end(headers), |name| of_delivery.contains(name));
    for value in kept.values_mut() {
        // hyper's values are slices of the buffer that it read into: kept for years, they would keep all of that.
        if let Ok(copy) = HeaderValue::from_bytes(value.as_bytes()) {
            *value = copy;
        }
    }
    kept
}

/// The headers of an object after the origin has said 304: the new ones in place of the old ones, except those that
/// describe the body, which a 304 has none of (RFC 9111 section 3.2), and a cookie, which is one visitor's.
pub fn freshened(stored: &HeaderMap, not_modified: &HeaderMap) -> HeaderMap {
    let mut merged = stored.clone();
    let kept_out = [
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        CONTENT_RANGE,
        CONTENT_TYPE,
        SET_COOKIE,
    ];
    let fresh = of_object(not_modified);
    for name in fresh.keys().filter(|name| !kept_out.contains(name)) {
        merged.remove(name);
        for value in fresh.get_all(name) {
            merged.append(name, value.clone());
        }
    }
    merged
}

/// The tags of an object; none where the header is absent.
pub fn tags(headers: &HeaderMap) -> Option<Vec<String>> {
    if !headers.contains_key(CACHE_TAG) {
        return None;
    }
    let lines = headers
        .get_all(CACHE_TAG)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let tags = lines.flat_map(|line| line.split(',')).map(str::trim);
    Some(
        tags.filter(|tag| !tag.is_empty() && tag.len() <= TAG_BYTES_MAX)
            .take(TAGS_MAX)
            .map(str::to_owned)
            .collect(),
    )
}

/// The length that a response announces; none if it announces none, or nonsense.
pub fn announced_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// What the origin says about how it made this one answer.
#[derive(Clone, Debug, Default)]
pub struct OriginNotes {
    /// The origin's `Server-Timing`.
    pub server_timing: Option<HeaderValue>,
    /// The origin's `X-Served-By`.
    pub served_by: Option<HeaderValue>,
}

impl OriginNotes {
    /// The notes in a response's headers.
    pub fn of(headers: &HeaderMap) -> Self {
        Self {
            server_timing: headers.get(SERVER_TIMING).cloned(),
            served_by: headers.get(X_SERVED_BY).cloned(),
        }
    }
}

fn without(headers: &HeaderMap, dropped: impl Fn(&HeaderName) -> bool) -> HeaderMap {
    headers
        .iter()
        .filter(|(name, _)| !dropped(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use http::header::{CACHE_CONTROL, ETAG};

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn what_belongs_to_a_connection_or_to_one_delivery_is_not_kept() {
        let received = headers(&[
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("age", "5"),
            ("x-request-id", "r1"),
            ("server-timing", "balancer;dur=1"),
            ("cache-tag", "photo-1"),
            ("access-control-allow-origin", "*"),
            ("content-type", "image/webp"),
        ]);
        let kept = of_object(&received);
        assert_eq!(
            kept,
            headers(&[("access-control-allow-origin", "*"), ("content-type", "image/webp")])
        );
    }

    #[test]
    fn a_not_modified_renews_all_but_what_describes_the_body() {
        let stored = headers(&[
            ("etag", "\"a\""),
            ("content-type", "image/webp"),
            ("cache-control", "max-age=1"),
        ]);
        let answer = headers(&[
            ("cache-control", "max-age=9"),
            ("content-type", "text/html"),
            ("age", "3"),
            ("set-cookie", "visitor=7"),
        ]);
        let merged = freshened(&stored, &answer);
        assert_eq!(merged[CACHE_CONTROL], "max-age=9");
        assert_eq!(merged[CONTENT_TYPE], "image/webp");
        assert_eq!(merged[ETAG], "\"a\"");
        assert!(!merged.contains_key(AGE) && !merged.contains_key(SET_COOKIE));
    }

    #[test]
    fn tags_are_a_bounded_list() {
        let many = (0..100).map(|n| format!("t{n}")).collect::<Vec<_>>().join(",");
        let headers = HeaderMap::from_iter([(CACHE_TAG, HeaderValue::from_str(&many).unwrap())]);
        assert_eq!(tags(&headers).unwrap().len(), TAGS_MAX);
        assert_eq!(
            tags(&self::headers(&[("cache-tag", " photo-1 ,, wall")])).unwrap(),
            ["photo-1", "wall"]
        );
        assert_eq!(tags(&HeaderMap::new()), None);
    }
}
