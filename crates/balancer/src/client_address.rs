//! Who asks. A peer can't lie about its address; what it says of those before it is believed only of proxies that the
//! operator trusts.

use std::net::IpAddr;

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use crate::headers::FORWARDED_FOR;

/// More hops than this are not looked at.
const HOPS_MAX: usize = 16;

/// Neither an address nor a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an address nor a network like 10.0.0.0/8")]
pub struct BadNetwork(pub String);

/// Reads `10.0.0.0/8`, or one address.
pub fn parse_network(text: &str) -> Result<IpNet, BadNetwork> {
    let text = text.trim();
    text.parse()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| BadNetwork(text.to_owned()))
}

/// Whether an address is in one of the networks. An IPv4 address counts as such where it comes in IPv6's clothes.
pub(crate) fn is_in(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

/// The client as far as it can be told: going back from the peer, the first that is not a trusted proxy. What it claims
/// about those before it is its own invention.
pub(crate) fn client_of(headers: &HeaderMap, peer: IpAddr, trusted: &[IpNet]) -> IpAddr {
    let mut client = peer.to_canonical();
    for hop in hops(headers).iter().rev() {
        if !is_in(trusted, client) {
            break;
        }
        match hop.parse::<IpAddr>() {
            Ok(address) => client = address.to_canonical(),
            // An obfuscated or unknown hop: nothing before it can be placed.
            Err(_) => break,
        }
    }
    client
}

/// The addresses that earlier proxies have noted, first the farthest: of `X-Forwarded-For`, or if there is none of
/// `Forwarded`.
pub(crate) fn hops(headers: &HeaderMap) -> Vec<String> {
    let noted = lines(headers, FORWARDED_FOR).flat_map(|line| line.split(','));
    let mut hops: Vec<String> = noted.filter_map(|hop| bare_address(hop.trim())).collect();
    if hops.is_empty() {
        let elements = lines(headers, FORWARDED).flat_map(|line| line.split(','));
        hops = elements.filter_map(for_of).collect();
    }
    let surplus = hops.len().saturating_sub(HOPS_MAX);
    hops.split_off(surplus)
}

fn lines(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
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
mod tests {
    use http::HeaderValue;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn client(line: (&'static str, &'static str), peer: &str, trusted: &[&str]) -> IpAddr {
        let trusted: Vec<IpNet> = trusted
            .iter()
            .map(|text| parse_network(text).expect("a network"))
            .collect();
        let mut headers = HeaderMap::new();
        headers.insert(line.0, HeaderValue::from_static(line.1));
        client_of(&headers, address(peer), &trusted)
    }

    #[test]
    fn a_stranger_is_who_it_is_whatever_it_claims() {
        let line = ("x-forwarded-for", "10.0.0.1");
        assert_eq!(client(line, "192.0.2.7", &[]), address("192.0.2.7"));
        assert_eq!(client(line, "192.0.2.7", &["10.0.0.0/8"]), address("192.0.2.7"));
    }

    #[test]
    fn behind_trusted_proxies_the_client_is_the_last_one_that_is_none() {
        let line = ("x-forwarded-for", "6.6.6.6, 198.51.100.9, 10.0.0.2");
        assert_eq!(client(line, "10.0.0.1", &["10.0.0.0/8"]), address("198.51.100.9"));
        assert_eq!(
            client(line, "::ffff:10.0.0.1", &["10.0.0.0/8"]),
            address("198.51.100.9")
        );
        assert_eq!(client(line, "10.0.0.1", &["10.0.0.1"]), address("10.0.0.2"));
    }

    #[test]
    fn forwarded_is_read_where_there_is_no_older_header() {
        let line = ("forwarded", "For=\"[2001:db8::1]:4711\";proto=https, for=10.0.0.2");
        assert_eq!(client(line, "10.0.0.1", &["10.0.0.0/8"]), address("2001:db8::1"));
        let line = ("forwarded", "for=1.1.1.1, for=_hidden");
        assert_eq!(client(line, "10.0.0.1", &["10.0.0.0/8"]), address("10.0.0.1"));
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

    #[test]
    fn networks_are_read_and_nonsense_is_not() {
        assert!(is_in(
            &[parse_network("2001:db8::/32").expect("a network")],
            address("2001:db8::9")
        ));
        assert_eq!(parse_network("10.0.0.0/33"), Err(BadNetwork("10.0.0.0/33".to_owned())));
    }
}
