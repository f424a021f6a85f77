//! How long whoever asks still waits for the answer. The balancer tells, and tells it anew whatever its clients said.

use std::time::Duration;

use http::{HeaderMap, HeaderName};
use tokio::time::Instant;

use crate::context::header_text;

/// The name under which proxies tell it, in milliseconds.
const TIME_LEFT: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");

/// When a request is answered 503 if its handler has not answered it.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(pub(crate) Instant);

impl Deadline {
    /// So long before it; now, if that is over.
    #[must_use]
    pub fn before(self, margin: Duration) -> Instant {
        self.0.checked_sub(margin).unwrap_or_else(Instant::now)
    }
}

/// The time that is left for a request, if it is told. An answer after it would find nobody.
pub(crate) fn of(headers: &HeaderMap) -> Option<Duration> {
    header_text(headers, TIME_LEFT.as_str())?
        .parse()
        .ok()
        .map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_read_and_nonsense_ignored() {
        let told = |value: &str| of(&HeaderMap::from_iter([(TIME_LEFT, value.parse().expect("a value"))]));
        assert_eq!(told("1234"), Some(Duration::from_millis(1234)));
        assert_eq!(told("soon"), None);
        assert_eq!(of(&HeaderMap::new()), None);
    }
}
