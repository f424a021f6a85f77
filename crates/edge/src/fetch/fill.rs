//! A body that is arriving from the origin, while any number of clients read it already.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures::stream::{self, Stream};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::headers::OriginNotes;
use crate::store::Head;

/// The origin broke off in the middle of a body. What was sent already can't be taken back, so the client's connection
/// has to break too.
#[derive(Debug, thiserror::Error)]
#[error("the origin broke off in the middle of the body")]
pub struct Incomplete;

/// A response whose head is known and whose body is on its way.
pub struct Fill {
    /// All but the body; its length is known.
    pub head: Head,
    /// What the origin said about how it made this answer.
    pub notes: OriginNotes,
    chunks: Mutex<Vec<Bytes>>,
    progress: watch::Sender<Progress>,
    /// The room that the body takes among all that is arriving.
    _room: OwnedSemaphorePermit,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Arriving { chunks: usize },
    Complete,
    Broken,
}

impl Fill {
    pub(super) fn new(head: Head, notes: OriginNotes, room: OwnedSemaphorePermit) -> Self {
        let progress = watch::Sender::new(Progress::Arriving { chunks: 0 });
        Self {
            head,
            notes,
            chunks: Mutex::default(),
            progress,
            _room: room,
        }
    }

    pub(super) fn push(&self, chunk: Bytes) {
        let mut chunks = self.chunks.lock().unwrap_or_else(PoisonError::into_inner);
        chunks.push(chunk);
        let chunks = chunks.len();
        self.progress.send_replace(Progress::Arriving { chunks });
    }

    pub(super) fn complete(&self) {
        self.progress.send_replace(Progress::Complete);
    }

    pub(super) fn break_off(&self) {
        self.progress.send_replace(Progress::Broken);
    }

    pub(super) fn chunks(&self) -> Vec<Bytes> {
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The bytes of `range`, each piece as soon as it is there.
    pub fn read(
        self: std::sync::Arc<Self>,
        range: Range<u64>,
    ) -> impl Stream<Item = Result<Bytes, Incomplete>> + Send + use<> {
        let progress = self.progress.subscribe();
        let reader = Reader {
            fill: self,
            progress,
            next: 0,
            at: 0,
            range,
        };
        stream::try_unfold(reader, |mut reader| async move {
            let chunk = reader.next_chunk().await?;
            Ok(chunk.map(|chunk| (chunk, reader)))
        })
    }
}

struct Reader {
    fill: std::sync::Arc<Fill>,
    progress: watch::Receiver<Progress>,
    next: usize,
    /// The offset in the body of the chunk that comes next.
    at: u64,
    range: Range<u64>,
}

impl Reader {
    async fn next_chunk(&mut self) -> Result<Option<Bytes>, Incomplete> {
        while self.at < self.range.end {
            let progress = *self.progress.borrow_and_update();
            let chunk = {
                let chunks = self.fill.chunks.lock().unwrap_or_else(PoisonError::into_inner);
                chunks.get(self.next).cloned()
            };
            if let Some(chunk) = chunk {
                let start = self.at;
                self.next += 1;
                self.at += chunk.len() as u64;
                if let Some(part) = overlap(&chunk, start, &self.range) {
                    return Ok(Some(part));
                }
                continue;
            }
            match progress {
                Progress::Complete => return Ok(None),
                Progress::Broken => return Err(Incomplete),
                Progress::Arriving { .. } => {
                    self.progress.changed().await.map_err(|_| Incomplete)?;
                }
            }
        }
        Ok(None)
    }
}

/// The part of a chunk that starts at `start` which lies within `range`.
fn overlap(chunk: &Bytes, start: u64, range: &Range<u64>) -> Option<Bytes> {
    let end = start + chunk.len() as u64;
    let (from, to) = (range.start.max(start), range.end.min(end));
    if from >= to {
        return None;
    }
    let within = |offset: u64| usize::try_from(offset - start).unwrap_or(chunk.len());
    Some(chunk.slice(within(from)..within(to)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::TryStreamExt as _;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::http_cache::vary::Selection;
    use crate::store::test_entry;

    fn fill() -> Arc<Fill> {
        let room = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let head = test_entry("/photos/a", Selection::default(), &[], 10).head.clone();
        Arc::new(Fill::new(head, OriginNotes::default(), room))
    }

    #[tokio::test]
    async fn readers_who_come_early_and_late_get_the_same_bytes() {
        let fill = fill();
        fill.push(Bytes::from_static(b"01234"));
        let early = tokio::spawn(Arc::clone(&fill).read(0..10).try_collect::<Vec<_>>());
        tokio::task::yield_now().await;
        fill.push(Bytes::from_static(b"56789"));
        fill.complete();
        let late = Arc::clone(&fill).read(0..10).try_collect::<Vec<_>>().await.unwrap();
        assert_eq!(early.await.unwrap().unwrap().concat(), b"0123456789");
        assert_eq!(late.concat(), b"0123456789");
    }

    #[tokio::test]
    async fn a_range_is_cut_out_and_needs_no_more_than_its_own_bytes() {
        let fill = fill();
        fill.push(Bytes::from_static(b"01234"));
        fill.push(Bytes::from_static(b"56"));
        let part = Arc::clone(&fill).read(3..6).try_collect::<Vec<_>>().await.unwrap();
        assert_eq!(part.concat(), b"345");
    }

    #[tokio::test]
    async fn a_broken_body_is_an_error_and_not_a_short_one() {
        let fill = fill();
        fill.push(Bytes::from_static(b"0123"));
        fill.break_off();
        assert!(Arc::clone(&fill).read(0..10).try_collect::<Vec<_>>().await.is_err());
    }
}
