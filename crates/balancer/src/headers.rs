//! What a proxy must and may do to headers: hop-by-hop ones end here (RFC 9110 section 7.6.1), and what only insiders
//! may say is taken from outsiders. Who asked by way of whom is said by `forwarded`.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, COOKIE, HeaderName, REFERRER_POLICY, TE, VIA, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use http::{HeaderMap, HeaderValue};

use crate::Side;
use crate::deadline::TIME_LEFT;
use crate::forwarded::{self, Hop};
use crate::identity::{Identity, REQUEST_ID, TRACEPARENT};
use crate::text::push_ms;
use crate::upgrade;

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

/// The elements of a field that is a list, in all of its lines (RFC 9110, section 5.6.1).
pub(crate) fn elements<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

/// Whether such a list has this element, in any case.
pub(crate) fn lists(headers: &HeaderMap, name: &HeaderName, element: &str) -> bool {
    elements(headers, name).any(|found| found.eq_ignore_ascii_case(element))
}

/// What `Connection` names as meant for this neighbour only.
fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    elements(headers, &CONNECTION)
        .filter_map(|name| name.parse().ok())
        .filter(may_be_nominated)
        .collect()
}

fn may_be_nominated(name: &HeaderName) -> bool {
    // Without these a message would be read differently by the next one.
    let is_of_message = matches!(name.as_str(), "host" | "content-length" | "trailer");
    // Whether a request may be sent twice is decided by its key, which so has to arrive; and whose it is by these.
    let is_of_sender = *name == IDEMPOTENCY_KEY || name.as_str().starts_with("x-forwarded-");
    !is_of_message && !is_of_sender
}

/// Appends a line to a head.
pub(crate) fn push_line(head: &mut Vec<u8>, name: &HeaderName, value: impl AsRef<[u8]>) {
    push_name(head, name);
    head.extend_from_slice(value.as_ref());
    head.extend_from_slice(b"\r\n");
}

/// Appends the beginning of a line, whose value and end are to follow.
pub(crate) fn push_name(head: &mut Vec<u8>, name: &HeaderName) {
    head.extend_from_slice(name.as_str().as_bytes());
    head.extend_from_slice(b": ");
}

/// Writes of a client's headers what a backend may have, and what is to be said to it instead of the rest. How long the
/// body is, and who asks by way of whom, is written elsewhere.
pub(crate) fn write_request(
    head: &mut Vec<u8>,
    headers: &HeaderMap,
    hop: Hop,
    identity: &Identity,
    via: &HeaderValue,
    asks_upgrade: bool,
) {
    let nominated = nominated(headers);
    for (name, value) in headers {
        let text = name.as_str();
        let is_replaced = is_hop_by_hop(text)
            || matches!(text, "content-length" | "cookie" | "traceparent" | "x-request-id")
            // Whoever reads the body sends "100 Continue"; that is this process.
            || text == "expect"
            || (text == "zillion-positions" && hop.side != Side::Private)
            || (text == "tracestate" && !identity.continues_trace)
            || *name == TIME_LEFT
            || forwarded::replaces(text, hop)
            || nominated.contains(name);
        if !is_replaced {
            push_line(head, name, value);
        }
    }
    if asks_upgrade {
        upgrade::write_wish(head);
    } else if lists(headers, &TE, "trailers") {
        // The client takes trailers: then the backend may send them.
        push_line(head, &TE, "trailers");
        push_line(head, &CONNECTION, "te");
    }
    if !nominated.contains(&COOKIE) {
        write_cookies(head, headers);
    }
    push_line(head, &VIA, via);
    push_line(head, &REQUEST_ID, identity.request_id());
    push_line(head, &TRACEPARENT, identity.traceparent());
}

/// HTTP/2 may have each cookie in a line of its own; HTTP/1.1 has one line (RFC 9113, section 8.2.3).
fn write_cookies(head: &mut Vec<u8>, headers: &HeaderMap) {
    let mut lines = headers.get_all(COOKIE).iter();
    let Some(first) = lines.next() else {
        return;
    };
    push_name(head, &COOKIE);
    head.extend_from_slice(first.as_bytes());
    for line in lines {
        head.extend_from_slice(b"; ");
        head.extend_from_slice(line.as_bytes());
    }
    head.extend_from_slice(b"\r\n");
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
    if headers.contains_key(CONNECTION) {
        for name in nominated(headers) {
            headers.remove(name);
        }
    }
    // One look at the few headers that are there is cheaper than a search for each that could be.
    while let Some(name) = headers.keys().find(|name| is_hop_by_hop(name.as_str())).cloned() {
        headers.remove(name);
    }
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
    // All three values share one piece of memory.
    let mut text = String::with_capacity(256);
    text.push_str("balancer;desc=\"");
    text.push_str(instance);
    text.push_str("\";dur=");
    push_ms(&mut text, elapsed);
    for failover in failovers {
        text.push_str(", failover;desc=\"");
        text.push_str(&failover.description);
        text.push_str("\";dur=");
        push_ms(&mut text, failover.elapsed);
    }
    push_others(&mut text, headers, &SERVER_TIMING);
    let timing_end = text.len();
    text.push_str(instance);
    push_others(&mut text, headers, &SERVED_BY);
    let served_by_end = text.len();
    text.push_str(request_id);
    let text = Bytes::from(text);
    for (name, value) in [
        (SERVER_TIMING, text.slice(..timing_end)),
        (SERVED_BY, text.slice(timing_end..served_by_end)),
        (REQUEST_ID, text.slice(served_by_end..)),
    ] {
        // A value that no header may have is left out.
        if let Ok(value) = HeaderValue::from_maybe_shared(value) {
            headers.insert(name, value);
        }
    }
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

/// Appends what a backend has said already, so that all of it comes in one line.
fn push_others(text: &mut String, headers: &HeaderMap, name: &HeaderName) {
    for later in headers.get_all(name) {
        if let Ok(later) = later.to_str() {
            text.push_str(", ");
            text.push_str(later);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::forwarded::tests::hop;

    /// What a head says.
    pub(crate) fn fields_of(head: &[u8]) -> HeaderMap {
        let text = std::str::from_utf8(head).expect("text");
        let lines = text.split_terminator("\r\n");
        let mut fields = HeaderMap::new();
        for (name, value) in lines.map(|line| line.split_once(": ").expect("a field")) {
            let name: HeaderName = name.parse().expect("a name");
            fields.append(name, value.parse().expect("a value"));
        }
        fields
    }

    fn forwarded(side: Side, pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let identity = Identity::of(&headers);
        let via = HeaderValue::from_static("1.1 balancer-1");
        let mut head = Vec::new();
        write_request(&mut head, &headers, hop(side), &identity, &via, false);
        fields_of(&head)
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
                ("connection", "idempotency-key, host"),
                ("idempotency-key", "5"),
                ("host", "a"),
            ],
        );
        assert_eq!(headers["idempotency-key"], "5");
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
