//! What a backend's answer must be to be believed, and where it ends. A service that is broken, or that can be made to
//! say what an attacker likes, must not be able to say where its answer ends in two ways: what one client is sent could
//! become the next one's answer, here or in a cache before it.

use std::io;
use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Response, StatusCode, Version};
use httparse::{ParserConfig, Status};

use super::fields::{self, FIELDS_MAX};
use super::nonsense;

/// Where an answer ends (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// After so many bytes of a body.
    Length(u64),
    Chunked,
    /// With the connection.
    Close,
}

/// Reads a whole head.
pub(super) fn parse(head: &Bytes) -> io::Result<Response<()>> {
    let mut room = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let outcome = ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, head, &mut room);
    // The first empty line is where the head was cut off, so that nothing is left behind it.
    if !matches!(outcome, Ok(Status::Complete(bytes)) if bytes == head.len()) {
        return Err(nonsense("an answer that is none"));
    }
    let mut response = Response::new(());
    *response.status_mut() = parsed
        .code
        .and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or_else(|| nonsense("a status that is none"))?;
    *response.version_mut() = match parsed.version {
        Some(1) => Version::HTTP_11,
        _ => Version::HTTP_10,
    };
    *response.headers_mut() = fields::map_of(head, parsed.headers)?;
    Ok(response)
}

/// Where the answer ends that begins like this.
pub(super) fn framing_of(answer: &Response<()>, is_to_head: bool) -> io::Result<Framing> {
    let headers = answer.headers();
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let framing = match (lengths.next(), codings.next()) {
        (None, None) => Some(Framing::Close),
        (Some(length), None) if lengths.next().is_none() => length_of(length.as_bytes()).map(Framing::Length),
        // Codings before "chunked" would get lost here.
        (None, Some(coding)) if codings.next().is_none() && answer.version() == Version::HTTP_11 => {
            let is_chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
            is_chunked.then_some(Framing::Chunked)
        }
        _ => None,
    };
    let framing = framing.ok_or_else(|| nonsense("an answer whose length can be read in several ways"))?;
    let has_no_body = is_to_head
        || answer.status().is_informational()
        || matches!(answer.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    Ok(if has_no_body { Framing::Length(0) } else { framing })
}

fn length_of(value: &[u8]) -> Option<u64> {
    // A sign is no digit, though the parser of numbers takes one.
    let text = std::str::from_utf8(value).ok();
    text.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?
        .parse()
        .ok()
}

/// Whether the connection may carry another request afterwards (RFC 9112, section 9.3).
pub(super) fn is_persistent(answer: &Response<()>) -> bool {
    let says = |option| says_of_connection(answer.headers(), option);
    match answer.version() {
        Version::HTTP_11 => !says("close"),
        _ => says("keep-alive") && !says("close"),
    }
}

fn says_of_connection(headers: &HeaderMap, option: &str) -> bool {
    let mut lines = headers.get_all(CONNECTION).iter();
    lines.any(|line| {
        let mut options = line.as_bytes().split(|&byte| byte == b',');
        options.any(|said| said.trim_ascii().eq_ignore_ascii_case(option.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_comes_is_a_head_or_none(rest in "[A-Za-z0-9:,/. \t\r\n\u{0}\u{e4}-]{0,80}") {
            let bytes = Bytes::from(format!("HTTP/1.1 200 OK\r\n{rest}\r\n\r\n"));
            if let Ok(answer) = parse(&bytes) {
                // Nothing that was taken for one head may hold the end of one.
                prop_assert_eq!(memchr::memmem::find(&bytes, b"\r\n\r\n"), Some(bytes.len() - 4));
                let _ = framing_of(&answer, false);
            }
        }
    }

    fn answer(head: &str) -> Response<()> {
        parse(&Bytes::copy_from_slice(head.as_bytes())).expect("a head")
    }

    fn framing(lines: &str) -> Option<Framing> {
        framing_of(&answer(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n")), false).ok()
    }

    #[test]
    fn one_length_or_one_coding_or_neither_is_clear() {
        assert_eq!(framing(""), Some(Framing::Close));
        assert_eq!(framing("Content-Length: 5\r\n"), Some(Framing::Length(5)));
        assert_eq!(framing("Transfer-Encoding: Chunked\r\n"), Some(Framing::Chunked));
    }

    #[test]
    fn more_than_that_is_not() {
        for lines in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: +5\r\n",
            "Content-Length:\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        ] {
            assert_eq!(framing(lines), None, "{lines}");
        }
        let old = answer("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert!(framing_of(&old, false).is_err());
    }

    #[test]
    fn what_has_no_body_ends_with_its_head() {
        let long = "Content-Length: 5\r\n\r\n";
        for status in ["204 No Content", "304 Not Modified", "101 Switching Protocols"] {
            let answer = answer(&format!("HTTP/1.1 {status}\r\n{long}"));
            assert_eq!(framing_of(&answer, false).ok(), Some(Framing::Length(0)), "{status}");
        }
        let to_head = answer(&format!("HTTP/1.1 200 OK\r\n{long}"));
        assert_eq!(framing_of(&to_head, true).ok(), Some(Framing::Length(0)));
    }

    #[test]
    fn a_connection_stays_unless_something_is_said() {
        let is_kept =
            |start: &str, connection: &str| is_persistent(&answer(&format!("{start} 200 OK\r\n{connection}\r\n")));
        assert!(is_kept("HTTP/1.1", ""));
        assert!(!is_kept("HTTP/1.1", "Connection: x, Close\r\n"));
        assert!(!is_kept("HTTP/1.0", ""));
        assert!(is_kept("HTTP/1.0", "Connection: Keep-Alive\r\n"));
    }

    #[test]
    fn heads_that_are_none() {
        for head in [
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno field\r\n\r\n",
            "HTTP/1.1 200 OK\r\na: b\r\n folded\r\n\r\n",
            "HTTP/1.1 200 OK\r\na : b\r\n\r\n",
            // Two answers to whoever takes a bare line feed for the end of a line.
            "HTTP/1.1 200 OK\na: b\n\nHTTP/1.1 200 OK\r\n\r\n",
        ] {
            assert!(parse(&Bytes::copy_from_slice(head.as_bytes())).is_err(), "{head:?}");
        }
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(FIELDS_MAX + 1));
        assert!(parse(&Bytes::copy_from_slice(many.as_bytes())).is_err());
    }
}
