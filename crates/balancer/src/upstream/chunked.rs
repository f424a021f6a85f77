//! The chunked coding of answers (RFC 9112, section 7.1), read as strictly as nobody who speaks it honestly will notice.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use super::{fields, nonsense, take_part};

/// A chunk's size and what extends it, which nobody here understands.
const LINE_BYTES_MAX: usize = 4 * 1024;
const TRAILERS_BYTES_MAX: usize = 16 * 1024;

/// Where in the coding a reader is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Chunked {
    #[default]
    BeforeSize,
    /// So many bytes of a chunk are still to come.
    Within(u64),
    AfterChunk,
    BeforeTrailers,
    Ended,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
    End,
    /// Nothing until more was read.
    Missing,
}

impl Chunked {
    /// Takes the next piece off what was read.
    pub(super) fn next(&mut self, input: &mut BytesMut) -> std::io::Result<Piece> {
        loop {
            match self {
                Self::BeforeSize => {
                    let Some(end) = memchr::memchr(b'\n', input) else {
                        return missing(input, LINE_BYTES_MAX);
                    };
                    let size = input.split_to(end + 1);
                    *self = match size_of(&size)? {
                        0 => Self::BeforeTrailers,
                        size => Self::Within(size),
                    };
                }
                Self::Within(_) if input.is_empty() => return Ok(Piece::Missing),
                Self::Within(left) => {
                    let part = take_part(input, left);
                    if *left == 0 {
                        *self = Self::AfterChunk;
                    }
                    return Ok(Piece::Data(part));
                }
                Self::AfterChunk if input.len() < 2 => return Ok(Piece::Missing),
                Self::AfterChunk => {
                    if !input.starts_with(b"\r\n") {
                        return Err(nonsense("a chunk that is longer than it says"));
                    }
                    input.advance(2);
                    *self = Self::BeforeSize;
                }
                Self::BeforeTrailers if input.starts_with(b"\r\n") => {
                    input.advance(2);
                    *self = Self::Ended;
                }
                Self::BeforeTrailers => {
                    let Some(end) = fields::end_of_block(input) else {
                        return missing(input, TRAILERS_BYTES_MAX);
                    };
                    if end > TRAILERS_BYTES_MAX {
                        return Err(nonsense("trailers that are too long"));
                    }
                    let block = input.split_to(end).freeze();
                    *self = Self::Ended;
                    return fields::trailers(&block).map(Piece::Trailers);
                }
                Self::Ended => return Ok(Piece::End),
            }
        }
    }
}

fn missing(input: &BytesMut, bytes_max: usize) -> std::io::Result<Piece> {
    if input.len() > bytes_max {
        Err(nonsense("a chunk's line or trailers without an end"))
    } else {
        Ok(Piece::Missing)
    }
}

fn size_of(line: &[u8]) -> std::io::Result<u64> {
    let line = line.strip_suffix(b"\r\n").ok_or_else(|| nonsense("a bare line feed"))?;
    if line.len() > LINE_BYTES_MAX {
        return Err(nonsense("a chunk's line that is too long"));
    }
    let digits = line.split(|&byte| byte == b';').next().unwrap_or_default();
    let end = digits.iter().rposition(|byte| !matches!(byte, b' ' | b'\t'));
    let digits = &digits[..end.map_or(0, |last| last + 1)];
    // Without signs, prefixes or anything else that only some take for a number.
    let is_number = (1..=16).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digits).ok().filter(|_| is_number);
    text.and_then(|text| u64::from_str_radix(text, 16).ok())
        .ok_or_else(|| nonsense("a chunk's size that is none"))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Reads it in pieces of each size, which must make no difference.
    fn read(bytes: &[u8]) -> Result<(Vec<u8>, Option<HeaderMap>, usize), String> {
        let mut outcomes = (1..=bytes.len()).map(|size| read_in_pieces(bytes, size));
        let first = outcomes.next().expect("some bytes");
        assert!(
            outcomes.all(|outcome| outcome == first),
            "it depends on how the bytes arrive"
        );
        first
    }

    fn read_in_pieces(bytes: &[u8], size: usize) -> Result<(Vec<u8>, Option<HeaderMap>, usize), String> {
        let mut chunked = Chunked::default();
        let mut input = BytesMut::new();
        let mut unread = bytes.chunks(size);
        let (mut data, mut trailers) = (Vec::new(), None);
        loop {
            match chunked.next(&mut input).map_err(|error| error.to_string())? {
                Piece::Data(piece) => data.extend_from_slice(&piece),
                Piece::Trailers(found) => trailers = Some(found),
                Piece::End => return Ok((data, trailers, input.len() + unread.map(<[u8]>::len).sum::<usize>())),
                Piece::Missing => input.extend_from_slice(unread.next().ok_or("cut short")?),
            }
        }
    }

    #[test]
    fn chunks_are_joined_and_what_follows_is_left() {
        let read = read(b"3\r\nabc\r\nA;name=\"value\"\r\n0123456789\r\n0\r\n\r\nmore");
        assert_eq!(read, Ok((b"abc0123456789".to_vec(), None, 4)));
    }

    proptest! {
        #[test]
        fn chunks_of_any_size_are_joined(chunks in vec(vec(any::<u8>(), 1..50), 0..8), size in 1usize..30) {
            let mut bytes = Vec::new();
            for chunk in &chunks {
                bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                bytes.extend(chunk);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\n\r\nmore");
            prop_assert_eq!(read_in_pieces(&bytes, size), Ok((chunks.concat(), None, 4)));
        }

        #[test]
        fn whatever_comes_is_read_refused_or_waited_for(bytes in "[0-9a-f\r\n;: ]{0,60}", size in 1usize..30) {
            let at_once = read_in_pieces(bytes.as_bytes(), 60);
            let in_pieces = read_in_pieces(bytes.as_bytes(), size);
            prop_assert_eq!(in_pieces, at_once);
        }
    }

    #[test]
    fn trailers_are_kept() {
        let (data, trailers, left) = read(b"1 \r\na\r\n0\r\nChecksum: 1a2b\r\nx: y\r\n\r\n").expect("an answer");
        let trailers = trailers.expect("trailers");
        assert_eq!((data.as_slice(), left), (b"a".as_slice(), 0));
        assert_eq!(
            (&trailers["checksum"], &trailers["x"]),
            (&"1a2b".parse().expect("a value"), &"y".parse().expect("a value"))
        );
    }

    #[test]
    fn nonsense_is_told_from_what_is_cut_short() {
        for cut in [
            "3\r\nab",
            "3\r\nabc\r\n",
            "3\r\nabc\r\n0\r\n",
            "3\r\nabc\r\n0\r\na: b\r\n",
        ] {
            assert_eq!(read(cut.as_bytes()), Err("cut short".to_owned()), "{cut:?}");
        }
        for wrong in [
            "\r\n\r\n",
            "-1\r\na\r\n",
            "0x1\r\na\r\n",
            "+1\r\na\r\n",
            "1 1\r\na\r\n",
            "11111111111111111\r\na\r\n",
            "1\na\r\n0\r\n\r\n",
            "1\r\r\na\r\n0\r\n\r\n",
            "1\r\nab\r\n0\r\n\r\n",
            "0\r\nno field\r\n\r\n",
        ] {
            let error = read(wrong.as_bytes()).expect_err(wrong);
            assert_ne!(error, "cut short", "{wrong:?}");
        }
        let endless = [b"1;".as_slice(), &vec![b'a'; LINE_BYTES_MAX + 1]].concat();
        assert_ne!(read_in_pieces(&endless, 1000), Err("cut short".to_owned()));
    }
}
