//! The time that is left for a request, handed from one process to the next, so that nobody works on an answer that
//! nobody waits for any more.

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::Side;

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

/// Tells a backend how long it has, in place of whatever was said before.
pub(crate) fn pass_on(headers: &mut HeaderMap, deadline: Instant) {
    let left = deadline.saturating_duration_since(Instant::now());
    let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    headers.insert(TIME_LEFT, HeaderValue::from(left_ms));
}

#[cfg(test)]
mod tests {
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
        let mut headers = HeaderMap::new();
        headers.append(TIME_LEFT, HeaderValue::from_static("1"));
        headers.append(TIME_LEFT, HeaderValue::from_static("2"));
        pass_on(&mut headers, Instant::now() + Duration::from_secs(60));
        let said: Vec<_> = headers.get_all(TIME_LEFT).iter().collect();
        assert_eq!(said.len(), 1);
        let left_ms: u64 = said[0].to_str().expect("text").parse().expect("a number");
        assert!((55_000..=60_000).contains(&left_ms), "{left_ms}");
        pass_on(&mut headers, Instant::now());
        assert_eq!(headers[TIME_LEFT], "0");
    }
}
