//! The `Cache-Control` header of requests and responses (RFC 9111 section 5.2, RFC 5861, RFC 8246).

use http::HeaderMap;
use http::header::CACHE_CONTROL;

/// Longer than this means "for ever"; RFC 9111 section 1.2.2 says to cap what overflows at this number.
const DELTA_SECONDS_MAX: u64 = 1 << 31;

/// The directives that this cache acts on. Unknown ones are ignored, as the RFC asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheControl {
    /// `max-age`, in seconds.
    pub max_age: Option<u64>,
    /// `s-maxage`, in seconds: for shared caches, and so stronger than `max-age` here.
    pub s_maxage: Option<u64>,
    /// `stale-while-revalidate`, in seconds.
    pub stale_while_revalidate: Option<u64>,
    /// `stale-if-error`, in seconds.
    pub stale_if_error: Option<u64>,
    /// `no-store`.
    pub no_store: bool,
    /// `no-cache`, with or without field names: a cache may take the second for the first.
    pub no_cache: bool,
    /// `private`, with or without field names.
    pub private: bool,
    /// `public`.
    pub public: bool,
    /// `must-revalidate`.
    pub must_revalidate: bool,
    /// `proxy-revalidate`.
    pub proxy_revalidate: bool,
    /// `immutable`.
    pub immutable: bool,
    /// `only-if-cached` (requests only).
    pub only_if_cached: bool,
}

impl CacheControl {
    /// Reads all `Cache-Control` lines of a message. What can't be read counts as the stricter of its possible
    /// meanings: a lifetime that isn't a number is none at all.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut parsed = Self::default();
        for line in headers.get_all(CACHE_CONTROL) {
            for (name, value) in Directives::new(line.as_bytes()) {
                parsed.add(name, value.as_deref());
            }
        }
        parsed
    }

    fn add(&mut self, name: &[u8], value: Option<&[u8]>) {
        let named = |expected: &str| name.eq_ignore_ascii_case(expected.as_bytes());
        let seconds = || Some(value.map_or(0, delta_seconds));
        if named("max-age") {
            self.max_age = shorter(self.max_age, seconds());
        } else if named("s-maxage") {
            self.s_maxage = shorter(self.s_maxage, seconds());
        } else if named("stale-while-revalidate") {
            self.stale_while_revalidate = shorter(self.stale_while_revalidate, seconds());
        } else if named("stale-if-error") {
            self.stale_if_error = shorter(self.stale_if_error, seconds());
        } else if named("no-store") {
            self.no_store = true;
        } else if named("no-cache") {
            self.no_cache = true;
        } else if named("private") {
            self.private = true;
        } else if named("public") {
            self.public = true;
        } else if named("must-revalidate") {
            self.must_revalidate = true;
        } else if named("proxy-revalidate") {
            self.proxy_revalidate = true;
        } else if named("immutable") {
            self.immutable = true;
        } else if named("only-if-cached") {
            self.only_if_cached = true;
        }
    }
}

/// A directive that is given twice counts in its stricter form.
fn shorter(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// A number of seconds; anything else is zero, which means stale.
fn delta_seconds(value: &[u8]) -> u64 {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return 0;
    }
    value.iter().fold(0_u64, |sum, digit| {
        (sum * 10 + u64::from(digit - b'0')).min(DELTA_SECONDS_MAX)
    })
}

/// Splits `name[=value]` pairs at commas, minding quoted strings.
struct Directives<'a> {
    rest: &'a [u8],
}

impl<'a> Directives<'a> {
    fn new(line: &'a [u8]) -> Self {
        Self { rest: line }
    }

    fn value(&mut self) -> Vec<u8> {
        if self.rest.first() != Some(&b'"') {
            let end = self
                .rest
                .iter()
                .position(|byte| *byte == b',')
                .unwrap_or(self.rest.len());
            let value = self.rest[..end].trim_ascii().to_vec();
            self.rest = &self.rest[end..];
            return value;
        }
        let mut value = Vec::new();
        let mut bytes = self.rest.iter().enumerate().skip(1);
        while let Some((at, byte)) = bytes.next() {
            match byte {
                b'"' => {
                    self.rest = &self.rest[at + 1..];
                    return value;
                }
                b'\\' => value.extend(bytes.next().map(|(_, escaped)| *escaped)),
                byte => value.push(*byte),
            }
        }
        // The string never ends: whatever it was meant to say, nothing follows it.
        self.rest = &[];
        value
    }
}

impl<'a> Iterator for Directives<'a> {
    type Item = (&'a [u8], Option<Vec<u8>>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let start = self.rest.iter().position(|byte| !matches!(byte, b',' | b' ' | b'\t'))?;
            self.rest = &self.rest[start..];
            let end = self
                .rest
                .iter()
                .position(|byte| matches!(byte, b',' | b'='))
                .unwrap_or(self.rest.len());
            let name = self.rest[..end].trim_ascii();
            let has_value = self.rest.get(end) == Some(&b'=');
            self.rest = &self.rest[end..];
            let value = has_value.then(|| {
                self.rest = self.rest[1..].trim_ascii_start();
                self.value()
            });
            if !name.is_empty() {
                return Some((name, value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn parse(lines: &[&str]) -> CacheControl {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CACHE_CONTROL, HeaderValue::from_str(line).unwrap());
        }
        CacheControl::of(&headers)
    }

    #[test]
    fn directives_of_several_lines_are_one_list() {
        let parsed = parse(&["public, max-age=31536000", "IMMUTABLE ,stale-if-error = 60"]);
        assert!(parsed.public && parsed.immutable);
        assert_eq!(parsed.max_age, Some(31_536_000));
        assert_eq!(parsed.stale_if_error, Some(60));
    }

    #[test]
    fn a_lifetime_that_is_no_number_is_none_at_all() {
        for line in ["max-age", "max-age=", "max-age=-1", "max-age=1.5", "max-age=\"5x\""] {
            assert_eq!(parse(&[line]).max_age, Some(0), "{line}");
        }
    }

    #[test]
    fn a_lifetime_too_long_to_count_is_capped() {
        assert_eq!(
            parse(&["max-age=99999999999999999999999999"]).max_age,
            Some(DELTA_SECONDS_MAX)
        );
    }

    #[test]
    fn a_quoted_value_may_hold_commas_and_other_directives() {
        let parsed = parse(&["private=\"set-cookie, no-store\", max-age=\"7\""]);
        assert!(parsed.private);
        assert!(!parsed.no_store);
        assert_eq!(parsed.max_age, Some(7));
    }

    #[test]
    fn of_two_lifetimes_the_shorter_counts() {
        assert_eq!(parse(&["max-age=60, max-age=5"]).max_age, Some(5));
    }

    #[test]
    fn what_is_after_an_endless_string_is_not_believed() {
        let parsed = parse(&["no-cache=\"x, max-age=60"]);
        assert!(parsed.no_cache);
        assert_eq!(parsed.max_age, None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Directives::new(&bytes).count();
        }
    }
}
