//! What is kept of a response.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

use crate::http_cache::freshness::Lifetime;
use crate::http_cache::vary::Selection;

/// What objects are found by: the path of their URL. Host and scheme are no part of it, because all names of the shop
/// show the same pictures.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheKey(Arc<str>);

impl CacheKey {
    /// The key of a path that was checked already.
    pub fn new(path: &str) -> Self {
        Self(path.into())
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A response without its body.
#[derive(Clone, Debug)]
pub struct Head {
    /// What it is found by.
    pub key: CacheKey,
    /// Which of the requests for that key it answers.
    pub selection: Selection,
    /// Its status.
    pub status: StatusCode,
    /// Its headers, as far as they are about the object and not about one delivery of it.
    pub headers: HeaderMap,
    /// What it can be purged by.
    pub tags: Vec<String>,
    /// How long it may be used.
    pub lifetime: Lifetime,
    /// The length of its body.
    pub body_bytes: u64,
}

/// A response on disk, and perhaps in memory.
pub struct Entry {
    /// All but the body.
    pub head: Head,
    /// The stem of its files' names.
    pub(super) file: Arc<str>,
    /// What it counts for against the bound of the disk.
    pub(super) disk_bytes: u64,
    /// What its body must hash to.
    pub(super) body_sha256: [u8; 32],
    /// The body, while it is one of the hot ones.
    pub(super) hot: ArcSwapOption<Bytes>,
    /// Used since the disk's eviction last came by.
    pub(super) visited: Mark,
    /// Used since the memory's eviction last came by.
    pub(super) hot_visited: Mark,
    /// This process has written its body, or read it and found it as it should be.
    pub(super) checked: Mark,
    /// No longer in the index.
    pub(super) removed: Mark,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("head", &self.head)
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// A flag that is read often and written seldom.
#[derive(Debug, Default)]
pub(super) struct Mark(AtomicBool);

impl Mark {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    pub(super) fn set(&self) {
        // Writing what is there already would take the cache line away from the other cores, for each hit.
        if !self.is_set() {
            self.0.store(true, Ordering::Release);
        }
    }

    pub(super) fn take(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }
}

/// An entry's description as it lies on disk.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    key: String,
    selection: Selection,
    status: u16,
    headers: Vec<(String, String)>,
    tags: Vec<String>,
    lifetime: Lifetime,
    body_bytes: u64,
    body_sha256: String,
}

impl Record {
    pub(super) fn new(head: &Head, body_sha256: &[u8; 32]) -> Self {
        let headers = head.headers.iter().filter_map(|(name, value)| {
            // A header that is not text is not worth keeping.
            Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
        });
        Self {
            key: head.key.as_str().to_owned(),
            selection: head.selection.clone(),
            status: head.status.as_u16(),
            headers: headers.collect(),
            tags: head.tags.clone(),
            lifetime: head.lifetime,
            body_bytes: head.body_bytes,
            body_sha256: hex::encode(body_sha256),
        }
    }

    /// The head and the body's hash; none if something in it can't be what was written.
    pub(super) fn into_parts(self) -> Option<(Head, [u8; 32])> {
        let mut headers = HeaderMap::with_capacity(self.headers.len());
        for (name, value) in &self.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            headers.append(name, HeaderValue::from_str(value).ok()?);
        }
        let mut body_sha256 = [0; 32];
        hex::decode_to_slice(&self.body_sha256, &mut body_sha256).ok()?;
        let head = Head {
            key: CacheKey::new(&self.key),
            selection: self.selection,
            status: StatusCode::from_u16(self.status).ok()?,
            headers,
            tags: self.tags,
            lifetime: self.lifetime,
            body_bytes: self.body_bytes,
        };
        Some((head, body_sha256))
    }
}
