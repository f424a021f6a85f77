//! The scan, byte by byte and in pieces, against a reading of the whole at once.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{FramingScan, LINE_BYTES_KEPT};

/// Whether a stream has a request whose length can be read in two ways, as far as the first such or chunked request.
fn is_ambiguous_as_a_whole(mut bytes: &[u8]) -> bool {
    loop {
        let Some((lines, head_bytes)) = head(bytes) else {
            // A head that never ends is not acted upon, but a length that is none shows at once.
            return complete_lines(bytes).iter().skip(1).any(|line| is_bad_length(line))
                || lengths(&complete_lines(bytes))
                    .windows(2)
                    .any(|pair| pair[0] != pair[1]);
        };
        let lengths = lengths(&lines);
        let has_bad_length = lines.iter().skip(1).any(|line| is_bad_length(line));
        let has_coding = lines
            .iter()
            .skip(1)
            .any(|line| value(line, "transfer-encoding").is_some());
        if has_bad_length || lengths.windows(2).any(|pair| pair[0] != pair[1]) || (has_coding && !lengths.is_empty()) {
            return true;
        }
        let body_bytes = usize::try_from(lengths.first().copied().unwrap_or(0)).unwrap_or(usize::MAX);
        match bytes[head_bytes..].get(body_bytes..) {
            Some(rest) if !has_coding => bytes = rest,
            _ => return false,
        }
    }
}

/// The lines that have ended, without empty ones before the request.
fn complete_lines(bytes: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    lines.pop();
    let is_empty = |line: &&[u8]| matches!(line, [] | [b'\r']);
    lines.into_iter().skip_while(is_empty).collect()
}

/// The lines of the first head that ends, and how many bytes it takes.
fn head(bytes: &[u8]) -> Option<(Vec<&[u8]>, usize)> {
    let mut lines = Vec::new();
    let mut at = 0;
    loop {
        let end = at + bytes[at..].iter().position(|byte| *byte == b'\n')?;
        let line = &bytes[at..end];
        at = end + 1;
        match line {
            [] | [b'\r'] if lines.is_empty() => {}
            [] | [b'\r'] => return Some((lines, at)),
            line => lines.push(line),
        }
    }
}

fn value<'a>(line: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let (start, value) = (line.get(..name.len())?, line.get(name.len() + 1..)?);
    (start.eq_ignore_ascii_case(name.as_bytes()) && line[name.len()] == b':').then(|| value.trim_ascii())
}

fn length(line: &[u8]) -> Option<u64> {
    let value = value(line, "content-length")?;
    let is_short = line.len() <= LINE_BYTES_KEPT;
    std::str::from_utf8(value).ok().filter(|_| is_short)?.parse().ok()
}

fn is_bad_length(line: &[u8]) -> bool {
    value(line, "content-length").is_some() && length(line).is_none()
}

fn lengths(lines: &[&[u8]]) -> Vec<u64> {
    lines.iter().skip(1).filter_map(|line| length(line)).collect()
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "GET / HTTP/1.1\r\n",
        "POST / HTTP/1.1\n",
        "Host: a\r\n",
        "Content-Length: 7\r\n",
        "content-length:0\n",
        "CONTENT-LENGTH: \t 30 \r\n",
        "Content-Length: 7, 7\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length : 7\r\n",
        "Transfer-Encoding: chunked\r\n",
        "transfer-encoding:x\n",
        "\r\n",
        "\n",
        "\r",
        "\r\n\r\n",
        "Content-",
        "Length: 3",
    ]);
    prop_oneof![
        12 => words.prop_map(|word| word.as_bytes().to_vec()),
        1 => (80usize..110).prop_map(|spaces| format!("Content-Length:{}5\r\n", " ".repeat(spaces)).into_bytes()),
        2 => vec(any::<u8>(), 0..12),
    ]
}

proptest! {
    #[test]
    fn in_whatever_pieces_it_comes_the_verdict_is_that_of_the_whole(
        pieces in vec(piece(), 0..24),
        sizes in vec(1usize..40, 1..8),
    ) {
        let bytes = pieces.concat();
        let mut scan = FramingScan::new();
        let mut rest = &bytes[..];
        for size in sizes.iter().cycle() {
            let (next, later) = rest.split_at(rest.len().min(*size));
            scan.feed(next);
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(scan.is_ambiguous, is_ambiguous_as_a_whole(&bytes));
    }
}
