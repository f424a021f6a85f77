//! The bodies that are kept in memory, because they are asked for most.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::entry::Entry;

/// A bounded set of bodies, with the same "second chance" as the disk has.
pub(super) struct HotSet {
    bytes_max: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Arc<Entry>>,
    bytes: u64,
}

impl HotSet {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            state: Mutex::default(),
        }
    }

    /// The body, if it is in memory.
    pub(super) fn get(entry: &Entry) -> Option<Bytes> {
        let body = entry.hot.load();
        let body = body.as_ref()?;
        entry.hot_visited.set();
        Some(Bytes::clone(body))
    }

    /// Keeps a body that was just read from disk, at the cost of others.
    pub(super) fn admit(&self, entry: &Arc<Entry>, body: &Bytes) {
        let length = body.len() as u64;
        if length > self.bytes_max {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if entry.removed.is_set() || entry.hot.load().is_some() {
            return;
        }
        entry.hot.store(Some(Arc::new(body.clone())));
        state.bytes += length;
        state.queue.push_back(Arc::clone(entry));
        while state.bytes > self.bytes_max {
            let Some(candidate) = state.queue.pop_front() else {
                break;
            };
            if candidate.hot.load().is_none() {
                continue;
            }
            if candidate.hot_visited.take() {
                state.queue.push_back(candidate);
                continue;
            }
            candidate.hot.store(None);
            state.bytes -= candidate.head.body_bytes;
        }
    }

    /// Lets go of an entry that is no longer in the index.
    pub(super) fn forget(&self, entry: &Arc<Entry>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if entry.hot.swap(None).is_some() {
            state.bytes -= entry.head.body_bytes;
            state.queue.retain(|other| !Arc::ptr_eq(other, entry));
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http_cache::vary::Selection;
    use crate::store::test_entry;

    fn entry(path: &str) -> (Arc<Entry>, Bytes) {
        let entry = test_entry(path, Selection::default(), &[], 40);
        let body = Bytes::from(vec![0; usize::try_from(entry.head.body_bytes).unwrap()]);
        (entry, body)
    }

    #[test]
    fn memory_stays_within_its_bound_and_keeps_what_is_used() {
        let set = HotSet::new(100);
        let (used, body) = entry("/photos/used");
        set.admit(&used, &body);
        for n in 0..10 {
            assert!(HotSet::get(&used).is_some(), "evicted by {n}");
            let (other, body) = entry(&format!("/photos/{n}"));
            set.admit(&other, &body);
            assert!(set.bytes() <= 100);
        }
    }

    #[test]
    fn what_was_removed_is_neither_kept_nor_taken_in() {
        let set = HotSet::new(100);
        let (gone, body) = entry("/photos/gone");
        set.admit(&gone, &body);
        gone.removed.set();
        set.forget(&gone);
        set.admit(&gone, &body);
        assert!(HotSet::get(&gone).is_none());
        assert_eq!(set.bytes(), 0);
    }
}
