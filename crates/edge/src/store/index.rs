//! Which objects are there, and which of them goes when there is no room.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use http::HeaderMap;

use super::entry::{CacheKey, Entry};
use crate::http_cache::vary::Selection;

/// More variants of one URL than this push each other out.
const VARIANTS_MAX: usize = 8;

/// The answer to a look-up.
#[derive(Debug)]
pub enum Found {
    /// The response that this request gets.
    Entry(Arc<Entry>),
    /// Responses to other requests for the same URL: this request would select so.
    OtherVariant(Selection),
    /// Nothing is known of this URL.
    Nothing,
}

/// The index. Eviction is "second chance": whoever was not asked for since the hand last came by goes first, so that
/// a crawl through everything doesn't push out what is popular.
#[derive(Default)]
pub(super) struct Index {
    objects: HashMap<CacheKey, Vec<Arc<Entry>>>,
    keys_by_tag: HashMap<String, BTreeSet<CacheKey>>,
    queue: VecDeque<Arc<Entry>>,
    count: usize,
    disk_bytes: u64,
}

impl Index {
    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn disk_bytes(&self) -> u64 {
        self.disk_bytes
    }

    pub(super) fn find(&self, key: &CacheKey, request: &HeaderMap) -> Found {
        let Some(variants) = self.objects.get(key) else {
            return Found::Nothing;
        };
        // The newest are at the end, and of several that fit the most recent is the answer (RFC 9111, section 4.1).
        let mut newest_first = variants.iter().rev();
        if let Some(entry) = newest_first.find(|entry| entry.head.selection.matches(request)) {
            entry.visited.set();
            return Found::Entry(Arc::clone(entry));
        }
        variants.last().map_or(Found::Nothing, |entry| {
            Found::OtherVariant(entry.head.selection.again_for(request))
        })
    }

    /// Adds an entry in place of the one with the same selection. Gives back what is no longer in the index.
    pub(super) fn insert(&mut self, entry: &Arc<Entry>) -> Vec<Arc<Entry>> {
        let mut gone = Vec::new();
        let variants = self.objects.get(&entry.head.key).map(Vec::as_slice).unwrap_or_default();
        let same = variants
            .iter()
            .find(|other| other.head.selection == entry.head.selection);
        let crowded = variants.first().filter(|_| variants.len() >= VARIANTS_MAX);
        if let Some(replaced) = same.or(crowded).cloned() {
            self.remove(&replaced);
            gone.push(replaced);
        }
        self.disk_bytes += entry.disk_bytes;
        self.count += 1;
        for tag in &entry.head.tags {
            self.keys_by_tag
                .entry(tag.clone())
                .or_default()
                .insert(entry.head.key.clone());
        }
        self.objects
            .entry(entry.head.key.clone())
            .or_default()
            .push(Arc::clone(entry));
        self.queue.push_back(Arc::clone(entry));
        self.drop_removed_from_queue();
        gone
    }

    /// Puts `fresh` where `old` is, which it shares its body with; false if `old` has gone meanwhile.
    pub(super) fn replace(&mut self, old: &Arc<Entry>, fresh: &Arc<Entry>) -> bool {
        if !self.remove(old) {
            return false;
        }
        self.insert(fresh);
        true
    }

    /// The entry whose body lies in this file.
    pub(super) fn with_file(&self, key: &CacheKey, file: &str) -> Option<Arc<Entry>> {
        let variants = self.objects.get(key)?;
        variants.iter().find(|entry| &*entry.file == file).cloned()
    }

    /// Takes an entry out; false if it was out already.
    pub(super) fn remove(&mut self, entry: &Arc<Entry>) -> bool {
        let key = &entry.head.key;
        let Some(variants) = self.objects.get_mut(key) else {
            return false;
        };
        let Some(at) = variants.iter().position(|other| Arc::ptr_eq(other, entry)) else {
            return false;
        };
        variants.remove(at);
        entry.removed.set();
        self.disk_bytes -= entry.disk_bytes;
        self.count -= 1;
        for tag in &entry.head.tags {
            if variants.iter().any(|other| other.head.tags.contains(tag)) {
                continue;
            }
            if let Some(keys) = self.keys_by_tag.get_mut(tag) {
                keys.remove(key);
                if keys.is_empty() {
                    self.keys_by_tag.remove(tag);
                }
            }
        }
        if variants.is_empty() {
            self.objects.remove(key);
        }
        true
    }

    /// Takes out what has not been used, until at most `bytes_max` are left.
    pub(super) fn evict_down_to(&mut self, bytes_max: u64) -> Vec<Arc<Entry>> {
        let mut evicted = Vec::new();
        while self.disk_bytes > bytes_max {
            let Some(entry) = self.queue.pop_front() else {
                break;
            };
            if entry.removed.is_set() {
                continue;
            }
            if entry.visited.take() {
                self.queue.push_back(entry);
                continue;
            }
            self.remove(&entry);
            evicted.push(entry);
        }
        evicted
    }

    pub(super) fn remove_key(&mut self, key: &CacheKey) -> Vec<Arc<Entry>> {
        let entries = self.objects.get(key).cloned().unwrap_or_default();
        for entry in &entries {
            self.remove(entry);
        }
        entries
    }

    pub(super) fn remove_tag(&mut self, tag: &str) -> Vec<Arc<Entry>> {
        let keys = self.keys_by_tag.get(tag).cloned().unwrap_or_default();
        let mut entries: Vec<Arc<Entry>> = Vec::new();
        for variants in keys.iter().filter_map(|key| self.objects.get(key)) {
            entries.extend(
                variants
                    .iter()
                    .filter(|entry| entry.head.tags.iter().any(|own| own == tag))
                    .cloned(),
            );
        }
        for entry in &entries {
            self.remove(entry);
        }
        entries
    }

    /// Entries that were replaced or purged stay in the queue until somebody comes by; here, before they are the most.
    fn drop_removed_from_queue(&mut self) {
        if self.queue.len() > 2 * self.count + 64 {
            self.queue.retain(|entry| !entry.removed.is_set());
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::{ACCEPT_ENCODING, VARY};

    use super::*;
    use crate::store::test_entry;

    fn gzip() -> HeaderMap {
        HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("gzip"))])
    }

    fn varying(request: &HeaderMap) -> Selection {
        let vary = HeaderMap::from_iter([(VARY, HeaderValue::from_static("accept-encoding"))]);
        Selection::of(&vary, request).unwrap()
    }

    #[test]
    fn what_was_asked_for_survives_what_was_not() {
        let mut index = Index::default();
        for path in ["/photos/a", "/photos/b", "/photos/c"] {
            index.insert(&test_entry(path, Selection::default(), &[], 100));
        }
        let asked = CacheKey::new("/photos/a");
        assert!(matches!(index.find(&asked, &HeaderMap::new()), Found::Entry(_)));
        let evicted = index.evict_down_to(100);
        let evicted: Vec<&str> = evicted.iter().map(|entry| entry.head.key.as_str()).collect();
        assert_eq!(evicted, ["/photos/b", "/photos/c"]);
        assert_eq!((index.count(), index.disk_bytes()), (1, 100));
    }

    #[test]
    fn variants_live_side_by_side_and_a_new_one_replaces_its_like() {
        let mut index = Index::default();
        let key = CacheKey::new("/assets/shop.css");
        index.insert(&test_entry(key.as_str(), varying(&gzip()), &[], 10));
        let plain = HeaderMap::new();
        assert!(matches!(index.find(&key, &plain), Found::OtherVariant(wanted) if wanted == varying(&plain)));
        index.insert(&test_entry(key.as_str(), varying(&plain), &[], 10));
        let replaced = index.insert(&test_entry(key.as_str(), varying(&gzip()), &[], 10));
        assert_eq!(replaced.len(), 1);
        assert_eq!((index.count(), index.disk_bytes()), (2, 20));
    }

    #[test]
    fn of_several_that_fit_the_newest_is_found() {
        let mut index = Index::default();
        let key = CacheKey::new("/assets/shop.css");
        index.insert(&test_entry(key.as_str(), Selection::default(), &[], 10));
        let newer = test_entry(key.as_str(), varying(&gzip()), &[], 10);
        index.insert(&newer);
        assert!(matches!(index.find(&key, &gzip()), Found::Entry(found) if Arc::ptr_eq(&found, &newer)));
    }

    #[test]
    fn the_variants_of_one_url_are_bounded() {
        let mut index = Index::default();
        let vary = HeaderMap::from_iter([(VARY, HeaderValue::from_static("accept"))]);
        for n in 0..20 {
            let request = HeaderMap::from_iter([(http::header::ACCEPT, HeaderValue::from(n))]);
            index.insert(&test_entry(
                "/photos/a",
                Selection::of(&vary, &request).unwrap(),
                &[],
                1,
            ));
        }
        assert_eq!(index.count(), VARIANTS_MAX);
    }

    #[test]
    fn a_tag_takes_out_all_that_carry_it_and_nothing_else() {
        let mut index = Index::default();
        index.insert(&test_entry("/photos/1/1/a", Selection::default(), &["photo-1"], 1));
        index.insert(&test_entry(
            "/photos/1/1/b",
            Selection::default(),
            &["photo-1", "wall"],
            1,
        ));
        index.insert(&test_entry("/photos/2/1/a", Selection::default(), &["photo-2"], 1));
        assert_eq!(index.remove_tag("photo-1").len(), 2);
        assert_eq!(index.remove_tag("photo-1").len(), 0);
        assert_eq!(index.count(), 1);
        assert_eq!(index.keys_by_tag.len(), 1);
    }

    #[test]
    fn a_queue_of_replaced_entries_does_not_grow_for_ever() {
        let mut index = Index::default();
        for _ in 0..1000 {
            index.insert(&test_entry("/photos/a", Selection::default(), &[], 1));
        }
        assert!(index.queue.len() < 100, "{}", index.queue.len());
    }
}
