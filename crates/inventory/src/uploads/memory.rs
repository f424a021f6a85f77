//! How much memory uploads may hold together. A file takes its share as it arrives: who sends slowly holds what has come
//! and no more, so that a few slow lines keep nobody else from uploading, and many fast ones fill no memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::error::{Error, Result};

/// Memory is given out in pieces of this size.
const BLOCK_BYTES: usize = 64 * 1024;
/// How long a file waits for others to be done. It keeps what it has meanwhile, so that two which both need more than is
/// left would wait for each other: then the first to give up makes room.
const WAIT: Duration = Duration::from_secs(3);

/// The memory of one process for uploads.
#[derive(Clone)]
pub struct UploadMemory {
    blocks: Arc<Semaphore>,
}

impl UploadMemory {
    /// So many bytes for all uploads.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            blocks: Arc::new(Semaphore::new(bytes_max / BLOCK_BYTES)),
        }
    }

    /// A file that has yet to arrive.
    pub fn file(&self) -> IncomingFile {
        IncomingFile {
            memory: self.clone(),
            bytes: Vec::new(),
            share: None,
        }
    }

    async fn take(&self, blocks: usize) -> Result<OwnedSemaphorePermit> {
        let blocks = u32::try_from(blocks).map_err(|_| Error::UploadsBusy)?;
        match timeout(WAIT, self.blocks.clone().acquire_many_owned(blocks)).await {
            Ok(Ok(share)) => Ok(share),
            _ => Err(Error::UploadsBusy),
        }
    }
}

/// A file as far as it has arrived, and its share of the memory.
pub struct IncomingFile {
    memory: UploadMemory,
    bytes: Vec<u8>,
    share: Option<OwnedSemaphorePermit>,
}

impl IncomingFile {
    /// How much has arrived.
    pub fn bytes_arrived(&self) -> usize {
        self.bytes.len()
    }

    /// Takes the next piece in, once there is memory for it.
    pub async fn push(&mut self, piece: &[u8]) -> Result<()> {
        let room = self.bytes.capacity() - self.bytes.len();
        let blocks = piece.len().saturating_sub(room).div_ceil(BLOCK_BYTES);
        if blocks > 0 {
            let more = self.memory.take(blocks).await?;
            match &mut self.share {
                Some(share) => share.merge(more),
                None => self.share = Some(more),
            }
            // No more than was taken: a vector left to itself would double.
            self.bytes.reserve_exact(room + blocks * BLOCK_BYTES);
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    /// The whole file. Its share is given back when the last handle to it is dropped.
    pub fn finish(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for IncomingFile {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_file_holds_what_has_arrived_and_gives_it_back_in_the_end() {
        let memory = UploadMemory::new(4 * BLOCK_BYTES);
        let mut slow = memory.file();
        slow.push(b"a").await.expect("room for a first piece");
        let mut fast = memory.file();
        for _ in 0..3 {
            fast.push(&[1; BLOCK_BYTES]).await.expect("room for the rest");
        }
        slow.push(b"b").await.expect("room in the block that it has");
        assert!(matches!(memory.file().push(b"c").await, Err(Error::UploadsBusy)));
        assert_eq!((slow.bytes_arrived(), fast.bytes_arrived()), (2, 3 * BLOCK_BYTES));

        let file = fast.finish();
        let being_stored = file.clone();
        drop(file);
        assert!(matches!(memory.file().push(b"c").await, Err(Error::UploadsBusy)));
        drop(being_stored);
        memory
            .file()
            .push(&[1; 3 * BLOCK_BYTES])
            .await
            .expect("what was given back");
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_files_that_need_the_same_memory_one_arrives() {
        let memory = UploadMemory::new(3 * BLOCK_BYTES);
        let send = async |delay| {
            let mut file = memory.file();
            for _ in 0..3 {
                tokio::time::sleep(delay).await;
                file.push(&[1; BLOCK_BYTES]).await?;
            }
            Result::<()>::Ok(())
        };
        let (first, second) = tokio::join!(send(Duration::from_millis(10)), send(Duration::from_millis(11)));
        assert_eq!(u8::from(first.is_ok()) + u8::from(second.is_ok()), 1);
    }
}
