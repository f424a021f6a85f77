//! Which of several responses to one URL a request gets (RFC 9111 section 4.1).
//!
//! Only a few request headers may tell responses apart here, and the one that every browser sends differently,
//! `Accept-Encoding`, is reduced to the codings in it that matter: else each visitor would have a variant of their own.

use http::header::{ACCEPT, ACCEPT_ENCODING, ORIGIN, VARY};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use super::freshness::NotStored;

/// The codings that an origin may choose from.
const CODINGS: [&str; 3] = ["br", "gzip", "zstd"];

/// A header that is longer than this is not part of a key: it would be somebody's attempt to fill the cache.
const VALUE_BYTES_MAX: usize = 256;

/// The request headers that may choose a variant.
const VARYING: [HeaderName; 3] = [ACCEPT, ACCEPT_ENCODING, ORIGIN];

/// The request headers that chose a stored response, with the values they had. Empty where the response doesn't vary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Selection(Vec<(String, String)>);

impl Selection {
    /// What `response` says it was chosen by, with the values of the request that it answers.
    pub fn of(response: &HeaderMap, request: &HeaderMap) -> Result<Self, NotStored> {
        let mut names: Vec<String> = Vec::new();
        for line in response.get_all(VARY) {
            let line = line.to_str().map_err(|_| NotStored::Vary)?;
            names.extend(line.split(',').map(|name| name.trim().to_ascii_lowercase()));
        }
        names.retain(|name| !name.is_empty());
        names.sort();
        names.dedup();
        let select = |name: String| {
            let header = VARYING
                .iter()
                .find(|header| header.as_str() == name)
                .ok_or(NotStored::Vary)?;
            let value = normalized(request, header);
            if value.len() > VALUE_BYTES_MAX {
                Err(NotStored::Vary)
            } else {
                Ok((name, value))
            }
        };
        names.into_iter().map(select).collect::<Result<_, _>>().map(Self)
    }

    /// Whether `request` would get the response that was selected so.
    pub fn matches(&self, request: &HeaderMap) -> bool {
        self.0.iter().all(|(name, value)| {
            VARYING
                .iter()
                .find(|header| header.as_str() == name)
                .is_some_and(|header| normalized(request, header) == *value)
        })
    }

    /// The selection that `request` makes by the same headers: where it fetches a variant of its own.
    pub fn again_for(&self, request: &HeaderMap) -> Self {
        let again = self.0.iter().map(|(name, _)| {
            let value = VARYING
                .iter()
                .find(|header| header.as_str() == name)
                .map_or_else(String::new, |header| normalized(request, header));
            (name.clone(), value)
        });
        Self(again.collect())
    }

    /// Whether every request gets the same response.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A text that is the same for equal selections and for no others.
    pub fn fingerprint(&self) -> String {
        serde_json::to_string(&self.0).unwrap_or_default()
    }
}

/// The headers that choose a variant, as the origin is to see them: what is a key here is what is sent there.
pub fn forwarded(request: &HeaderMap) -> HeaderMap {
    VARYING
        .iter()
        .filter_map(|name| {
            let value = normalized(request, name);
            if value.is_empty() {
                None
            } else {
                Some((name.clone(), HeaderValue::from_str(&value).ok()?))
            }
        })
        .collect()
}

fn normalized(request: &HeaderMap, name: &HeaderName) -> String {
    let lines = request.get_all(name).iter().filter_map(|value| value.to_str().ok());
    if *name == ACCEPT_ENCODING {
        codings(lines)
    } else {
        lines.collect::<Vec<_>>().join(", ")
    }
}

/// The known codings that are accepted, sorted. Preferences among them are the origin's to have.
fn codings<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let mut accepted = [false; CODINGS.len()];
    for item in lines.flat_map(|line| line.split(',')) {
        let mut parts = item.split(';');
        let name = parts.next().unwrap_or_default().trim();
        let refused = parts.any(|part| {
            let weight = part
                .trim()
                .strip_prefix("q=")
                .or_else(|| part.trim().strip_prefix("Q="));
            weight.is_some_and(|weight| weight.trim().parse::<f32>().is_ok_and(|weight| weight <= 0.0))
        });
        for (at, coding) in CODINGS.iter().enumerate() {
            if name.eq_ignore_ascii_case(coding) {
                accepted[at] = !refused;
            }
        }
    }
    let names = CODINGS
        .iter()
        .zip(accepted)
        .filter_map(|(name, accepted)| accepted.then_some(*name));
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn browsers_that_write_the_same_codings_differently_share_a_variant() {
        let vary = headers(&[(VARY, "Accept-Encoding")]);
        let stored = Selection::of(&vary, &headers(&[(ACCEPT_ENCODING, "gzip, deflate, br, zstd")])).unwrap();
        assert!(stored.matches(&headers(&[(ACCEPT_ENCODING, "br;q=1.0, GZIP;q=0.5 , zstd, *;q=0.1")])));
        assert!(!stored.matches(&headers(&[(ACCEPT_ENCODING, "gzip")])));
        assert!(!stored.matches(&headers(&[(ACCEPT_ENCODING, "gzip, br;q=0, zstd")])));
        assert!(!stored.matches(&HeaderMap::new()));
    }

    #[test]
    fn a_response_that_varies_by_nothing_fits_every_request() {
        let selection = Selection::of(&HeaderMap::new(), &headers(&[(ACCEPT_ENCODING, "gzip")])).unwrap();
        assert!(selection.is_empty());
        assert!(selection.matches(&HeaderMap::new()));
    }

    #[test]
    fn a_response_that_varies_by_what_is_not_sent_on_is_not_stored() {
        for vary in ["Cookie", "User-Agent, Accept-Encoding", "*"] {
            let refused = Selection::of(&headers(&[(VARY, vary)]), &HeaderMap::new());
            assert_eq!(refused, Err(NotStored::Vary), "{vary}");
        }
    }

    #[test]
    fn a_value_made_to_fill_the_cache_is_no_key() {
        let long = "x".repeat(VALUE_BYTES_MAX + 1);
        let refused = Selection::of(&headers(&[(VARY, "accept")]), &headers(&[(ACCEPT, &long)]));
        assert_eq!(refused, Err(NotStored::Vary));
    }

    #[test]
    fn the_origin_sees_what_the_key_was_made_of() {
        let sent = forwarded(&headers(&[
            (ACCEPT_ENCODING, "deflate, GZIP"),
            (http::header::COOKIE, "a=b"),
        ]));
        assert_eq!(sent, headers(&[(ACCEPT_ENCODING, "gzip")]));
    }

    #[test]
    fn another_visitor_s_selection_has_the_same_names_and_their_own_values() {
        let vary = headers(&[(VARY, "accept-encoding")]);
        let stored = Selection::of(&vary, &headers(&[(ACCEPT_ENCODING, "gzip")])).unwrap();
        let other = stored.again_for(&headers(&[(ACCEPT_ENCODING, "br")]));
        assert_ne!(other.fingerprint(), stored.fingerprint());
        assert!(other.matches(&headers(&[(ACCEPT_ENCODING, "br")])));
    }
}
