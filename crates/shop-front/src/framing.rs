//! Follows the raw bytes of a client's connection for requests whose length can be read in two ways.
//!
//! hyper resolves `Content-Length` together with `Transfer-Encoding` by the rule of RFC 9112 and drops the former, so
//! nobody behind it can see that both were there. They are a tool of request smuggling, and are found here.

/// Longest start of a line that is kept when a head arrives in pieces: a name and a length fit easily. A length in a
/// longer line is refused, in whatever pieces it arrives.
const LINE_BYTES_KEPT: usize = 96;

/// Follows the framing of requests on one connection, byte by byte, without understanding more than it must.
#[derive(Debug)]
pub(crate) struct FramingScan {
    state: State,
    /// The start of a line that was cut by the end of a read.
    partial: Vec<u8>,
    partial_is_cut: bool,
    seen_request_line: bool,
    /// Whether the first head has ended.
    pub(crate) has_begun: bool,
    has_length: bool,
    has_encoding: bool,
    length: u64,
    pub(crate) is_ambiguous: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Body(u64),
    /// After a chunked request, which is the last on its connection, or after something that will be refused.
    Unwatched,
}

impl FramingScan {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Head,
            partial: Vec::new(),
            partial_is_cut: false,
            seen_request_line: false,
            has_begun: false,
            has_length: false,
            has_encoding: false,
            length: 0,
            is_ambiguous: false,
        }
    }

    pub(crate) fn is_within_head(&self) -> bool {
        self.state == State::Head && (self.seen_request_line || !self.partial.is_empty())
    }

    /// Whether all requests so far have ended, bodies included, and nothing of another has come but empty lines.
    pub(crate) fn is_between_requests(&self) -> bool {
        self.state == State::Head && !self.is_within_head()
    }

    /// Nothing more is looked at.
    pub(crate) fn stop(&mut self) {
        self.state = State::Unwatched;
    }

    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.state {
                State::Unwatched => return,
                State::Body(left) => {
                    let taken = left.min(bytes.len() as u64);
                    bytes = &bytes[usize::try_from(taken).unwrap_or(bytes.len())..];
                    self.state = if taken == left {
                        State::Head
                    } else {
                        State::Body(left - taken)
                    };
                }
                State::Head => match memchr::memchr(b'\n', bytes) {
                    None => {
                        self.keep(bytes);
                        return;
                    }
                    Some(end) if self.partial.is_empty() => {
                        self.line(&bytes[..end]);
                        bytes = &bytes[end + 1..];
                    }
                    Some(end) => {
                        self.keep(&bytes[..end]);
                        let line = std::mem::take(&mut self.partial);
                        self.line(&line);
                        self.partial_is_cut = false;
                        bytes = &bytes[end + 1..];
                    }
                },
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = LINE_BYTES_KEPT.saturating_sub(self.partial.len());
        self.partial_is_cut |= bytes.len() > room;
        self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn line(&mut self, line: &[u8]) {
        let is_long = self.partial_is_cut || line.len() > LINE_BYTES_KEPT;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            // Empty lines before a request are skipped, as by RFC 9112 section 2.2.
            if self.seen_request_line {
                self.end_of_head();
            }
        } else if !self.seen_request_line {
            self.seen_request_line = true;
        } else if starts_with_name(line, b"transfer-encoding") {
            self.has_encoding = true;
        } else if starts_with_name(line, b"content-length") {
            let value = line["content-length:".len()..].trim_ascii();
            let length = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
            let differs = self.has_length && length != Some(self.length);
            self.has_length = true;
            match length {
                Some(length) if !is_long && !differs => self.length = length,
                _ => self.is_ambiguous = true,
            }
        }
    }

    fn end_of_head(&mut self) {
        self.is_ambiguous |= self.has_length && self.has_encoding;
        self.state = if self.has_encoding || self.is_ambiguous {
            State::Unwatched
        } else if self.length > 0 {
            State::Body(self.length)
        } else {
            State::Head
        };
        self.has_begun = true;
        self.seen_request_line = false;
        self.has_length = false;
        self.has_encoding = false;
        self.length = 0;
    }
}

fn starts_with_name(line: &[u8], name: &[u8]) -> bool {
    line.len() > name.len() && line[name.len()] == b':' && line[..name.len()].eq_ignore_ascii_case(name)
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    /// Scans the bytes in pieces of every size, which must make no difference.
    fn is_ambiguous(bytes: &[u8]) -> bool {
        let mut verdicts = (1..=bytes.len()).map(|size| {
            let mut scan = FramingScan::new();
            bytes.chunks(size).for_each(|piece| scan.feed(piece));
            scan.is_ambiguous
        });
        let first = verdicts.next().expect("some bytes");
        assert!(
            verdicts.all(|verdict| verdict == first),
            "the verdict depends on how the bytes arrive"
        );
        first
    }

    #[test]
    fn both_lengths_are_seen_in_either_order_and_any_case() {
        assert!(is_ambiguous(
            b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
        ));
        assert!(is_ambiguous(
            b"POST / HTTP/1.1\r\ntransfer-ENCODING: chunked\r\nHost: a\r\nCONTENT-length: 3\r\n\r\n"
        ));
        assert!(is_ambiguous(
            b"POST / HTTP/1.1\nContent-Length: 3\nTransfer-Encoding: chunked\n\n"
        ));
    }

    #[test]
    fn lengths_that_differ_or_are_no_numbers_are_seen() {
        assert!(is_ambiguous(
            b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n"
        ));
        assert!(is_ambiguous(b"POST / HTTP/1.1\r\nContent-Length: 3, 4\r\n\r\n"));
        assert!(is_ambiguous(b"POST / HTTP/1.1\r\nContent-Length: 0x3\r\n\r\n"));
    }

    #[test]
    fn honest_requests_pass_one_after_the_other() {
        let bytes = b"\r\nPOST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello\
            GET / HTTP/1.1\r\nHost: a\r\n\r\n\
            POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        assert!(!is_ambiguous(bytes));
    }

    #[test]
    fn a_second_request_is_watched_like_the_first() {
        let bytes = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\
            POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(is_ambiguous(bytes));
    }

    #[test]
    fn bodies_are_not_read_as_heads() {
        let body = b"\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n";
        let mut bytes = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        bytes.extend(body);
        assert!(!is_ambiguous(&bytes));
    }

    #[test]
    fn a_head_that_has_not_ended_is_known_as_such() {
        let mut scan = FramingScan::new();
        assert!(!scan.is_within_head());
        scan.feed(b"GET / HT");
        assert!(scan.is_within_head());
        scan.feed(b"TP/1.1\r\nHost: a\r\n");
        assert!(scan.is_within_head());
        scan.feed(b"\r\n");
        assert!(!scan.is_within_head());
    }

    #[test]
    fn between_requests_is_only_where_nothing_is_owed() {
        let mut scan = FramingScan::new();
        let mut after = |bytes: &[u8]| {
            scan.feed(bytes);
            scan.is_between_requests()
        };
        assert!(after(b""));
        assert!(after(b"\r\n"));
        assert!(!after(b"\r"));
        assert!(after(b"\n"));
        assert!(!after(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n"));
        assert!(!after(b"\r\n"));
        assert!(!after(b"ab"));
        assert!(after(b"c"));
        assert!(!after(b"cG"));
        assert!(!after(b"ET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"));
    }
}
