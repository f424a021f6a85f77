//! By what a route's requests are spread over the backends of its service.

use std::hash::{DefaultHasher, Hasher as _};
use std::net::IpAddr;

use http::header::COOKIE;
use http::{HeaderMap, HeaderName};
use serde::Deserialize;

use crate::forwarded::{self, Hop};

/// How a backend is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// Of two random ones the clearly faster while it has next to nothing to do, else the cheaper: requests there
    /// already, times what each takes lately.
    #[default]
    P2c,
    /// The one with the fewest requests there already.
    LeastLoaded,
    /// For the same key the same one, as long as it isn't much busier than the others.
    ConsistentHash(HashKey),
}

/// What of a request decides where it goes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HashKey {
    /// The path, without the query.
    Path,
    /// The address of the client.
    Client,
    /// A header's value.
    Header(HeaderText),
    /// A cookie's value.
    Cookie(String),
}

/// The name of a header.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct HeaderText(HeaderName);

impl TryFrom<String> for HeaderText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let name = text.parse().map_err(|_| format!("{text:?} can't be a header's name"))?;
        Ok(Self(name))
    }
}

impl Algorithm {
    /// The key by which a request for this path sticks to one backend. None where any of them will do. `customer` is who
    /// asks, where that could be told.
    pub(crate) fn key_of(&self, path: &str, headers: &HeaderMap, hop: Hop, customer: Option<IpAddr>) -> Option<u64> {
        let Self::ConsistentHash(key) = self else {
            return None;
        };
        let text = |name: &HeaderName| headers.get(name).map(http::HeaderValue::as_bytes);
        let value = match key {
            HashKey::Path => path.as_bytes(),
            // Edges and services are believed about who comes first.
            HashKey::Client => {
                let client =
                    customer.map_or_else(|| forwarded::farthest(headers, hop), |customer| customer.to_string());
                return Some(hash(client.as_bytes()));
            }
            HashKey::Header(name) => text(&name.0)?,
            HashKey::Cookie(name) => headers
                .get_all(COOKIE)
                .iter()
                .flat_map(|line| line.as_bytes().split(|&byte| byte == b';'))
                .find_map(|pair| pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"="))?,
        };
        Some(hash(value))
    }

    /// `consistent-hash`
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::P2c => "p2c",
            Self::LeastLoaded => "least-loaded",
            Self::ConsistentHash(_) => "consistent-hash",
        }
    }
}

/// The same in every process, so that all balancers send a key to the same backend.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Side;
    use crate::forwarded::tests::hop;

    #[derive(Debug, Deserialize)]
    struct Line {
        balance: Algorithm,
    }

    fn parsed(text: &str) -> Result<Algorithm, toml::de::Error> {
        toml::from_str::<Line>(&format!("balance = {text}")).map(|line| line.balance)
    }

    fn key(text: &str, pairs: &[(&str, &str)]) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name: HeaderName = name.parse().expect("a name");
            headers.append(name, value.parse().expect("a value"));
        }
        parsed(text)
            .expect("an algorithm")
            .key_of("/products/7", &headers, hop(Side::Origin), None)
    }

    #[test]
    fn an_algorithm_is_read_with_its_key() {
        assert_eq!(parsed("\"p2c\"").expect("known"), Algorithm::P2c);
        assert_eq!(parsed("\"least-loaded\"").expect("known"), Algorithm::LeastLoaded);
        let by_path = Algorithm::ConsistentHash(HashKey::Path);
        assert_eq!(parsed("{ consistent-hash = \"path\" }").expect("known"), by_path);
        for bad in [
            "\"round-robin\"",
            "\"consistent-hash\"",
            "{ consistent-hash = \"body\" }",
            "{ consistent-hash = { header = \"no name\" } }",
        ] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_is_what_the_route_names() {
        let header = "{ consistent-hash = { header = \"X-Tenant\" } }";
        assert_eq!(key(header, &[("x-tenant", "a")]), Some(hash(b"a")));
        assert_eq!(key("{ consistent-hash = \"path\" }", &[]), Some(hash(b"/products/7")));
        let client = [("x-forwarded-for", "192.0.2.7, 10.0.0.1")];
        assert_eq!(
            key("{ consistent-hash = \"client\" }", &client),
            Some(hash(b"192.0.2.7"))
        );
        let cookie = "{ consistent-hash = { cookie = \"id\" } }";
        let cookies = [("cookie", "theme=dark; idle=1"), ("cookie", "a=b; id=x=y;c=d")];
        assert_eq!(key(cookie, &cookies), Some(hash(b"x=y")));
    }

    #[test]
    fn without_its_key_a_request_may_go_anywhere() {
        assert_eq!(
            key("{ consistent-hash = { cookie = \"id\" } }", &[("cookie", "idle=1")]),
            None
        );
        assert_eq!(key("{ consistent-hash = { header = \"x-tenant\" } }", &[]), None);
        assert_eq!(key("\"p2c\"", &[]), None);
    }
}
