//! The time that is left for a request, handed from one process to the next, so that nobody works on an answer that
//! nobody waits for any more.

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName};

use crate::Side;
use crate::text::decimal;

/// `X-Envoy-Expected-Rq-Timeout-Ms`: under this name proxies have long told services how many milliseconds they wait
/// for an answer.
pub(crate) const TIME_LEFT: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");

/// When a request must be answered: that of its route, or earlier if a service that asks for it says so. What anybody
/// else says doesn't count.
pub(crate) fn of(headers: &HeaderMap, side: Side, started: Instant, by_route: Duration) -> Instant {
    let said = match side {
        Side::Public | Side::Origin => None,
        Side::Private => headers
            .get(TIME_LEFT)
            .and_then(|value| value.to_str().ok()?.parse().ok()),
    };
    started + said.map_or(by_route, |ms| by_route.min(Duration::from_millis(ms)))
}

/// Tells a backend how long it has, as a line of the request's head.
pub(crate) fn write(head: &mut Vec<u8>, now: Instant, deadline: Instant) {
    let left = deadline.saturating_duration_since(now);
    let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    head.extend_from_slice(TIME_LEFT.as_str().as_bytes());
    head.extend_from_slice(b": ");
    head.extend_from_slice(decimal(left_ms, &mut [0; 20]));
    head.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const BY_ROUTE: Duration = Duration::from_secs(15);

    fn allowed(side: Side, said: &'static str) -> Duration {
        let headers = HeaderMap::from_iter([(TIME_LEFT, HeaderValue::from_static(said))]);
        let started = Instant::now();
        of(&headers, side, started, BY_ROUTE) - started
    }

    #[test]
    fn only_services_may_be_in_a_hurry_and_nobody_gets_more_time() {
        assert_eq!(allowed(Side::Private, "700"), Duration::from_millis(700));
        assert_eq!(allowed(Side::Private, "60000"), BY_ROUTE);
        assert_eq!(allowed(Side::Private, "soon"), BY_ROUTE);
        assert_eq!(allowed(Side::Public, "700"), BY_ROUTE);
        assert_eq!(allowed(Side::Origin, "700"), BY_ROUTE);
    }

    #[test]
    fn what_is_passed_on_is_what_is_left() {
        let now = Instant::now();
        let said = |deadline| {
            let mut head = Vec::new();
            write(&mut head, now, deadline);
            let head = String::from_utf8(head).expect("text");
            let left_ms = head
                .strip_prefix("x-envoy-expected-rq-timeout-ms: ")?
                .strip_suffix("\r\n")?;
            left_ms.parse::<u64>().ok()
        };
        assert_eq!(said(now + Duration::from_millis(1500)), Some(1500));
        assert_eq!(said(now), Some(0));
        assert_eq!(said(now - Duration::from_millis(1)), Some(0));
    }
}
