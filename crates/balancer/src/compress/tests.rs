//! What is negotiated and transformed, and what comes out at the other end.

use std::collections::VecDeque;
use std::io::Read as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body, Frame};

use super::body::{EncodedBody, Source};
use super::*;
use crate::body::BodyError;

fn negotiated(line: &'static str) -> Option<Coding> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(line));
    negotiate(&headers)
}

#[test]
fn the_client_chooses_and_among_equals_the_cheapest_is_taken() {
    use Coding::{Brotli, Gzip, Zstd};
    for (line, coding) in [
        ("gzip, deflate, br, zstd", Some(Zstd)),
        ("gzip, deflate, br", Some(Brotli)),
        ("GZIP", Some(Gzip)),
        ("x-gzip", Some(Gzip)),
        ("zstd;q=0.5, gzip;q=0.8", Some(Gzip)),
        ("zstd;q=0, *", Some(Brotli)),
        ("zstd;q=nonsense, br;q=7, gzip;q=0.001", Some(Gzip)),
        ("gzip;q=0.5, identity;q=0.8", None),
        ("gzip, identity", Some(Gzip)),
        ("gzip;q=0", None),
        ("identity", None),
        ("deflate", None),
        ("*;q=0", None),
        ("", None),
    ] {
        assert_eq!(negotiated(line), coding, "{line}");
    }
    assert_eq!(negotiate(&HeaderMap::new()), None);
}

fn answer(status: u16, lines: &[(&'static str, &'static str)]) -> response::Parts {
    let mut builder = Response::builder().status(status);
    for (name, value) in lines {
        builder = builder.header(*name, *value);
    }
    builder.body(()).expect("a response").into_parts().0
}

#[test]
fn only_text_of_some_length_is_compressed() {
    for (kind, is_fit) in [
        ("text/html; charset=utf-8", true),
        ("application/json", true),
        ("application/problem+json", true),
        ("image/svg+xml", true),
        ("Text/CSS", true),
        ("text/event-stream", false),
        ("image/webp", false),
        ("application/octet-stream", false),
    ] {
        let parts = answer(200, &[("content-type", kind)]);
        assert_eq!(is_compressible(&parts, Some(5000)), is_fit, "{kind}");
        assert_eq!(is_compressible(&parts, None), is_fit, "{kind}");
        assert!(!is_compressible(&parts, Some(1023)), "{kind}");
    }
    assert!(!is_compressible(&answer(200, &[]), Some(5000)));
}

#[test]
fn what_must_stay_as_it_is_does() {
    let html = ("content-type", "text/html");
    assert!(is_compressible(&answer(404, &[html]), Some(5000)));
    for status in [204, 206, 304] {
        assert!(!is_compressible(&answer(status, &[html]), Some(5000)), "{status}");
    }
    for line in [
        ("content-encoding", "gzip"),
        ("cache-control", "public, No-Transform"),
        ("content-range", "bytes 0-1/2"),
        ("set-cookie", "a=b"),
        ("repr-digest", "sha-256=:abc=:"),
        ("vary", "*"),
    ] {
        assert!(!is_compressible(&answer(200, &[html, line]), Some(5000)), "{line:?}");
    }
}

#[test]
fn the_head_says_what_became_of_the_body() {
    let mut headers = answer(
        200,
        &[
            ("content-length", "5000"),
            ("etag", "\"v1\""),
            ("accept-ranges", "bytes"),
            ("vary", "Accept"),
        ],
    )
    .headers;
    add_vary(&mut headers);
    add_vary(&mut headers);
    transform(&mut headers, Coding::Brotli);
    assert_eq!(headers[CONTENT_ENCODING], "br");
    assert_eq!(headers[ETAG], "W/\"v1\"");
    assert!(!headers.contains_key(CONTENT_LENGTH) && !headers.contains_key(ACCEPT_RANGES));
    let vary: Vec<_> = headers.get_all(VARY).iter().collect();
    assert_eq!(vary, ["Accept", "Accept-Encoding"]);
    transform(&mut headers, Coding::Gzip);
    assert_eq!(headers[ETAG], "W/\"v1\"", "once weak is weak enough");
}

/// A body that comes in these pieces; None is a pause.
#[derive(Default)]
struct Pieces {
    pieces: VecDeque<Option<Frame<Bytes>>>,
    plain_bytes: usize,
    encoded_bytes: usize,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.pieces.pop_front() {
            None => Poll::Ready(None),
            Some(None) => Poll::Pending,
            Some(Some(frame)) => Poll::Ready(Some(Ok(frame))),
        }
    }
}

impl Source for Pieces {
    fn encoded(&mut self, plain_bytes: usize, encoded_bytes: usize) {
        self.plain_bytes += plain_bytes;
        self.encoded_bytes += encoded_bytes;
    }
}

fn encoded(coding: Coding, pieces: Vec<Option<Frame<Bytes>>>) -> EncodedBody<Pieces> {
    let source = Pieces {
        pieces: pieces.into(),
        ..Pieces::default()
    };
    let encoder = Encoder::begin(coding, &Arc::default()).expect("an encoder");
    EncodedBody::new(source, encoder)
}

fn poll<B: Source>(body: &mut EncodedBody<B>) -> Poll<Option<Frame<Bytes>>> {
    let frame = Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()));
    frame.map(|frame| frame.map(|frame| frame.expect("no error")))
}

/// As much as can be read of what has come; an end that is missing is no matter.
fn decoded(coding: Coding, bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let _ = match coding {
        Coding::Zstd => zstd::stream::read::Decoder::new(bytes)
            .expect("a decoder")
            .read_to_end(&mut plain),
        Coding::Brotli => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut plain),
        Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain),
    };
    plain
}

fn page(bytes: usize) -> Bytes {
    let items = (0..).map(|n: u32| format!("<li>print {}</li>", n * 7919 % 1000));
    let text: String = items.take(bytes / 8 + 1).collect();
    Bytes::from(text.into_bytes()).slice(..bytes)
}

#[test]
fn what_goes_in_comes_out_smaller_and_the_same_and_is_counted() {
    for coding in Coding::ALL {
        for bytes in [1, 1024, 100_000] {
            let plain = page(bytes);
            let frames = plain
                .chunks(10_000)
                .map(|piece| Some(Frame::data(Bytes::copy_from_slice(piece))));
            let mut body = encoded(coding, frames.collect());
            let mut out = Vec::new();
            while let Poll::Ready(Some(frame)) = poll(&mut body) {
                out.extend_from_slice(&frame.into_data().expect("data"));
            }
            assert!(body.is_end_stream());
            assert_eq!(decoded(coding, &out), plain, "{coding:?} {bytes}");
            assert!(
                bytes < 1024 || out.len() < bytes / 2,
                "{coding:?} {bytes} to {}",
                out.len()
            );
            let source = body.source();
            assert_eq!((source.plain_bytes, source.encoded_bytes), (bytes, out.len()));
        }
    }
}

#[test]
fn a_pause_brings_out_what_there_is() {
    for coding in Coding::ALL {
        let pieces = vec![
            Some(Frame::data(page(3000))),
            None,
            None,
            None,
            Some(Frame::data(page(3000))),
        ];
        let mut body = encoded(coding, pieces);
        assert!(poll(&mut body).is_pending(), "{coding:?}: the next piece gets its turn");
        let Poll::Ready(Some(frame)) = poll(&mut body) else {
            panic!("{coding:?}: nothing came out");
        };
        assert_eq!(
            decoded(coding, &frame.into_data().expect("data")),
            page(3000),
            "{coding:?}"
        );
        assert!(poll(&mut body).is_pending(), "{coding:?}: once is enough");
    }
}

#[test]
fn trailers_follow_the_last_byte() {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-end", HeaderValue::from_static("1"));
    let pieces = vec![Some(Frame::data(page(3000))), Some(Frame::trailers(trailers))];
    let mut body = encoded(Coding::Gzip, pieces);
    let Poll::Ready(Some(data)) = poll(&mut body) else {
        panic!("no data");
    };
    assert_eq!(decoded(Coding::Gzip, data.data_ref().expect("data")), page(3000));
    assert!(!body.is_end_stream());
    let Poll::Ready(Some(last)) = poll(&mut body) else {
        panic!("no trailers");
    };
    assert_eq!(last.trailers_ref().expect("trailers")["x-end"], "1");
    assert!(body.is_end_stream() && matches!(poll(&mut body), Poll::Ready(None)));
}

#[test]
fn only_so_many_are_compressed_at_a_time() {
    let encoders = Arc::default();
    let at_work: Vec<Encoder> = std::iter::from_fn(|| Encoder::begin(Coding::Gzip, &encoders))
        .take(1000)
        .collect();
    assert_eq!(at_work.len(), 64);
    drop(at_work);
    assert!(Encoder::begin(Coding::Gzip, &encoders).is_some());
}
