//! Who asks. A peer can't lie about its address; what it says of those before it is believed only of proxies that the
//! operator trusts.

use std::net::IpAddr;

use http::HeaderMap;
use ipnet::IpNet;
pub(crate) use shop_front::is_in;

use crate::forwarded::hops;

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
    fn nobody_is_believed_beyond_a_hop_that_can_not_be_read() {
        let trusted = [parse_network("10.0.0.0/8").expect("a network")];
        let client = |noted: &'static [u8]| {
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-for", HeaderValue::from_bytes(noted).expect("a value"));
            headers.insert("forwarded", HeaderValue::from_static("for=6.6.6.6"));
            client_of(&headers, address("10.0.0.1"), &trusted)
        };
        assert_eq!(client(b"\xe9, 198.51.100.9"), address("198.51.100.9"));
        assert_eq!(client(b"6.6.6.6, unix:, 10.0.0.2"), address("10.0.0.2"));
        assert_eq!(client(b"\xe9"), address("10.0.0.1"));
        assert_eq!(client(b""), address("10.0.0.1"));
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
