//! Streams of requests: sound ones by a grammar, and broken ones by damaging sound ones where it hurts.

use rand::rngs::StdRng;
use rand::{Rng, RngExt};

/// A client's bytes.
pub(crate) struct Stream {
    pub(crate) bytes: Vec<u8>,
    /// Nothing is wrong with it: all of its requests must be served.
    pub(crate) is_sound: bool,
}

/// What a backend would take for a request of its own, if a body were read as one.
const SMUGGLED: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

const REQUESTS_MAX: u32 = 4;
const DAMAGES_MAX: u32 = 3;

/// Pieces that parsers are known to stumble over.
const STUMBLING_BLOCKS: [&[u8]; 48] = [
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\n\n",
    b"\r\r\n",
    b"\0",
    b"\x0b",
    b"\x0c",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\xc2\xa0",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"+",
    b"-",
    b"0x",
    b"_",
    b"\"",
    b"#",
    b"%00",
    b"..",
    b"//",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n",
    b"ffffffffffffffff\r\n",
    b"10000000000000000\r\n",
    b"5;a=\"\r\n",
    b"HTTP/1.0",
    b"HTTP/0.9",
    b"HTTP/1.1 ",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: 5, 5\r\n",
    b"Content-Length: +5\r\n",
    b"Content-Length : 5\r\n",
    b"Content-Length:                                                                                       5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Transfer-Encoding:\x0bchunked\r\n",
    b"Transfer-Encoding: chunked, chunked\r\n",
    b" folded\r\n",
    b"Connection: close\r\n",
    SMUGGLED,
];

/// A stream of one or a few requests.
pub(crate) fn stream(random: &mut StdRng) -> Stream {
    let mut bytes = Vec::new();
    let count = random.random_range(1..=REQUESTS_MAX);
    for number in 0..count {
        request(random, number, number + 1 == count, &mut bytes);
    }
    let is_sound = random.random_ratio(1, 3);
    if !is_sound {
        for _ in 0..random.random_range(1..=DAMAGES_MAX) {
            damage(random, &mut bytes);
        }
    }
    Stream { bytes, is_sound }
}

/// Where a stream is cut into writes: nowhere, anywhere, or everywhere within a stretch.
pub(crate) fn cuts(random: &mut StdRng, length: usize) -> Vec<usize> {
    let mut cuts: Vec<usize> = if random.random_ratio(1, 4) && length > 1 {
        let start = random.random_range(1..length);
        (start..length.min(start + 12)).collect()
    } else {
        let count = random.random_range(1..=4);
        (0..count).map(|_| random.random_range(0..=length)).collect()
    };
    cuts.sort_unstable();
    cuts.dedup();
    cuts
}

fn request(random: &mut StdRng, number: u32, is_last: bool, bytes: &mut Vec<u8>) {
    let method = pick(
        random,
        &[
            "GET", "GET", "HEAD", "POST", "POST", "PUT", "PATCH", "DELETE", "OPTIONS",
        ],
    );
    let path = pick(
        random,
        &[
            "p",
            "products/7",
            "a.b/c-d_e~f",
            "%41%20b",
            "api/orders",
            "cart-free/",
            "x//y",
            "q;v=1",
        ],
    );
    let query = pick(random, &["", "", "?", "?a=1&b=2", "?u=http://b/..//&p=%2F", "?%0d%0a"]);
    let target = format!("/{path}{query}");
    let target = if random.random_ratio(1, 8) {
        format!("http://b.example{target}")
    } else {
        target
    };
    if random.random_ratio(1, 10) {
        bytes.extend_from_slice(b"\r\n");
    }
    push(bytes, &format!("{method} {target} HTTP/1.1\r\nX-Number: {number}\r\n"));
    for _ in 0..random.random_range(0..4) {
        header(random, bytes);
    }
    push(bytes, "Host: shop.example\r\n");
    for _ in 0..random.random_range(0..2) {
        header(random, bytes);
    }
    // What a request without a body is answered with must not depend on what might follow it.
    match random.random_range(0..4) {
        0 | 1 => {
            let body = body(random);
            let padding = " ".repeat(random.random_range(0..3));
            push(
                bytes,
                &format!("Content-Length:{padding}{}{padding}\r\n\r\n", body.len()),
            );
            bytes.extend_from_slice(&body);
        }
        2 if is_last => {
            let coding = pick(random, &["chunked", "Chunked", "CHUNKED"]);
            push(bytes, &format!("Transfer-Encoding: {coding}\r\n\r\n"));
            chunks(random, bytes);
        }
        _ => push(bytes, "\r\n"),
    }
}

fn header(random: &mut StdRng, bytes: &mut Vec<u8>) {
    let header = pick(
        random,
        &[
            "Accept: */*",
            "accept-language:de",
            "Cookie: a=1; b=\"2\"",
            "X-Empty:",
            "X-Spaces: \t a  b \t ",
            "Content-Lengths: 7",
            "X-Content-Length: 7",
            "X-Transfer-Encoding: chunked",
            "Connection: keep-alive, X-Empty",
            "Keep-Alive: timeout=5",
            "TE: trailers",
            "Idempotency-Key: 7",
            "X_Y.Z!: #%&'*+-.^`|~",
        ],
    );
    push(bytes, header);
    if random.random_ratio(1, 6) {
        push(bytes, &"x".repeat(random.random_range(1..300)));
    }
    push(bytes, "\r\n");
}

fn body(random: &mut StdRng) -> Vec<u8> {
    match random.random_range(0..5) {
        0 => Vec::new(),
        1 => SMUGGLED.to_vec(),
        2 => b"0\r\n\r\n".to_vec(),
        // More than what is kept for a second try.
        3 if random.random_ratio(1, 8) => noise(random, 70_000),
        _ => {
            let length = random.random_range(1..200);
            noise(random, length)
        }
    }
}

fn noise(random: &mut StdRng, length: usize) -> Vec<u8> {
    let mut noise = vec![0; length];
    random.fill_bytes(&mut noise);
    noise
}

fn chunks(random: &mut StdRng, bytes: &mut Vec<u8>) {
    for _ in 0..random.random_range(0..4) {
        let chunk = body(random);
        if chunk.is_empty() {
            continue;
        }
        let zeros = "0".repeat(random.random_range(0..4));
        let extension = pick(random, &["", "", ";a=b", " ; a", ";q=\"x;y\""]);
        let size = if random.random() {
            format!("{:x}", chunk.len())
        } else {
            format!("{:X}", chunk.len())
        };
        push(bytes, &format!("{zeros}{size}{extension}\r\n"));
        bytes.extend_from_slice(&chunk);
        push(bytes, "\r\n");
    }
    let trailers = pick(random, &["", "", "X-Checksum: 7\r\n", "X-A: 1\r\nX-B:\r\n"]);
    push(bytes, &format!("0\r\n{trailers}\r\n"));
}

fn damage(random: &mut StdRng, bytes: &mut Vec<u8>) {
    let at = place(random, bytes);
    let end = bytes.len().min(at + random.random_range(1..20));
    match random.random_range(0..8) {
        0 if at < bytes.len() => bytes[at] = random.random(),
        1 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
        2 => drop(bytes.drain(at..end)),
        3 => {
            let copy = bytes[at..end].to_vec();
            let elsewhere = place(random, bytes);
            bytes.splice(elsewhere..elsewhere, copy);
        }
        4 if random.random_ratio(1, 3) => bytes.truncate(at),
        5 => {
            let block = *pick(random, &STUMBLING_BLOCKS);
            let end = bytes.len().min(at + block.len());
            bytes.splice(at..end, block.iter().copied());
        }
        _ => {
            let block = *pick(random, &STUMBLING_BLOCKS);
            bytes.splice(at..at, block.iter().copied());
        }
    }
}

/// Anywhere, but more often at the start of a line: that is where heads and chunks are told apart.
fn place(random: &mut StdRng, bytes: &[u8]) -> usize {
    let anywhere = random.random_range(0..=bytes.len());
    if random.random() {
        return anywhere;
    }
    let line_end = bytes[anywhere..].iter().position(|byte| *byte == b'\n');
    line_end.map_or(anywhere, |offset| anywhere + offset + 1)
}

fn pick<'a, T>(random: &mut StdRng, choices: &'a [T]) -> &'a T {
    &choices[random.random_range(0..choices.len())]
}

fn push(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend_from_slice(text.as_bytes());
}
