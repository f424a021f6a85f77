//! The cache itself: bodies on disk, an index in memory, the hottest bodies in memory too. All of it may be lost at
//! any time: the origin has everything.

mod directory;
mod entry;
mod hot;
mod index;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use http::HeaderMap;
use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::directory::Directory;
pub use self::entry::{CacheKey, Entry, Head};
use self::hot::HotSet;
pub use self::index::Found;
use self::index::Index;
use crate::http_cache::freshness::NotStored;

/// The bounds of the cache.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Where the files are.
    pub path: PathBuf,
    /// What they may take in all.
    pub disk_bytes_max: u64,
    /// What the hottest bodies may take of memory.
    pub hot_bytes_max: u64,
    /// A body larger than this is never held in memory, but read piece by piece.
    pub hot_object_bytes_max: u64,
    /// What bodies may take of memory beyond that, on their way to clients. The others are read piece by piece.
    pub lent_bytes_max: u64,
}

/// The cache.
pub struct Store {
    config: StoreConfig,
    directory: Directory,
    index: RwLock<Index>,
    hot: HotSet,
    /// One for each KiB of a body that is in memory, whether it is a hot one or a slow client still has it.
    memory: Arc<Semaphore>,
    /// One for each body that is read piece by piece.
    files: Arc<Semaphore>,
}

/// Bodies that are read piece by piece at a time, however large they are. Each holds two pieces.
const FILES_MAX: usize = 512;

/// A stored body, ready to be sent.
pub enum StoredBody {
    /// All of it.
    Memory(Bytes),
    /// A file, to be read piece by piece.
    File(FileBody),
    /// It can only be read piece by piece, and as many are as may be.
    Busy,
}

/// A file of the right length, and its place among those that are read.
pub struct FileBody {
    pub(crate) file: std::fs::File,
    pub(crate) place: OwnedSemaphorePermit,
}

/// How full the cache is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// How many responses are stored.
    pub objects: usize,
    /// What they take of the disk.
    pub disk_bytes: u64,
    /// What the hot ones take of memory.
    pub hot_bytes: u64,
}

impl Store {
    /// Opens the cache and reads what an earlier process left there. Blocks; to be called before serving.
    pub fn open(config: StoreConfig) -> io::Result<Self> {
        let directory = Directory::claim(&config.path)?;
        let (recovered, dropped) = directory.recover()?;
        let mut newest: HashMap<(CacheKey, String), Arc<Entry>> = HashMap::new();
        let mut older = Vec::new();
        for object in recovered {
            let name = (object.head.key.clone(), object.head.selection.fingerprint());
            let entry = new_entry(object.head, object.stem.into(), object.disk_bytes, object.body_sha256);
            // A crash may have come between writing an object and deleting the one that it replaces.
            match newest.get(&name) {
                Some(other) if other.head.lifetime.received > entry.head.lifetime.received => {
                    older.push(entry);
                }
                _ => older.extend(newest.insert(name, entry)),
            }
        }
        let mut entries: Vec<Arc<Entry>> = newest.into_values().collect();
        entries.sort_by_key(|entry| entry.head.lifetime.received);
        let mut index = Index::default();
        for entry in &entries {
            older.extend(index.insert(entry));
        }
        older.extend(index.evict_down_to(config.disk_bytes_max));
        for entry in &older {
            directory.remove(&entry.file);
        }
        tracing::info!(
            path = %directory.path().display(),
            objects = index.count(),
            disk_bytes = index.disk_bytes(),
            dropped,
            "Opened the cache"
        );
        metrics::counter!("edge_dropped_files_total").increment(dropped);
        let hot = HotSet::new(config.hot_bytes_max);
        let memory_kib = (config.hot_bytes_max + config.lent_bytes_max) / 1024;
        let memory = usize::try_from(memory_kib).map_or(Semaphore::MAX_PERMITS, |kib| kib.min(Semaphore::MAX_PERMITS));
        Ok(Self {
            config,
            directory,
            index: RwLock::new(index),
            hot,
            memory: Arc::new(Semaphore::new(memory)),
            files: Arc::new(Semaphore::new(FILES_MAX)),
        })
    }

    /// Looks up what a request for `key` with these headers gets.
    pub fn find(&self, key: &CacheKey, request: &HeaderMap) -> Found {
        self.read_index().find(key, request)
    }

    /// Stores a response in place of the one that it supersedes.
    pub async fn insert(self: &Arc<Self>, head: Head, body: Vec<Bytes>) -> Result<Arc<Entry>, NotStored> {
        if head.body_bytes > self.config.disk_bytes_max / 2 {
            return Err(NotStored::TooLarge);
        }
        let store = Arc::clone(self);
        let written = blocking(move || {
            let stem = stem_of(&head);
            match store.directory.write(&stem, &head, &body) {
                Ok((disk_bytes, body_sha256)) => {
                    let entry = new_entry(head, stem.into(), disk_bytes, body_sha256);
                    entry.checked.set();
                    let mut gone;
                    {
                        let mut index = store.write_index();
                        gone = index.insert(&entry);
                        let evicted = index.evict_down_to(store.config.disk_bytes_max);
                        metrics::counter!("edge_evictions_total").increment(evicted.len() as u64);
                        gone.extend(evicted);
                    }
                    store.delete(&gone);
                    Ok(entry)
                }
                Err(error) => {
                    store.directory.remove(&stem);
                    Err(error)
                }
            }
        });
        written.await.map_err(|error| {
            tracing::warn!(%error, "A response can't be written to the cache");
            NotStored::Disk
        })
    }

    /// Gives a stored response a new head, after the origin said that its body is still the same.
    pub async fn freshen(self: &Arc<Self>, entry: Arc<Entry>, head: Head) -> Result<Arc<Entry>, NotStored> {
        let store = Arc::clone(self);
        let written = blocking(move || {
            store.directory.write_record(&entry.file, &head, &entry.body_sha256)?;
            let fresh = new_entry(head, Arc::clone(&entry.file), entry.disk_bytes, entry.body_sha256);
            if entry.checked.is_set() {
                fresh.checked.set();
            }
            let mut index = store.write_index();
            if index.replace(&entry, &fresh) {
                drop(index);
                if let Some(body) = HotSet::get(&entry) {
                    store.hot.forget(&entry);
                    store.hot.admit(&fresh, &body);
                }
                Ok(fresh)
            } else if let Some(other) = index.with_file(&entry.head.key, &entry.file) {
                // Somebody else was told the same a moment earlier.
                Ok(other)
            } else {
                drop(index);
                // It was evicted or purged meanwhile, so its body is gone or about to go.
                store.directory.remove(&entry.file);
                Err(io::Error::from(io::ErrorKind::NotFound))
            }
        });
        written.await.map_err(|_| NotStored::Disk)
    }

    /// The body of a stored response; none if it can't be read. If it is lost or damaged the response is forgotten.
    pub async fn body(self: &Arc<Self>, entry: &Arc<Entry>) -> Option<StoredBody> {
        if let Some(body) = HotSet::get(entry) {
            return Some(StoredBody::Memory(body));
        }
        let (store, wanted) = (Arc::clone(self), Arc::clone(entry));
        let read = blocking(move || {
            let is_large = wanted.head.body_bytes > store.config.hot_object_bytes_max;
            let memory = if is_large {
                None
            } else {
                store.memory_for(wanted.head.body_bytes)
            };
            let Some(memory) = memory else {
                let Ok(place) = Arc::clone(&store.files).try_acquire_owned() else {
                    return Ok(StoredBody::Busy);
                };
                // To read all of a large one at each request would take longer than to send it.
                let file = if is_large && wanted.checked.is_set() {
                    store.directory.open(&wanted.file, &wanted.head)?
                } else {
                    let checked = store
                        .directory
                        .open_checked(&wanted.file, &wanted.head, &wanted.body_sha256)?;
                    wanted.checked.set();
                    checked
                };
                return Ok(StoredBody::File(FileBody { file, place }));
            };
            let bytes = store.directory.read(&wanted.file, &wanted.head, &wanted.body_sha256)?;
            let body = Bytes::from_owner(Counted { bytes, _memory: memory });
            store.hot.admit(&wanted, &body);
            Ok(StoredBody::Memory(body))
        });
        match read.await {
            Ok(body) => Some(body),
            Err(error) if is_lost(&error) => {
                if !entry.removed.is_set() {
                    tracing::warn!(%error, key = %entry.head.key, "A cached response is damaged and dropped");
                    metrics::counter!("edge_dropped_files_total").increment(1);
                }
                self.remove(entry).await;
                None
            }
            Err(error) => {
                tracing::warn!(%error, key = %entry.head.key, "A cached response can't be read just now");
                None
            }
        }
    }

    /// Memory for a body, if there is some. It is counted until the last who has a part of the body lets go of it,
    /// because a client may take its time, and any number of them may.
    fn memory_for(&self, body_bytes: u64) -> Option<OwnedSemaphorePermit> {
        let kib = u32::try_from(body_bytes.div_ceil(1024)).ok()?;
        Arc::clone(&self.memory).try_acquire_many_owned(kib).ok()
    }

    /// Forgets one response.
    pub async fn remove(self: &Arc<Self>, entry: &Arc<Entry>) {
        let removed = self.write_index().remove(entry);
        if removed {
            self.delete_soon(vec![Arc::clone(entry)]).await;
        }
    }

    /// Forgets all responses to a URL; says how many there were. They are off the disk when this returns.
    pub async fn purge_key(self: &Arc<Self>, key: &CacheKey) -> usize {
        let gone = self.write_index().remove_key(key);
        self.delete_soon(gone).await
    }

    /// Forgets all responses with a tag; says how many there were. They are off the disk when this returns.
    pub async fn purge_tag(self: &Arc<Self>, tag: &str) -> usize {
        let gone = self.write_index().remove_tag(tag);
        self.delete_soon(gone).await
    }

    /// How full the cache is.
    pub fn usage(&self) -> Usage {
        let index = self.read_index();
        Usage {
            objects: index.count(),
            disk_bytes: index.disk_bytes(),
            hot_bytes: self.hot.bytes(),
        }
    }

    async fn delete_soon(self: &Arc<Self>, gone: Vec<Arc<Entry>>) -> usize {
        let count = gone.len();
        if count > 0 {
            let store = Arc::clone(self);
            let deleted = blocking(move || {
                store.delete(&gone);
                Ok(())
            });
            // Deleting reports its own failures.
            let _ = deleted.await;
        }
        count
    }

    fn delete(&self, gone: &[Arc<Entry>]) {
        for entry in gone {
            self.hot.forget(entry);
            self.directory.remove(&entry.file);
        }
    }

    fn read_index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_index(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A body in memory, and the memory that it takes.
struct Counted {
    bytes: Vec<u8>,
    _memory: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Whether an error is about the file itself. A process that has too many files open, or a disk that is busy failing,
/// would otherwise delete what is sound, and just when it can't be fetched anew.
fn is_lost(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
    )
}

/// A name for an object's files: what it is, and a number that no other writing of it has.
fn stem_of(head: &Head) -> String {
    let mut hash = Sha256::new();
    hash.update(head.key.as_str());
    hash.update([0]);
    hash.update(head.selection.fingerprint());
    format!("{}-{:016x}", hex::encode(&hash.finalize()[..16]), rand::random::<u64>())
}

fn new_entry(head: Head, file: Arc<str>, disk_bytes: u64, body_sha256: [u8; 32]) -> Arc<Entry> {
    Arc::new(Entry {
        head,
        file,
        disk_bytes,
        body_sha256,
        hot: arc_swap::ArcSwapOption::empty(),
        visited: entry::Mark::default(),
        hot_visited: entry::Mark::default(),
        checked: entry::Mark::default(),
        removed: entry::Mark::default(),
    })
}

/// Runs file operations where they block nobody.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
pub(crate) fn test_entry(
    path: &str,
    selection: crate::http_cache::vary::Selection,
    tags: &[&str],
    disk_bytes: u64,
) -> Arc<Entry> {
    let head = Head {
        key: CacheKey::new(path),
        selection,
        status: http::StatusCode::OK,
        headers: HeaderMap::from_iter([(http::header::ETAG, http::HeaderValue::from_static("\"a\""))]),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        lifetime: crate::http_cache::freshness::Lifetime {
            received: 1_800_000_000,
            initial_age_seconds: 0,
            fresh_seconds: 60,
            stale_while_revalidate_seconds: 0,
            stale_if_error_seconds: None,
            never_stale: false,
        },
        body_bytes: disk_bytes,
    };
    new_entry(head, path.into(), disk_bytes, [0; 32])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http_cache::vary::Selection;

    const BODY_KIB: u64 = 10;

    /// A cache with so many bodies of 10 KiB, none of which is hot.
    async fn store_of(count: usize, config: StoreConfig) -> (Arc<Store>, Vec<Arc<Entry>>) {
        let store = Arc::new(Store::open(config).unwrap());
        let mut entries = Vec::new();
        for number in 0..count {
            let path = format!("/photos/{number}");
            let head = test_entry(&path, Selection::default(), &[], BODY_KIB * 1024)
                .head
                .clone();
            let body = Bytes::from(vec![7; usize::try_from(head.body_bytes).unwrap()]);
            entries.push(store.insert(head, vec![body]).await.unwrap());
        }
        (store, entries)
    }

    fn config(path: PathBuf) -> StoreConfig {
        StoreConfig {
            path,
            disk_bytes_max: 1 << 30,
            hot_bytes_max: 5 * BODY_KIB * 1024,
            hot_object_bytes_max: 1 << 20,
            lent_bytes_max: 3 * BODY_KIB * 1024,
        }
    }

    #[tokio::test]
    async fn memory_is_bounded_however_many_bodies_slow_clients_hold() {
        let folder = tempfile::tempdir().unwrap();
        let (store, entries) = store_of(20, config(folder.path().to_owned())).await;
        let mut held = Vec::new();
        for entry in &entries {
            held.push(store.body(entry).await.unwrap());
        }
        let in_memory = held.iter().filter(|body| matches!(body, StoredBody::Memory(_))).count();
        assert_eq!(in_memory, 8, "five hot ones, and three more that clients hold");
        held.clear();
        let body = store.body(&entries[0]).await.unwrap();
        assert!(
            matches!(body, StoredBody::Memory(_)),
            "what was given back is used again"
        );
    }

    #[tokio::test]
    async fn damage_is_found_also_where_there_is_no_memory() {
        let folder = tempfile::tempdir().unwrap();
        let none = StoreConfig {
            hot_bytes_max: 0,
            lent_bytes_max: 0,
            ..config(folder.path().to_owned())
        };
        let (store, entries) = store_of(1, none).await;
        assert!(matches!(store.body(&entries[0]).await, Some(StoredBody::File(_))));
        let shard = &entries[0].file[..2];
        let file = store
            .directory
            .path()
            .join(shard)
            .join(format!("{}.body", entries[0].file));
        std::fs::write(file, vec![8; usize::try_from(BODY_KIB * 1024).unwrap()]).unwrap();
        assert!(store.body(&entries[0]).await.is_none());
        assert_eq!(store.usage().objects, 0);
    }
}
