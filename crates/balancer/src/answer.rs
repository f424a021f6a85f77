//! What a backend's answer must be to be believed. A service that is broken, or that can be made to say what an attacker
//! likes, must not be able to say where its answer ends in two ways: what one client is sent could become the next one's
//! answer, here or in a cache before it.

use http::HeaderMap;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};

/// Whether the length of an answer with these headers can be read in more than one way.
///
/// hyper takes a chunked answer that has a length as well, several equal lengths, and codings before `chunked`, which
/// would get lost here.
pub(crate) fn is_ambiguous(headers: &HeaderMap) -> bool {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (lengths.next(), codings.next()) {
        (None, None) => false,
        (Some(length), None) => lengths.next().is_some() || !length.as_bytes().iter().all(u8::is_ascii_digit),
        (None, Some(coding)) => codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(lines: &[(&'static str, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().expect("a value"));
        }
        is_ambiguous(&headers)
    }

    #[test]
    fn one_length_or_one_coding_or_neither_is_clear() {
        assert!(!answer(&[]));
        assert!(!answer(&[("content-length", "5")]));
        assert!(!answer(&[("transfer-encoding", "Chunked")]));
    }

    #[test]
    fn more_than_that_is_not() {
        assert!(answer(&[("content-length", "5"), ("transfer-encoding", "chunked")]));
        assert!(answer(&[("content-length", "5"), ("content-length", "5")]));
        assert!(answer(&[("content-length", "5, 5")]));
        assert!(answer(&[("content-length", "+5")]));
        assert!(answer(&[("transfer-encoding", "gzip, chunked")]));
        assert!(answer(&[
            ("transfer-encoding", "chunked"),
            ("transfer-encoding", "chunked")
        ]));
    }
}
