//! The level in this process.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::ops::compute::Op;
use shop_db::Position;

use crate::Key;

/// Longer than any load and any replica's lag.
pub(crate) const MARKER_TTL: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub(crate) enum Slot {
    /// The value, ready to use.
    Value(Arc<dyn Any + Send + Sync>),
    /// The thing does not exist.
    Absent,
    /// The thing was changed: what is older than this entry's position must not come back.
    Marker,
}

#[derive(Clone)]
pub(crate) struct Entry {
    slot: Slot,
    position: Option<Position>,
    ttl: Duration,
}

impl Entry {
    pub(crate) fn new(slot: Slot, position: Option<Position>, ttl: Duration) -> Self {
        Self { slot, position, ttl }
    }

    pub(crate) fn living_for(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Whether a request that has seen `after` may be answered with this.
    pub(crate) fn satisfies<K: Key>(&self, after: Option<Position>) -> bool {
        let usable = match &self.slot {
            Slot::Value(value) => value.is::<K::Value>(),
            Slot::Absent => true,
            Slot::Marker => false,
        };
        usable && after.is_none_or(|after| self.position.is_some_and(|position| position.covers(after)))
    }

    pub(crate) fn exists(&self) -> bool {
        matches!(self.slot, Slot::Value(_))
    }

    pub(crate) fn value<K: Key>(&self) -> Option<K::Value> {
        match &self.slot {
            Slot::Value(value) => value.downcast_ref::<K::Value>().cloned(),
            Slot::Absent | Slot::Marker => None,
        }
    }

    /// Whether this may take the place of `old`: a thing with a position yields only to one that covers it.
    fn may_replace(&self, old: &Self) -> bool {
        match (old.position, self.position) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(old), Some(new)) => new.covers(old),
        }
    }
}

pub(crate) struct Local {
    entries: moka::future::Cache<String, Entry>,
}

impl Local {
    pub(crate) fn new(entries_max: u64) -> Self {
        Self {
            entries: moka::future::Cache::builder()
                .max_capacity(entries_max)
                .expire_after(ByEntry)
                .build(),
        }
    }

    pub(crate) async fn get<K: Key>(&self, key: &str, after: Option<Position>) -> Option<Entry> {
        self.entries.get(key).await.filter(|entry| entry.satisfies::<K>(after))
    }

    /// The write that made old what was here, until something that has seen it takes its place.
    pub(crate) async fn marked(&self, key: &str) -> Option<Position> {
        let entry = self.entries.get(key).await?;
        matches!(entry.slot, Slot::Marker).then_some(entry.position).flatten()
    }

    pub(crate) async fn put(&self, key: &str, entry: Entry) {
        self.entries
            .entry_by_ref(key)
            .and_compute_with(|old| {
                let replace = old.is_none_or(|old| entry.may_replace(old.value()));
                std::future::ready(if replace { Op::Put(entry) } else { Op::Nop })
            })
            .await;
    }

    pub(crate) async fn mark(&self, key: &str, position: Position) {
        let marker = Entry::new(Slot::Marker, Some(position), MARKER_TTL);
        self.entries
            .entry_by_ref(key)
            .and_compute_with(|old| {
                // What has seen the write already may stay.
                let has_seen = old.is_some_and(|old| old.value().position.is_some_and(|old| old.covers(position)));
                std::future::ready(if has_seen { Op::Nop } else { Op::Put(marker) })
            })
            .await;
    }
}

/// Each entry says itself how long it lives.
struct ByEntry;

impl Expiry<String, Entry> for ByEntry {
    fn expire_after_create(&self, _: &String, entry: &Entry, _: Instant) -> Option<Duration> {
        Some(entry.ttl)
    }

    fn expire_after_update(&self, _: &String, entry: &Entry, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(entry.ttl)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Policy;

    struct Number;

    impl Key for Number {
        type Value = u32;
        const NAMESPACE: &'static str = "number";
        fn id(&self) -> String {
            "1".to_owned()
        }
        fn policy(&self) -> Policy {
            Policy::new(Duration::from_secs(60))
        }
    }

    fn at(lsn: u64) -> Position {
        Position { timeline: 1, lsn }
    }

    fn number(value: u32, lsn: Option<u64>) -> Entry {
        Entry::new(Slot::Value(Arc::new(value)), lsn.map(at), Duration::from_secs(60))
    }

    #[tokio::test]
    async fn a_fill_older_than_the_marker_does_not_come_back() {
        let local = Local::new(10);
        local.put("n", number(1, Some(5))).await;
        local.mark("n", at(10)).await;
        local.put("n", number(1, Some(9))).await;
        local.put("n", number(1, None)).await;
        assert!(local.get::<Number>("n", None).await.is_none());
        local.put("n", number(2, Some(10))).await;
        let found = local
            .get::<Number>("n", None)
            .await
            .expect("a fill at the marker's position is kept");
        assert_eq!(found.value::<Number>(), Some(2));
    }

    #[tokio::test]
    async fn a_request_with_a_position_skips_what_is_older_or_unknown() {
        let local = Local::new(10);
        local.put("n", number(1, None)).await;
        assert!(local.get::<Number>("n", Some(at(1))).await.is_none());
        local.put("n", number(1, Some(5))).await;
        assert!(local.get::<Number>("n", Some(at(6))).await.is_none());
        assert!(local.get::<Number>("n", Some(at(5))).await.is_some());
    }

    #[tokio::test]
    async fn an_older_marker_does_not_drop_a_newer_value() {
        let local = Local::new(10);
        local.put("n", number(2, Some(12))).await;
        local.mark("n", at(10)).await;
        assert!(local.get::<Number>("n", None).await.is_some());
    }
}
