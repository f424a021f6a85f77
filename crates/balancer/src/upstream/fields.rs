//! Header fields as backends send them: those of an answer's head, and trailers.

use std::io;
use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use httparse::{EMPTY_HEADER, Header, Status};
use memchr::memmem::Finder;

use super::nonsense;

static END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\n\r\n"));

/// Lines of one head, or of the trailers.
pub(super) const FIELDS_MAX: usize = 100;

/// Fields that are added to an answer on its way, for which the map so has not to grow.
const ADDED: usize = 9;

/// Where the empty line ends that ends a head, or trailers of which there are some.
pub(super) fn end_of_block(input: &[u8]) -> Option<usize> {
    if input.is_empty() {
        return None;
    }
    END.find(input).map(|at| at + 4)
}

/// Reads a block of trailers.
pub(super) fn trailers(block: &Bytes) -> io::Result<HeaderMap> {
    let mut room = [EMPTY_HEADER; FIELDS_MAX];
    match httparse::parse_headers(block, &mut room) {
        Ok(Status::Complete((bytes, headers))) if bytes == block.len() => map_of(block, headers),
        _ => Err(nonsense("trailers that are none")),
    }
}

/// What a parser has found in `block`, whose memory the values share.
pub(super) fn map_of(block: &Bytes, headers: &[Header<'_>]) -> io::Result<HeaderMap> {
    let mut map = HeaderMap::with_capacity(headers.len() + ADDED);
    for header in headers {
        let name = HeaderName::from_bytes(header.name.as_bytes());
        let value = HeaderValue::from_maybe_shared(block.slice_ref(header.value));
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(nonsense("a header field that is none"));
        };
        map.append(name, value);
    }
    Ok(map)
}
