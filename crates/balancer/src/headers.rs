//! What a proxy must and may do to headers: hop-by-hop ones end here (RFC 9110 section 7.6.1), and what only insiders
//! may say is taken from outsiders. Who asked by way of whom is said by `forwarded`.

use std::time::Duration;

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, HOST, HeaderName, REFERRER_POLICY, TE, VIA, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderValue};

use crate::Side;
use crate::identity::{Identity, REQUEST_ID, TRACEPARENT};
use crate::text::push_ms;

const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
/// `X-Served-By`
pub(crate) const SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");
/// `Server-Timing`
pub(crate) const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
/// `Idempotency-Key`
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Names that have a meaning between two neighbours only. `Trailer` is not among them: who forwards the trailers has to
/// announce them.
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// One look at the few headers that are there is cheaper than a search for each that could be.
pub(crate) fn remove_all(headers: &mut HeaderMap, is_unwanted: impl Fn(&str) -> bool) {
    while let Some(name) = headers.keys().find(|name| is_unwanted(name.as_str())).cloned() {
        headers.remove(name);
    }
}

fn remove_nominated(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let nominated: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| name.trim().parse().ok())
            // Without these a message would be read differently by the next one.
            .filter(|name| *name != HOST && *name != CONTENT_LENGTH)
            // Whether a request may be sent twice is decided by its key, which so has to arrive.
            .filter(|name| *name != IDEMPOTENCY_KEY)
            .collect();
        for name in nominated {
            headers.remove(name);
        }
    }
}

/// Whether the client says that it takes trailers. Then the backend may send them.
fn takes_trailers(headers: &HeaderMap) -> bool {
    headers
        .get_all(TE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
}

/// HTTP/2 may have each cookie in a line of its own; HTTP/1.1 has one line (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(COOKIE).iter();
    let (Some(first), Some(_)) = (lines.next(), lines.next()) else {
        return;
    };
    let mut joined = first.as_bytes().to_vec();
    for line in headers.get_all(COOKIE).iter().skip(1) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(line.as_bytes());
    }
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(COOKIE, joined);
    }
}

/// Makes a client's headers into those for a backend.
pub(crate) fn forward_request(headers: &mut HeaderMap, side: Side, identity: &Identity, via: &HeaderValue) {
    let takes_trailers = takes_trailers(headers);
    remove_nominated(headers);
    remove_all(headers, |name| {
        is_hop_by_hop(name)
            // Whoever reads the body sends "100 Continue"; that is this process.
            || name == "expect"
            || (side != Side::Private && name == "zillion-positions")
            || (!identity.continues_trace && name == "tracestate")
    });
    if takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    join_cookies(headers);
    headers.append(VIA, via.clone());
    insert(headers, REQUEST_ID, identity.request_id.as_str());
    insert(headers, TRACEPARENT, identity.traceparent.as_str());
}

/// A backend that was tried in vain, for `Server-Timing`.
#[derive(Debug)]
pub(crate) struct Failover {
    /// `inventory-2 connect`
    pub(crate) description: String,
    /// How long the try took.
    pub(crate) elapsed: Duration,
}

/// Makes a backend's headers into those for the client.
pub(crate) fn forward_response(headers: &mut HeaderMap) {
    remove_nominated(headers);
    remove_all(headers, is_hop_by_hop);
}

/// Says who answered, and what a browser may do with it.
pub(crate) fn sign_response(
    headers: &mut HeaderMap,
    side: Side,
    instance: &str,
    elapsed: Duration,
    failovers: &[Failover],
    request_id: &str,
) {
    let mut timing = String::with_capacity(160);
    timing.push_str("balancer;desc=\"");
    timing.push_str(instance);
    timing.push_str("\";dur=");
    push_ms(&mut timing, elapsed);
    for failover in failovers {
        timing.push_str(", failover;desc=\"");
        timing.push_str(&failover.description);
        timing.push_str("\";dur=");
        push_ms(&mut timing, failover.elapsed);
    }
    prepend(headers, SERVER_TIMING, timing);
    prepend(headers, SERVED_BY, instance.to_owned());
    insert(headers, REQUEST_ID, request_id);
    if side == Side::Private {
        return;
    }
    for (name, value) in [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "strict-origin-when-cross-origin"),
        (X_FRAME_OPTIONS, "DENY"),
        (
            PERMISSIONS_POLICY,
            "camera=(), microphone=(), geolocation=(), payment=()",
        ),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// A value that no header may have is left out.
pub(crate) fn insert(headers: &mut HeaderMap, name: HeaderName, value: impl TryInto<HeaderValue>) {
    if let Ok(value) = value.try_into() {
        headers.insert(name, value);
    }
}

/// Puts a value in front of all that are there, in one line.
fn prepend(headers: &mut HeaderMap, name: HeaderName, mut value: String) {
    for later in headers.get_all(&name) {
        if let Ok(later) = later.to_str() {
            value.push_str(", ");
            value.push_str(later);
        }
    }
    insert(headers, name, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarded(side: Side, pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let identity = Identity::of(&headers);
        forward_request(
            &mut headers,
            side,
            &identity,
            &HeaderValue::from_static("1.1 balancer-1"),
        );
        headers
    }

    #[test]
    fn hop_by_hop_headers_end_here_and_so_do_those_that_connection_names() {
        let headers = forwarded(
            Side::Public,
            &[
                ("connection", "close, X-Secret"),
                ("x-secret", "1"),
                ("keep-alive", "timeout=5"),
                ("te", "trailers"),
                ("upgrade", "websocket"),
                ("expect", "100-continue"),
                ("accept", "text/html"),
            ],
        );
        for gone in ["x-secret", "keep-alive", "upgrade", "expect"] {
            assert!(!headers.contains_key(gone), "{gone}");
        }
        // Its own word to its own neighbour: the client takes trailers.
        assert_eq!(headers["connection"], "te");
        assert_eq!(headers["te"], "trailers");
        assert_eq!(headers["accept"], "text/html");
    }

    #[test]
    fn cookies_of_several_lines_become_one() {
        let headers = forwarded(Side::Public, &[("cookie", "a=1"), ("cookie", "b=2; c=3")]);
        let lines: Vec<_> = headers.get_all(COOKIE).iter().collect();
        assert_eq!(lines, ["a=1; b=2; c=3"]);
    }

    #[test]
    fn connection_can_not_name_away_what_frames_a_message() {
        let headers = forwarded(
            Side::Public,
            &[
                ("connection", "content-length, host"),
                ("content-length", "5"),
                ("host", "a"),
            ],
        );
        assert_eq!(headers["content-length"], "5");
        assert_eq!(headers["host"], "a");
    }

    #[test]
    fn only_services_may_say_how_fresh_what_they_read_must_be() {
        let claimed = [("zillion-positions", "inventory=1-1")];
        for side in [Side::Public, Side::Origin] {
            assert!(!forwarded(side, &claimed).contains_key("zillion-positions"), "{side:?}");
        }
        assert_eq!(forwarded(Side::Private, &claimed)["zillion-positions"], "inventory=1-1");
    }

    #[test]
    fn the_answer_says_who_took_part_in_order() {
        let mut headers = HeaderMap::new();
        headers.insert(SERVED_BY, HeaderValue::from_static("inventory-2"));
        headers.append(SERVER_TIMING, HeaderValue::from_static("inventory;dur=2.4"));
        headers.append(SERVER_TIMING, HeaderValue::from_static("db;dur=0.8"));
        let failed = Failover {
            description: "inventory-1 connect".to_owned(),
            elapsed: Duration::from_millis(1),
        };
        sign_response(
            &mut headers,
            Side::Public,
            "balancer-1",
            Duration::from_micros(3140),
            &[failed],
            "r-1",
        );
        assert_eq!(headers[SERVED_BY], "balancer-1, inventory-2");
        let timing = "balancer;desc=\"balancer-1\";dur=3.1, failover;desc=\"inventory-1 connect\";dur=1.0, \
                      inventory;dur=2.4, db;dur=0.8";
        assert_eq!(headers[SERVER_TIMING], timing);
        assert_eq!(headers.get_all(SERVER_TIMING).iter().count(), 1);
        assert_eq!(headers[X_CONTENT_TYPE_OPTIONS], "nosniff");
    }

    #[test]
    fn a_service_may_be_stricter_or_laxer_by_its_own_header() {
        let mut headers = HeaderMap::new();
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        sign_response(&mut headers, Side::Public, "balancer-1", Duration::ZERO, &[], "r-1");
        assert_eq!(headers[REFERRER_POLICY], "no-referrer");
    }
}
