//! What the HTTP specifications say about caching, as functions of headers and of the clock: no I/O, no state.

pub mod cache_control;
pub mod conditional;
pub mod freshness;
pub mod range;
pub mod vary;

use std::time::{Duration, SystemTime};

/// Seconds since 1970, as the wall clock of this machine has them.
pub type UnixSeconds = u64;

/// Now. Wall time and not a monotonic clock, because what is cached outlives the process.
pub fn unix_now() -> UnixSeconds {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// An HTTP date (`Date`, `Expires`, `Last-Modified`), in any of the three formats that RFC 9110 knows.
pub fn parse_http_date(value: &str) -> Option<UnixSeconds> {
    let date = httpdate::parse_http_date(value.trim()).ok()?;
    Some(
        date.duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO)
            .as_secs(),
    )
}

/// The first value of a header as text; none if it is absent or not text.
pub fn header_text<'a>(headers: &'a http::HeaderMap, name: &http::HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
