use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use shop_db::Position;

/// Names one cached value, and its type: a key cannot fetch the wrong one.
pub trait Key: Send + Sync {
    /// What is cached.
    type Value: Serialize + DeserializeOwned + Clone + Send + Sync + 'static;
    /// The kind of thing; with a new number in it when the value's form changes.
    const NAMESPACE: &'static str;
    /// Which thing.
    fn id(&self) -> String;
    /// For how long.
    fn policy(&self) -> Policy;
}

/// For how long a value may be used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// In Redis.
    pub ttl: Duration,
    /// The share by which that varies, so that what was stored together doesn't expire together.
    pub jitter: f64,
    /// That a thing does not exist.
    pub absent_ttl: Duration,
    /// In this process, where an update by another process is not seen.
    pub local_ttl: Duration,
}

impl Policy {
    /// The usual: a tenth of jitter, absence for five seconds, a second in process.
    #[must_use]
    pub const fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            jitter: 0.1,
            absent_ttl: Duration::from_secs(5),
            local_ttl: Duration::from_secs(1),
        }
    }

    /// How long a value lives in Redis, or the knowledge that there is none.
    pub(crate) fn ttl_of(&self, exists: bool) -> Duration {
        if exists { self.ttl } else { self.absent_ttl }
    }

    /// Whether something with so much life left should be loaded anew before it expires.
    pub(crate) fn is_due(&self, exists: bool, remaining: Duration) -> bool {
        remaining < self.ttl_of(exists) / 5
    }
}

/// What a source answered.
#[derive(Debug, Clone)]
pub struct Loaded<V> {
    /// Nothing, if the thing does not exist.
    pub value: Option<V>,
    /// A lower bound of what the source had seen, taken before it was read. Without one, the value is not stored in place of
    /// anything that has one.
    pub position: Option<Position>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_refreshed_in_the_last_fifth_of_its_life() {
        let policy = Policy::new(Duration::from_secs(50));
        assert!(!policy.is_due(true, Duration::from_secs(10)));
        assert!(policy.is_due(true, Duration::from_secs(9)));
        assert!(!policy.is_due(false, Duration::from_secs(4)));
    }
}
