//! What a proxy must and may do to headers: hop-by-hop ones end here (RFC 9110 section 7.6.1), forwarding ones are
//! added, and what only insiders may say is taken from outsiders.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, EXPECT, FORWARDED, HOST, HeaderName,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, VIA, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderValue};

use crate::Side;
use crate::client_address;
use crate::identity::{Identity, REQUEST_ID, TRACEPARENT};
use crate::proxy::Client;
use crate::routes::Headers;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
/// `X-Forwarded-For`
pub(crate) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const POSITIONS: HeaderName = HeaderName::from_static("zillion-positions");
const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
/// `X-Served-By`
pub(crate) const SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");
/// `Server-Timing`
pub(crate) const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
/// `Idempotency-Key`
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Names that have a meaning between two neighbours only.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let nominated: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| name.trim().parse().ok())
            // Without these a message would be read differently by the next one.
            .filter(|name| *name != HOST && *name != CONTENT_LENGTH)
            .collect();
        for name in nominated {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Makes a client's headers into those for a backend.
pub(crate) fn forward_request(headers: &mut HeaderMap, client: &Client, identity: &Identity, via: &HeaderValue) {
    remove_hop_by_hop(headers);
    // Whoever reads the body sends "100 Continue"; that is this process.
    headers.remove(EXPECT);
    if !client.is_believed() {
        for name in [
            FORWARDED,
            FORWARDED_FOR,
            FORWARDED_PROTO,
            FORWARDED_HOST,
            FORWARDED_PORT,
            REAL_IP,
        ] {
            headers.remove(name);
        }
    }
    if client.side != Side::Private {
        headers.remove(POSITIONS);
    }
    if !identity.continues_trace {
        headers.remove(TRACESTATE);
    }
    add_hop(headers, client);
    if !headers.contains_key(FORWARDED_PROTO) {
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static(client.scheme()));
    }
    if !headers.contains_key(FORWARDED_HOST)
        && let Some(host) = headers.get(HOST).cloned()
    {
        headers.insert(FORWARDED_HOST, host);
    }
    headers.append(VIA, via.clone());
    insert(headers, REQUEST_ID, &identity.request_id);
    insert(headers, TRACEPARENT, &identity.traceparent);
}

/// Says in both spellings who asked by way of whom: `Forwarded` (RFC 7239) and `X-Forwarded-For` always agree.
fn add_hop(headers: &mut HeaderMap, client: &Client) {
    let peer = client.peer.ip().to_canonical();
    let mut addresses = String::new();
    let mut forwarded = String::with_capacity(64);
    for hop in client_address::hops(headers) {
        addresses.push_str(&hop);
        addresses.push_str(", ");
        // Writing to a String can't fail.
        let _ = match hop.parse::<IpAddr>() {
            Ok(address) => write!(forwarded, "for={}, ", Node(address)),
            Err(_) if hop.starts_with('_') => write!(forwarded, "for={hop}, "),
            Err(_) => write!(forwarded, "for=unknown, "),
        };
    }
    let _ = write!(addresses, "{peer}");
    let _ = write!(forwarded, "for={};proto={}", Node(peer), client.scheme());
    if let Some(host) = headers.get(HOST).and_then(|host| host.to_str().ok()) {
        let _ = write!(forwarded, ";host=\"{host}\"");
    }
    insert(headers, FORWARDED_FOR, &addresses);
    insert(headers, FORWARDED, &forwarded);
}

/// An address as `Forwarded` has it.
struct Node(IpAddr);

impl std::fmt::Display for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "{address}"),
            IpAddr::V6(address) => write!(f, "\"[{address}]\""),
        }
    }
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
    remove_hop_by_hop(headers);
}

/// What a browser may do with an answer, where its service doesn't say.
pub(crate) fn secure_response(headers: &mut HeaderMap, client: &Client, policies: &Headers) {
    if client.side == Side::Private {
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
    if let Some(policy) = &policies.content_security_policy
        && is_document(headers)
    {
        headers.entry(CONTENT_SECURITY_POLICY).or_insert_with(|| policy.clone());
    }
    // Over plain HTTP browsers must ignore it (RFC 6797, section 8.1).
    if let Some(policy) = &policies.strict_transport_security
        && client.is_tls
    {
        headers.insert(STRICT_TRANSPORT_SECURITY, policy.clone());
    }
}

/// Whether a browser would run what is in it.
fn is_document(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| {
        let kind = kind.as_bytes();
        kind.starts_with(b"text/html") || kind.starts_with(b"image/svg+xml")
    })
}

/// Says who answered.
pub(crate) fn sign_response(
    headers: &mut HeaderMap,
    instance: &str,
    elapsed: Duration,
    failovers: &[Failover],
    request_id: &str,
) {
    let mut timing = String::with_capacity(160);
    // Writing to a String can't fail.
    let _ = write!(timing, "balancer;desc=\"{instance}\";dur={:.1}", milliseconds(elapsed));
    for failover in failovers {
        let _ = write!(
            timing,
            ", failover;desc=\"{}\";dur={:.1}",
            failover.description,
            milliseconds(failover.elapsed)
        );
    }
    prepend(headers, SERVER_TIMING, timing);
    prepend(headers, SERVED_BY, instance.to_owned());
    insert(headers, REQUEST_ID, request_id);
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
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
    insert(headers, name, &value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policies(text: &str) -> Headers {
        let text = format!(
            "[headers]\n{text}\n[[service]]\nname = \"a\"\naddresses = []\n[[route]]\nprefix = \"/\"\nservice = \"a\"\n"
        );
        crate::routes::RouteTable::parse(&text)
            .expect("routes")
            .settings
            .headers
    }

    fn forwarded(side: Side, pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        forwarded_of(&Client::for_test(side), pairs)
    }

    fn forwarded_of(client: &Client, pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let identity = Identity::of(&headers);
        forward_request(
            &mut headers,
            client,
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
        for gone in ["connection", "x-secret", "keep-alive", "te", "upgrade", "expect"] {
            assert!(!headers.contains_key(gone), "{gone}");
        }
        assert_eq!(headers["accept"], "text/html");
    }

    #[test]
    fn connection_can_not_name_away_what_frames_a_message() {
        let headers = forwarded(
            Side::Public,
            &[
                ("connection", "content-length, host, x-forwarded-for"),
                ("content-length", "5"),
                ("host", "a"),
            ],
        );
        assert_eq!(headers["content-length"], "5");
        assert_eq!(headers["host"], "a");
        assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
    }

    #[test]
    fn outsiders_can_not_speak_as_insiders() {
        let claimed = [
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.example"),
            ("forwarded", "for=10.0.0.1"),
            ("zillion-positions", "inventory=1-1"),
            ("host", "shop.example"),
        ];
        let headers = forwarded(Side::Public, &claimed);
        assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["x-forwarded-host"], "shop.example");
        assert_eq!(headers["forwarded"], "for=192.0.2.7;proto=http;host=\"shop.example\"");
        assert!(!headers.contains_key("zillion-positions"));

        let headers = forwarded(Side::Origin, &claimed);
        assert_eq!(headers["x-forwarded-for"], "10.0.0.1, 192.0.2.7");
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert!(!headers.contains_key("zillion-positions"));

        let headers = forwarded(Side::Private, &claimed);
        assert_eq!(headers["zillion-positions"], "inventory=1-1");
    }

    #[test]
    fn a_trusted_proxy_is_believed_on_the_public_side_and_the_chain_goes_on_in_both_spellings() {
        let client = Client {
            is_trusted: true,
            ..Client::for_test(Side::Public)
        };
        let headers = forwarded_of(
            &client,
            &[
                (
                    "forwarded",
                    "for=\"[2001:db8::1]:99\";proto=https, for=_secret, for=10.0.0.2",
                ),
                ("x-forwarded-proto", "https"),
                ("zillion-positions", "inventory=1-1"),
                ("host", "a"),
            ],
        );
        assert_eq!(headers["x-forwarded-for"], "2001:db8::1, _secret, 10.0.0.2, 192.0.2.7");
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(
            headers["forwarded"],
            "for=\"[2001:db8::1]\", for=_secret, for=10.0.0.2, for=192.0.2.7;proto=http;host=\"a\""
        );
        assert!(!headers.contains_key("zillion-positions"), "it is no insider for that");
    }

    #[test]
    fn pages_without_a_policy_get_one_and_those_with_their_own_keep_it() {
        let client = Client::for_test(Side::Public);
        let secured = |kind: &'static str, own: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            if let Some(own) = own {
                headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(own));
            }
            secure_response(
                &mut headers,
                &client,
                &policies("content_security_policy = \"default-src 'none'\""),
            );
            headers.get(CONTENT_SECURITY_POLICY).cloned()
        };
        assert_eq!(
            secured("text/html; charset=utf-8", None).expect("a policy"),
            "default-src 'none'"
        );
        assert_eq!(
            secured("text/html", Some("script-src 'self'")).expect("a policy"),
            "script-src 'self'"
        );
        assert_eq!(secured("application/json", None), None);
    }

    #[test]
    fn only_over_tls_and_only_if_wanted_a_browser_is_bound_to_tls() {
        let over = |is_tls: bool, text: &str| {
            let client = Client {
                is_tls,
                ..Client::for_test(Side::Public)
            };
            let mut headers = HeaderMap::new();
            secure_response(&mut headers, &client, &policies(text));
            headers.get(STRICT_TRANSPORT_SECURITY).cloned()
        };
        assert_eq!(over(true, "hsts_max_age_s = 300").expect("bound"), "max-age=300");
        assert_eq!(over(false, "hsts_max_age_s = 300"), None);
        assert_eq!(over(true, ""), None);
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
    }

    #[test]
    fn a_service_may_be_stricter_or_laxer_by_its_own_header() {
        let mut headers = HeaderMap::new();
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        secure_response(&mut headers, &Client::for_test(Side::Public), &policies(""));
        assert_eq!(headers[REFERRER_POLICY], "no-referrer");
        assert_eq!(headers[X_CONTENT_TYPE_OPTIONS], "nosniff");
    }
}
