//! Byte ranges (RFC 9110 section 14).

use http::HeaderMap;
use http::header::RANGE;

/// What a `Range` header asks of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeRequest {
    /// Nothing, or nothing that this server honours: the whole object is the answer.
    Whole,
    /// The bytes from `first` to `last`, both included.
    Part {
        /// Offset of the first byte.
        first: u64,
        /// Offset of the last byte.
        last: u64,
    },
    /// Nothing of the object: 416.
    Unsatisfiable,
}

/// Reads the `Range` header for an object of `length` bytes. Several ranges at once are answered with the whole, as
/// the RFC allows: browsers don't ask for them, attackers do.
pub fn requested(request: &HeaderMap, length: u64) -> RangeRequest {
    let mut lines = request.get_all(RANGE).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => line.to_str().map_or(RangeRequest::Whole, |line| parse(line, length)),
        _ => RangeRequest::Whole,
    }
}

fn parse(line: &str, length: u64) -> RangeRequest {
    let Some((unit, ranges)) = line.split_once('=') else {
        return RangeRequest::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") || ranges.contains(',') {
        return RangeRequest::Whole;
    }
    let Some((first, last)) = ranges.trim().split_once('-') else {
        return RangeRequest::Whole;
    };
    match (offset(first), offset(last)) {
        (Offset::Missing, Offset::At(suffix)) => match suffix.min(length) {
            0 => RangeRequest::Unsatisfiable,
            suffix => RangeRequest::Part {
                first: length - suffix,
                last: length - 1,
            },
        },
        (Offset::At(first), Offset::At(last)) if last < first => RangeRequest::Whole,
        (Offset::At(first), Offset::At(_) | Offset::Missing) if first >= length => RangeRequest::Unsatisfiable,
        (Offset::At(first), Offset::At(last)) => RangeRequest::Part {
            first,
            last: last.min(length - 1),
        },
        (Offset::At(first), Offset::Missing) => RangeRequest::Part {
            first,
            last: length - 1,
        },
        _ => RangeRequest::Whole,
    }
}

enum Offset {
    Missing,
    At(u64),
    Invalid,
}

fn offset(text: &str) -> Offset {
    if text.is_empty() {
        return Offset::Missing;
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Offset::Invalid;
    }
    // More digits than a number holds are beyond the end of everything.
    Offset::At(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::RangeRequest::{Part, Unsatisfiable, Whole};
    use super::*;

    #[test]
    fn the_three_forms_of_a_range_are_understood() {
        assert_eq!(parse("bytes=0-99", 1000), Part { first: 0, last: 99 });
        assert_eq!(parse("bytes=900-", 1000), Part { first: 900, last: 999 });
        assert_eq!(parse("bytes=-100", 1000), Part { first: 900, last: 999 });
    }

    #[test]
    fn a_range_is_cut_at_the_end_of_the_object() {
        assert_eq!(parse("bytes=990-2000", 1000), Part { first: 990, last: 999 });
        assert_eq!(parse("bytes=-5000", 1000), Part { first: 0, last: 999 });
        assert_eq!(
            parse("bytes=5-99999999999999999999999", 1000),
            Part { first: 5, last: 999 }
        );
    }

    #[test]
    fn a_range_behind_the_end_can_not_be_satisfied() {
        for line in [
            "bytes=1000-",
            "bytes=1000-1001",
            "bytes=-0",
            "bytes=99999999999999999999999-",
        ] {
            assert_eq!(parse(line, 1000), Unsatisfiable, "{line}");
        }
        assert_eq!(parse("bytes=0-", 0), Unsatisfiable);
        assert_eq!(parse("bytes=-1", 0), Unsatisfiable);
    }

    #[test]
    fn what_is_no_single_byte_range_is_ignored() {
        for line in [
            "bytes=0-1,5-6",
            "items=0-1",
            "bytes=",
            "bytes=-",
            "bytes=5-4",
            "bytes=a-b",
            "bytes=+1-2",
            "0-1",
        ] {
            assert_eq!(parse(line, 1000), Whole, "{line}");
        }
    }

    proptest! {
        #[test]
        fn a_part_lies_within_the_object(line in "(bytes=)?[0-9,a -]{0,30}", length in 0_u64..50) {
            if let Part { first, last } = parse(&line, length) {
                prop_assert!(first <= last && last < length);
            }
        }
    }
}
