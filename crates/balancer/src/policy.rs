//! What a browser may do with an answer, where its service doesn't say.

use http::HeaderMap;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, STRICT_TRANSPORT_SECURITY};

use crate::Side;
use crate::forwarded::Hop;
use crate::routes::Headers;

/// Adds what is missing.
pub(crate) fn apply(headers: &mut HeaderMap, hop: Hop, policies: &Headers) {
    if hop.side == Side::Private {
        return;
    }
    if let Some(policy) = &policies.content_security_policy
        && is_document(headers)
    {
        headers.entry(CONTENT_SECURITY_POLICY).or_insert_with(|| policy.clone());
    }
    // Over plain HTTP browsers must ignore it (RFC 6797, section 8.1).
    if let Some(policy) = &policies.strict_transport_security
        && hop.is_tls
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

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::routes::RouteTable;

    fn policies(text: &str) -> Headers {
        let service = "[[service]]\nname = \"a\"\naddresses = []\n[[route]]\nprefix = \"/\"\nservice = \"a\"\n";
        let table = RouteTable::parse(&format!("[headers]\n{text}\n{service}"));
        table.expect("sound routes").settings.headers
    }

    fn applied(is_tls: bool, text: &str, lines: &[(http::HeaderName, &'static str)]) -> HeaderMap {
        let hop = Hop {
            side: Side::Public,
            peer: [192, 0, 2, 7].into(),
            is_tls,
            is_trusted: false,
        };
        let lines = lines.iter().cloned();
        let mut headers: HeaderMap = lines
            .map(|(name, value)| (name, HeaderValue::from_static(value)))
            .collect();
        apply(&mut headers, hop, &policies(text));
        headers
    }

    #[test]
    fn pages_without_a_policy_get_one_and_those_with_their_own_keep_it() {
        let html = || (CONTENT_TYPE, "text/html; charset=utf-8");
        let none = "content_security_policy = \"default-src 'none'\"";
        assert_eq!(
            applied(false, none, &[html()])[CONTENT_SECURITY_POLICY],
            "default-src 'none'"
        );
        let own = (CONTENT_SECURITY_POLICY, "script-src 'self'");
        assert_eq!(
            applied(false, none, &[html(), own])[CONTENT_SECURITY_POLICY],
            "script-src 'self'"
        );
        let json = applied(false, none, &[(CONTENT_TYPE, "application/json")]);
        assert!(!json.contains_key(CONTENT_SECURITY_POLICY));
        assert!(applied(false, "", &[html()]).contains_key(CONTENT_SECURITY_POLICY));
        let off = applied(false, "content_security_policy = \"\"", &[html()]);
        assert!(!off.contains_key(CONTENT_SECURITY_POLICY));
    }

    #[test]
    fn only_over_tls_and_only_if_wanted_a_browser_is_bound_to_tls() {
        let year = "hsts_max_age_s = 31536000";
        assert_eq!(applied(true, year, &[])[STRICT_TRANSPORT_SECURITY], "max-age=31536000");
        assert!(!applied(false, year, &[]).contains_key(STRICT_TRANSPORT_SECURITY));
        assert!(!applied(true, "", &[]).contains_key(STRICT_TRANSPORT_SECURITY));
    }
}
