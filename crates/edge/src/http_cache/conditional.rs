//! Conditional requests: what a client has already (RFC 9110 section 13), answered from the cache.

use http::HeaderMap;
use http::header::{ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED};

use super::{header_text, parse_http_date};

/// Whether the client's copy is the one that is stored, so that 304 is the answer. `If-None-Match` is asked first, and
/// alone if it is there (RFC 9110 section 13.2.2).
pub fn client_has_it(request: &HeaderMap, stored: &HeaderMap) -> bool {
    if request.contains_key(IF_NONE_MATCH) {
        let tag = header_text(stored, &ETAG);
        return request
            .get_all(IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|list| matches_any(list, tag));
    }
    let date = |headers: &HeaderMap, name| header_text(headers, name).and_then(parse_http_date);
    match (date(request, &IF_MODIFIED_SINCE), date(stored, &LAST_MODIFIED)) {
        (Some(since), Some(modified)) => modified <= since,
        _ => false,
    }
}

/// Whether a `Range` may be honoured: there is no `If-Range`, or it names exactly what is stored. Weak validators
/// never do (RFC 9110 section 13.1.5): two parts of different bytes don't make a whole.
pub fn range_applies(request: &HeaderMap, stored: &HeaderMap) -> bool {
    if !request.contains_key(IF_RANGE) {
        return true;
    }
    let Some(wanted) = header_text(request, &IF_RANGE).map(str::trim) else {
        return false;
    };
    if wanted.starts_with('"') {
        return header_text(stored, &ETAG) == Some(wanted);
    }
    if wanted.starts_with("W/") {
        return false;
    }
    // A date is compared as text: "not modified since" isn't enough here, it has to be the very same.
    header_text(stored, &LAST_MODIFIED) == Some(wanted)
}

/// Whether two responses have the same bytes for certain: both carry the same strong tag.
pub fn same_bytes(a: &HeaderMap, b: &HeaderMap) -> bool {
    match (header_text(a, &ETAG), header_text(b, &ETAG)) {
        (Some(a), Some(b)) => a == b && a.starts_with('"'),
        _ => false,
    }
}

/// Weak comparison of a list of entity tags (or `*`) with one.
fn matches_any(list: &str, tag: Option<&str>) -> bool {
    if list.trim() == "*" {
        return true;
    }
    let Some(tag) = tag.map(opaque) else {
        return false;
    };
    EntityTags { rest: list }.any(|candidate| candidate == tag)
}

/// A tag without its weakness, quotes included.
fn opaque(tag: &str) -> &str {
    let tag = tag.trim();
    tag.strip_prefix("W/").unwrap_or(tag)
}

/// The tags of a list. A comma may be part of a tag, so splitting at commas won't do.
struct EntityTags<'a> {
    rest: &'a str,
}

impl<'a> Iterator for EntityTags<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let start = self.rest.find('"')?;
        let length = self.rest[start + 1..].find('"')? + 2;
        let tag = &self.rest[start..start + length];
        self.rest = &self.rest[start + length..];
        Some(tag)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect()
    }

    fn has_it(condition: &str, tag: &str) -> bool {
        client_has_it(&headers(&[(IF_NONE_MATCH, condition)]), &headers(&[(ETAG, tag)]))
    }

    #[test]
    fn a_tag_is_found_in_a_list_whatever_its_weakness() {
        assert!(has_it("\"a\"", "\"a\""));
        assert!(has_it("\"x\", W/\"a\"", "\"a\""));
        assert!(has_it("\"a,b\",\"c\"", "W/\"a,b\""));
        assert!(has_it("*", "\"a\""));
        assert!(!has_it("\"b\"", "\"a\""));
        assert!(!has_it("a", "\"a\""));
        assert!(!has_it("\"a", "\"a\""));
    }

    #[test]
    fn a_date_counts_only_without_a_tag() {
        let date = "Fri, 15 Jan 2027 08:00:00 GMT";
        let stored = headers(&[(ETAG, "\"a\""), (LAST_MODIFIED, date)]);
        assert!(client_has_it(&headers(&[(IF_MODIFIED_SINCE, date)]), &stored));
        let both = headers(&[(IF_MODIFIED_SINCE, date), (IF_NONE_MATCH, "\"b\"")]);
        assert!(!client_has_it(&both, &stored));
        let earlier = headers(&[(IF_MODIFIED_SINCE, "Fri, 15 Jan 2027 07:59:59 GMT")]);
        assert!(!client_has_it(&earlier, &stored));
    }

    #[test]
    fn a_range_continues_only_the_very_same_bytes() {
        let stored = headers(&[(ETAG, "\"a\""), (LAST_MODIFIED, "Fri, 15 Jan 2027 08:00:00 GMT")]);
        let applies = |value| range_applies(&headers(&[(IF_RANGE, value)]), &stored);
        assert!(applies("\"a\""));
        assert!(applies("Fri, 15 Jan 2027 08:00:00 GMT"));
        assert!(!applies("W/\"a\""));
        assert!(!applies("\"b\""));
        assert!(!applies("Fri, 15 Jan 2027 09:00:00 GMT"));
        assert!(range_applies(&HeaderMap::new(), &stored));
    }

    proptest! {
        #[test]
        fn any_list_is_read_without_a_panic(list in "[\"W/*, a-z\u{e9}]{0,40}") {
            let _ = matches_any(&list, Some("\"a\""));
        }
    }
}
