//! Bodies of responses.

use std::io::SeekFrom;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::{Stream, TryStreamExt as _};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use crate::store::FileBody;

/// What is read from a file at once. Each client that reads slowly holds twice as much.
const FILE_CHUNK_BYTES: usize = 32 * 1024;

/// The body can't be finished, so the connection has to end: what was sent can't be taken back.
#[derive(Debug, thiserror::Error)]
#[error("the body can't be finished")]
pub struct BodyError(#[source] Box<dyn std::error::Error + Send + Sync>);

/// A body that is in memory, or one that comes in pieces.
pub enum EdgeBody {
    /// In memory.
    Full(Full<Bytes>),
    /// In pieces.
    Streamed(UnsyncBoxBody<Bytes, BodyError>),
}

impl Body for EdgeBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Full(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
            Self::Streamed(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(body) => body.is_end_stream(),
            Self::Streamed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(body) => body.size_hint(),
            Self::Streamed(body) => body.size_hint(),
        }
    }
}

/// No body.
pub fn empty() -> EdgeBody {
    full(Bytes::new())
}

/// A body in memory.
pub fn full(bytes: impl Into<Bytes>) -> EdgeBody {
    EdgeBody::Full(Full::new(bytes.into()))
}

/// A body that comes in pieces.
pub fn streamed<E>(pieces: impl Stream<Item = Result<Bytes, E>> + Send + 'static) -> EdgeBody
where
    E: std::error::Error + Send + Sync + 'static,
{
    let frames = pieces.map_ok(Frame::data).map_err(|error| BodyError(Box::new(error)));
    EdgeBody::Streamed(StreamBody::new(frames).boxed_unsync())
}

/// A part of a file.
pub async fn file(body: FileBody, range: Range<u64>) -> std::io::Result<EdgeBody> {
    let FileBody { file, place } = body;
    let mut file = tokio::fs::File::from_std(file);
    file.seek(SeekFrom::Start(range.start)).await?;
    let part = file.take(range.end.saturating_sub(range.start));
    let pieces = ReaderStream::with_capacity(part, FILE_CHUNK_BYTES);
    Ok(streamed(pieces.inspect_ok(move |_| {
        // It is given back with the body.
        let _ = &place;
    })))
}
