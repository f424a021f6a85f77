//! The body of an answer as it goes out: as it came, or compressed on the way.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::encoder::Encoder;
use crate::body::{BodyError, ResponseBody};

/// So much compressed is worth a write.
const WRITE_BYTES: usize = 8 * 1024;

/// What is written to a client's connection.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "most answers are plain, and a box would be one for each of them"
)]
pub(crate) enum FrontBody {
    Plain(ResponseBody),
    Encoded(Box<EncodedBody<ResponseBody>>),
}

/// What knows how many bytes went out.
pub(crate) trait Source: Body<Data = Bytes, Error = BodyError> + Unpin {
    /// So many bytes became this many.
    fn encoded(&mut self, plain_bytes: usize, encoded_bytes: usize);
}

impl Source for ResponseBody {
    fn encoded(&mut self, plain_bytes: usize, encoded_bytes: usize) {
        self.exchange().encoded(plain_bytes, encoded_bytes);
    }
}

impl FrontBody {
    pub(crate) fn new(body: ResponseBody, encoder: Option<Encoder>) -> Self {
        match encoder {
            None => Self::Plain(body),
            Some(encoder) => Self::Encoded(Box::new(EncodedBody::new(body, encoder))),
        }
    }
}

impl Body for FrontBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Plain(body) => Pin::new(body).poll_frame(cx),
            Self::Encoded(body) => Pin::new(&mut **body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Plain(body) => body.is_end_stream(),
            Self::Encoded(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Plain(body) => body.size_hint(),
            Self::Encoded(body) => body.size_hint(),
        }
    }
}

/// Reads a body and gives it compressed. It holds no more than one frame of it.
#[derive(Debug)]
pub(crate) struct EncodedBody<B> {
    source: B,
    encoder: Encoder,
    /// Whether the source has had a second chance to go on before what is held back is flushed.
    has_waited: bool,
    is_finished: bool,
    trailers: Option<HeaderMap>,
}

impl<B: Source> EncodedBody<B> {
    pub(super) fn new(source: B, encoder: Encoder) -> Self {
        Self {
            source,
            encoder,
            has_waited: false,
            is_finished: false,
            trailers: None,
        }
    }

    #[cfg(test)]
    pub(super) fn source(&self) -> &B {
        &self.source
    }

    fn give(&mut self, chunk: io::Result<Bytes>) -> Option<Result<Frame<Bytes>, BodyError>> {
        match chunk {
            Ok(chunk) if chunk.is_empty() => None,
            Ok(chunk) => {
                self.source.encoded(0, chunk.len());
                Some(Ok(Frame::data(chunk)))
            }
            Err(error) => Some(Err(BodyError::Encoding(error))),
        }
    }

    /// The source has nothing just now.
    fn poll_paused(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.encoder.is_holding() {
            return Poll::Pending;
        }
        // The next frame may be there already, and whoever brings it only has to have its turn.
        if !std::mem::replace(&mut self.has_waited, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let flushed = self.encoder.flush();
        match self.give(flushed) {
            Some(frame) => Poll::Ready(Some(frame)),
            None => Poll::Pending,
        }
    }
}

impl<B: Source> Body for EncodedBody<B> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        while !this.is_finished {
            let Poll::Ready(frame) = Pin::new(&mut this.source).poll_frame(cx) else {
                return this.poll_paused(cx);
            };
            this.has_waited = false;
            match frame.transpose()?.map(Frame::into_data) {
                Some(Ok(plain)) => {
                    this.source.encoded(plain.len(), 0);
                    this.encoder.write(&plain).map_err(BodyError::Encoding)?;
                    if this.encoder.ready_bytes() < WRITE_BYTES {
                        continue;
                    }
                    let ready = this.encoder.take();
                    return Poll::Ready(this.give(Ok(ready)));
                }
                Some(Err(frame)) => this.trailers = frame.into_trailers().ok(),
                None => {}
            }
            this.is_finished = true;
            let rest = this.encoder.finish();
            if let Some(frame) = this.give(rest) {
                return Poll::Ready(Some(frame));
            }
        }
        let trailers = this.trailers.take();
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_finished && self.trailers.is_none()
    }
}
