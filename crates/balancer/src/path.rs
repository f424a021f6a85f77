//! One reading of a path. Whatever decides by path must read it as the services may read it, or a clever spelling
//! (`//internal`, `/%69nternal`, `/x/../internal`) slips by.

use std::borrow::Cow;

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathError {
    /// It doesn't start with a slash.
    #[error("the path does not start with a slash")]
    NotAbsolute,
    /// `%` without two hexadecimal digits, or bytes that are no UTF-8.
    #[error("the path has a broken escape")]
    BrokenEscape,
    /// `.` or `..`, written out or escaped.
    #[error("the path has dot segments")]
    DotSegment,
    /// An escaped slash, a backslash or a control character.
    #[error("the path has a character that can be read in two ways")]
    Ambiguous,
}

/// The path as it is routed: escapes resolved, repeated slashes merged. The path that is forwarded stays as it came.
pub(crate) fn normalise(path: &str) -> Result<Cow<'_, str>, PathError> {
    if !path.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    if is_plain(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    let decoded = decode(path)?;
    let mut normal = String::with_capacity(decoded.len());
    for segment in decoded.split('/') {
        match segment {
            "" => {}
            "." | ".." => return Err(PathError::DotSegment),
            segment => {
                normal.push('/');
                normal.push_str(segment);
            }
        }
    }
    if normal.is_empty() {
        normal.push('/');
    }
    Ok(Cow::Owned(normal))
}

/// Nothing in it needs a second look.
fn is_plain(path: &[u8]) -> bool {
    let mut previous = 0;
    for &byte in path {
        let is_plain = byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'_' | b'~')
            || (byte == b'/' && previous != b'/')
            || (byte == b'.' && previous != b'/');
        if !is_plain {
            return false;
        }
        previous = byte;
    }
    true
}

fn decode(path: &str) -> Result<String, PathError> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        let byte = if byte == b'%' {
            let high = rest.next().and_then(hex_digit).ok_or(PathError::BrokenEscape)?;
            let low = rest.next().and_then(hex_digit).ok_or(PathError::BrokenEscape)?;
            let decoded = high << 4 | low;
            if decoded == b'/' {
                return Err(PathError::Ambiguous);
            }
            decoded
        } else {
            byte
        };
        if byte == b'\\' || byte.is_ascii_control() {
            return Err(PathError::Ambiguous);
        }
        bytes.push(byte);
    }
    String::from_utf8(bytes).map_err(|_| PathError::BrokenEscape)
}

fn hex_digit(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_paths_stay_as_they_are() {
        for path in ["/", "/products/7", "/assets/shop.1a2b.css", "/a-b_c~d", "/orders/"] {
            assert!(
                matches!(normalise(path), Ok(Cow::Borrowed(same)) if same == path),
                "{path}"
            );
        }
    }

    #[test]
    fn disguises_of_one_path_are_one_path() {
        for path in [
            "//internal/x",
            "/%69nternal/x",
            "/internal//x",
            "/%69%6e%74ernal/x",
            "///internal/x/",
        ] {
            assert_eq!(normalise(path).as_deref(), Ok("/internal/x"), "{path}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        assert_eq!(normalise("internal"), Err(PathError::NotAbsolute));
        assert_eq!(normalise("/a/../internal"), Err(PathError::DotSegment));
        assert_eq!(normalise("/a/%2e%2E/internal"), Err(PathError::DotSegment));
        assert_eq!(normalise("/./internal"), Err(PathError::DotSegment));
        assert_eq!(normalise("/a%2fb"), Err(PathError::Ambiguous));
        assert_eq!(normalise("/a\\b"), Err(PathError::Ambiguous));
        assert_eq!(normalise("/a%00"), Err(PathError::Ambiguous));
        assert_eq!(normalise("/a%"), Err(PathError::BrokenEscape));
        assert_eq!(normalise("/a%zz"), Err(PathError::BrokenEscape));
        assert_eq!(normalise("/a%ff"), Err(PathError::BrokenEscape));
    }

    #[test]
    fn dots_within_names_are_fine() {
        assert_eq!(normalise("/a..b/c.d%20e").as_deref(), Ok("/a..b/c.d e"));
    }

    /// Pieces of which paths are made, by those who mean well and those who don't.
    fn path() -> impl Strategy<Value = String> {
        let pieces = prop::sample::select(vec![
            "/",
            "/",
            "//",
            ".",
            "..",
            "a",
            "internal",
            "%69nternal",
            "%2e",
            "%2E%2e",
            "%2f",
            "%5c",
            "\\",
            "%25",
            "%c3%a9",
            "%ff",
            "%0d",
            "%",
            "%4",
            "\u{e9}",
            " ",
            ";x=1",
            "~",
        ]);
        prop::collection::vec(pieces, 0..10).prop_map(|pieces| format!("/{}", pieces.concat()))
    }

    /// The same path with each byte escaped, and each slash doubled.
    fn disguised(path: &str) -> String {
        let escape = |byte: u8| match byte {
            b'/' => "//".to_owned(),
            byte => format!("%{byte:02x}"),
        };
        path.bytes().map(escape).collect()
    }

    proptest! {
        #[test]
        fn no_reading_of_a_path_leads_elsewhere(path in path()) {
            let Ok(normal) = normalise(&path) else {
                return Ok(());
            };
            prop_assert!(normal.starts_with('/'));
            prop_assert!(!normal.contains("//") && !normal.contains('\\'));
            prop_assert!(normal.split('/').all(|segment| !matches!(segment, "." | "..")));
            prop_assert!(!normal.contains(|c: char| c.is_ascii_control()));
            // An escaped percent sign is resolved once, and only once.
            if !normal.contains('%') {
                let again = normalise(&normal);
                prop_assert_eq!(again.as_deref(), Ok(&*normal));
            }
        }

        #[test]
        fn what_means_the_same_takes_the_same_route(path in path()) {
            let Ok(normal) = normalise(&path) else {
                return Ok(());
            };
            let disguised = disguised(&normal);
            let unmasked = normalise(&disguised);
            prop_assert_eq!(unmasked.as_deref().map(|path| path.trim_end_matches('/')), Ok(normal.trim_end_matches('/')));
        }
    }
}
