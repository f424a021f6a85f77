//! Who asked by way of whom, as services are told: in `Forwarded` (RFC 7239) and in the older `X-Forwarded-*`, which
//! always agree.

use std::net::IpAddr;

use http::header::{FORWARDED, HOST};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::Side;
use crate::headers::{push_line, push_name};
use crate::text::push_address;

/// `X-Forwarded-For`
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// More hops than this are not passed on.
const HOPS_MAX: usize = 16;
/// A hop that can't be read (RFC 7239, section 6.2). It is not left out: what was noted before it may be an invention.
const UNKNOWN: &str = "unknown";

/// The step from a client to this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hop {
    pub(crate) side: Side,
    pub(crate) peer: IpAddr,
    pub(crate) is_tls: bool,
    /// The peer is one of the trusted proxies.
    pub(crate) is_trusted: bool,
}

impl Hop {
    /// Whether what it says about those before it counts.
    fn is_believed(self) -> bool {
        self.side != Side::Public || self.is_trusted
    }

    fn scheme(self) -> &'static str {
        if self.is_tls { "https" } else { "http" }
    }
}

/// Whether a client's header of this name is not passed on, since [`write`] says it anew or nobody is to believe it.
pub(crate) fn replaces(name: &str, hop: Hop) -> bool {
    match name {
        "forwarded" | "x-forwarded-for" => true,
        "x-forwarded-proto" | "x-forwarded-host" | "x-forwarded-port" | "x-real-ip" => !hop.is_believed(),
        _ => false,
    }
}

/// Writes a hop behind what is believed of the earlier ones.
pub(crate) fn write(head: &mut Vec<u8>, headers: &HeaderMap, hop: Hop) {
    let earlier = if hop.is_believed() { hops(headers) } else { Vec::new() };
    push_name(head, &FORWARDED_FOR);
    for earlier in &earlier {
        head.extend_from_slice(earlier.as_bytes());
        head.extend_from_slice(b", ");
    }
    let peer = hop.peer.to_canonical();
    let peer_start = head.len();
    push_address(head, peer);
    let peer_text = peer_start..head.len();
    head.extend_from_slice(b"\r\n");

    let host = headers.get(HOST);
    push_name(head, &FORWARDED);
    for earlier in &earlier {
        push_node(head, earlier);
        head.extend_from_slice(b", ");
    }
    let (before, after) = if peer.is_ipv6() {
        ("for=\"[", "]\"")
    } else {
        ("for=", "")
    };
    head.extend_from_slice(before.as_bytes());
    head.extend_from_within(peer_text);
    head.extend_from_slice(after.as_bytes());
    head.extend_from_slice(b";proto=");
    head.extend_from_slice(hop.scheme().as_bytes());
    if let Some(host) = host {
        head.extend_from_slice(b";host=\"");
        head.extend_from_slice(host.as_bytes());
        head.push(b'"');
    }
    head.extend_from_slice(b"\r\n");

    let is_said = |name: &HeaderName| hop.is_believed() && headers.contains_key(name);
    if !is_said(&FORWARDED_PROTO) {
        push_line(head, &FORWARDED_PROTO, hop.scheme());
    }
    if let Some(host) = host
        && !is_said(&FORWARDED_HOST)
    {
        push_line(head, &FORWARDED_HOST, host);
    }
}

/// An IPv6 address in quotes and brackets; a name only if it is marked as one that hides an address.
fn push_node(forwarded: &mut Vec<u8>, node: &str) {
    forwarded.extend_from_slice(b"for=");
    if node.contains(':') {
        forwarded.extend_from_slice(b"\"[");
        forwarded.extend_from_slice(node.as_bytes());
        forwarded.extend_from_slice(b"]\"");
    } else if node.starts_with('_') || node.parse::<IpAddr>().is_ok() {
        forwarded.extend_from_slice(node.as_bytes());
    } else {
        forwarded.extend_from_slice(UNKNOWN.as_bytes());
    }
}

/// Who comes first of all that are said to have asked.
pub(crate) fn farthest(headers: &HeaderMap, hop: Hop) -> String {
    let first = hops(headers).into_iter().next();
    first.unwrap_or_else(|| hop.peer.to_canonical().to_string())
}

/// The addresses that earlier proxies have noted, first the farthest: of `X-Forwarded-For`, or if there is none of
/// `Forwarded`.
pub(crate) fn hops(headers: &HeaderMap) -> Vec<String> {
    if headers.contains_key(FORWARDED_FOR) {
        last_elements(headers, FORWARDED_FOR, bare_address)
    } else {
        last_elements(headers, FORWARDED, for_of)
    }
}

fn last_elements(headers: &HeaderMap, name: HeaderName, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let lines = headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
    let elements: Vec<&[u8]> = lines
        .flat_map(|line| line.split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
        .collect();
    elements[elements.len().saturating_sub(HOPS_MAX)..]
        .iter()
        .map(|element| {
            let text = std::str::from_utf8(element).ok();
            text.and_then(&read).unwrap_or_else(|| UNKNOWN.to_owned())
        })
        .collect()
}

/// The `for` of one element of `Forwarded` (RFC 7239). Quoted commas don't occur in addresses, and an element that is
/// broken by one is nobody's address.
fn for_of(element: &str) -> Option<String> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let is_for = name.trim().eq_ignore_ascii_case("for");
        is_for.then(|| bare_address(value.trim().trim_matches('"'))).flatten()
    })
}

/// Without port and brackets. What is no address stays as it is, if it is harmless.
fn bare_address(node: &str) -> Option<String> {
    if let Ok(address) = node.parse::<IpAddr>() {
        return Some(address.to_string());
    }
    if let Ok(address) = node.parse::<std::net::SocketAddr>() {
        return Some(address.ip().to_string());
    }
    let inner = node.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some(Ok(address)) = inner.map(str::parse::<IpAddr>) {
        return Some(address.to_string());
    }
    let is_harmless = !node.is_empty()
        && node
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    is_harmless.then(|| node.to_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::headers::tests::fields_of;

    pub(crate) fn hop(side: Side) -> Hop {
        Hop {
            side,
            peer: [192, 0, 2, 7].into(),
            is_tls: false,
            is_trusted: false,
        }
    }

    fn forwarded(hop: Hop, pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let mut head = Vec::new();
        write(&mut head, &headers, hop);
        fields_of(&head)
    }

    #[test]
    fn what_is_not_believed_is_not_passed_on() {
        for name in ["forwarded", "x-forwarded-for"] {
            assert!(
                replaces(name, hop(Side::Public)) && replaces(name, hop(Side::Origin)),
                "{name}"
            );
        }
        for name in ["x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-real-ip"] {
            assert!(
                replaces(name, hop(Side::Public)) && !replaces(name, hop(Side::Origin)),
                "{name}"
            );
        }
    }

    #[test]
    fn outsiders_can_not_speak_as_insiders() {
        let claimed = [
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.example"),
            ("x-real-ip", "10.0.0.1"),
            ("forwarded", "for=10.0.0.1"),
            ("host", "shop.example"),
        ];
        let headers = forwarded(hop(Side::Public), &claimed);
        assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["x-forwarded-host"], "shop.example");
        assert_eq!(headers["forwarded"], "for=192.0.2.7;proto=http;host=\"shop.example\"");

        let headers = forwarded(hop(Side::Origin), &claimed);
        assert_eq!(headers["x-forwarded-for"], "10.0.0.1, 192.0.2.7");
        for said in ["x-forwarded-proto", "x-forwarded-host"] {
            assert!(!headers.contains_key(said), "{said}");
        }
        assert_eq!(
            headers["forwarded"],
            "for=10.0.0.1, for=192.0.2.7;proto=http;host=\"shop.example\""
        );
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_the_chain_goes_on_in_both_spellings() {
        let trusted = Hop {
            is_trusted: true,
            is_tls: true,
            ..hop(Side::Public)
        };
        let chain = "for=\"[2001:db8::1]:99\";proto=http, for=_secret, for=odd, For=10.0.0.2:80";
        let headers = forwarded(trusted, &[("forwarded", chain)]);
        assert_eq!(
            headers["x-forwarded-for"],
            "2001:db8::1, _secret, odd, 10.0.0.2, 192.0.2.7"
        );
        assert_eq!(
            headers["forwarded"],
            "for=\"[2001:db8::1]\", for=_secret, for=unknown, for=10.0.0.2, for=192.0.2.7;proto=https"
        );
        assert_eq!(headers["x-forwarded-proto"], "https");
    }

    #[test]
    fn endless_chains_are_cut_at_the_far_end() {
        let mut headers = HeaderMap::new();
        let chain = (0..100)
            .map(|hop| format!("10.0.0.{hop}"))
            .collect::<Vec<_>>()
            .join(", ");
        headers.insert("x-forwarded-for", chain.parse().expect("a value"));
        let hops = hops(&headers);
        assert_eq!(hops.len(), HOPS_MAX);
        assert_eq!(hops.last().map(String::as_str), Some("10.0.0.99"));
    }
}
