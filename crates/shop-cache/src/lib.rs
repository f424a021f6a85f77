//! A read-through cache of two levels: in this process for about a second, and in Redis.
//!
//! The cache may be lost at any time: without Redis the first level carries on, and a limit on concurrent loads keeps
//! the database from being crushed. Nothing here is ever the only copy of anything.
//!
//! What keeps an old value from coming back after an update: [`Cache::invalidate`] leaves a *marker* with the position of the
//! write in place of the value. Whoever loads a value takes the position of its source before it reads, and the value is
//! stored only if that position covers the marker's. A slow load, or one from a lagging replica, is used by the
//! request that asked for it, and forgotten.

mod config;
mod flight;
mod key;
mod local;
mod remote;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::RngExt as _;
use shop_db::Position;
use shop_telemetry::timing;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

pub use config::CacheArgs;
pub use key::{Key, Loaded, Policy};

use flight::{Flights, Seat};
use local::{Entry, Local, Slot};
use remote::{Fetched, Remote, Stored};

/// How long a request waits for another one, in this process, that loads the same key.
const FOLLOW_DEADLINE: Duration = Duration::from_secs(5);
/// How often a request follows others before it loads by itself.
const FOLLOW_TURNS: usize = 3;
/// How long a request waits for another process that loads the same key.
const LOCK_POLLS: u32 = 8;
const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(25);
/// How long a request waits for its turn to load.
const LOAD_PERMIT_WAIT: Duration = Duration::from_secs(1);

/// Too many loads are under way; the request should be answered with 503.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("too many loads are under way")]
pub struct CacheOverloaded;

/// The cache. Cloning it gives another handle to the same one.
#[derive(Clone)]
pub struct Cache {
    inner: Arc<Inner>,
}

struct Inner {
    local: Local,
    remote: Remote,
    flights: Flights,
    loads: Semaphore,
    key_prefix: String,
}

impl Cache {
    /// Prepares the cache. Never fails: without Redis it carries on with what it has.
    #[must_use]
    pub fn connect(args: &CacheArgs) -> Self {
        Self {
            inner: Arc::new(Inner {
                local: Local::new(args.cache_local_entries_max),
                remote: Remote::new(args),
                flights: Flights::default(),
                loads: Semaphore::new(args.cache_loads_max.into()),
                key_prefix: args.cache_key_prefix.clone(),
            }),
        }
    }

    /// The value under `key`, from the nearest level that has one at least as new as `after`; else from `load`, which then
    /// fills both levels. However many ask at the same time, it is loaded once.
    ///
    /// # Errors
    /// What `load` answers, or [`CacheOverloaded`] when too many loads are under way.
    pub async fn get<K, E, F, Fut>(&self, key: &K, after: Option<Position>, load: F) -> Result<Option<K::Value>, E>
    where
        K: Key,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<Loaded<K::Value>, E>>,
        E: From<CacheOverloaded>,
    {
        let started = Instant::now();
        // What the source took is its own hop, not the cache's.
        let loading_us = AtomicU64::new(0);
        let timed_load = || async {
            let load_started = Instant::now();
            let loaded = load().await;
            let elapsed_us = u64::try_from(load_started.elapsed().as_micros()).unwrap_or(u64::MAX);
            loading_us.store(elapsed_us, Ordering::Relaxed);
            loaded
        };
        let (entry, result) = self.find(key, after, timed_load).await?;
        metrics::counter!("cache_requests_total", "namespace" => K::NAMESPACE, "result" => result).increment(1);
        let loading = Duration::from_micros(loading_us.load(Ordering::Relaxed));
        timing::record("cache", result, started.elapsed().saturating_sub(loading));
        Ok(entry.value::<K>())
    }

    /// Drops what both levels have under `key`, and refuses to fill it from a source older than `position`, the position of
    /// the write. Without Redis only this process forgets; others do when their second is over.
    pub async fn invalidate<K: Key>(&self, key: &K, position: Position) {
        let full_key = self.full_key(key);
        self.inner.local.mark(&full_key, position).await;
        self.inner.remote.mark(&full_key, position).await;
    }

    async fn find<K, E, F, Fut>(&self, key: &K, after: Option<Position>, load: F) -> Result<(Entry, &'static str), E>
    where
        K: Key,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<Loaded<K::Value>, E>>,
        E: From<CacheOverloaded>,
    {
        let full_key = self.full_key(key);
        for _ in 0..FOLLOW_TURNS {
            if let Some(entry) = self.inner.local.get::<K>(&full_key, after).await {
                return Ok((entry, "local"));
            }
            match self.inner.flights.board(&full_key) {
                Seat::Pilot(flight) => {
                    let found = self.fetch(key, &full_key, after, load).await;
                    match &found {
                        Ok((entry, _)) => flight.land(entry.clone()),
                        Err(_) => flight.crash(),
                    }
                    return found;
                }
                Seat::Passenger(flight) => match timeout(FOLLOW_DEADLINE, flight.landed()).await {
                    Ok(flight::Outcome::Landed(entry)) if entry.satisfies::<K>(after) => {
                        return Ok((entry, "local"));
                    }
                    // Loading failed just now; that all who wait try it again, one after the other, would help nobody.
                    Ok(flight::Outcome::Crashed) | Err(_) => return Err(CacheOverloaded.into()),
                    // What came is too old for this request, or the request that loaded went away.
                    Ok(flight::Outcome::Landed(_) | flight::Outcome::Lost) => {}
                },
            }
        }
        self.fetch(key, &full_key, after, load).await
    }

    /// Asks Redis, then the source.
    async fn fetch<K, E, F, Fut>(
        &self,
        key: &K,
        full_key: &str,
        after: Option<Position>,
        load: F,
    ) -> Result<(Entry, &'static str), E>
    where
        K: Key,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<Loaded<K::Value>, E>>,
        E: From<CacheOverloaded>,
    {
        let policy = key.policy();
        // Redis may have missed a marker while it was away, and still have the old value.
        let after = match (after, self.inner.local.marked(full_key).await) {
            (Some(after), Some(marked)) => Some(after.newest(marked)),
            (after, marked) => after.or(marked),
        };
        let found = self
            .inner
            .remote
            .get::<K>(full_key)
            .await
            .filter(|fetched| fetched.entry.satisfies::<K>(after));
        let lock = match &found {
            Some(fetched) if !policy.is_due(fetched.entry.exists(), fetched.remaining) => {
                return Ok((self.keep_local(full_key, fetched, policy).await, "hit"));
            }
            // Due for a refresh: whoever gets the lock does it, all others go on with what is there.
            Some(_) => self.inner.remote.try_lock(full_key).await,
            None => match self.lock_or_value::<K>(full_key, after).await {
                Ok(lock) => lock,
                Err(fetched) => {
                    return Ok((self.keep_local(full_key, &fetched, policy).await, "hit"));
                }
            },
        };
        if let Some(fetched) = &found
            && lock.is_none()
        {
            return Ok((self.keep_local(full_key, fetched, policy).await, "hit"));
        }
        match (self.load(full_key, policy, lock, load).await, found) {
            (Ok(entry), _) => Ok((entry, "miss")),
            // The refresh failed, but what is there is still good.
            (Err(_), Some(fetched)) => Ok((self.keep_local(full_key, &fetched, policy).await, "hit")),
            (Err(error), None) => Err(error),
        }
    }

    /// Either the right to load a key (`None` if nobody can grant it, or the one who had it takes too long), or the value that another
    /// process has loaded meanwhile.
    async fn lock_or_value<K: Key>(
        &self,
        full_key: &str,
        after: Option<Position>,
    ) -> Result<Option<remote::Lock>, Fetched> {
        for _ in 0..LOCK_POLLS {
            if let Some(lock) = self.inner.remote.try_lock(full_key).await {
                return Ok(Some(lock));
            }
            if !self.inner.remote.usable() {
                break;
            }
            sleep(LOCK_POLL_INTERVAL).await;
            if let Some(fetched) = self.inner.remote.get::<K>(full_key).await
                && fetched.entry.satisfies::<K>(after)
            {
                return Err(fetched);
            }
        }
        Ok(None)
    }

    async fn load<V, E, F, Fut>(
        &self,
        full_key: &str,
        policy: Policy,
        lock: Option<remote::Lock>,
        load: F,
    ) -> Result<Entry, E>
    where
        V: serde::Serialize + Send + Sync + 'static,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<Loaded<V>, E>>,
        E: From<CacheOverloaded>,
    {
        let permit = timeout(LOAD_PERMIT_WAIT, self.inner.loads.acquire()).await;
        let Ok(Ok(_permit)) = permit else {
            metrics::counter!("cache_loads_refused_total").increment(1);
            self.inner.remote.unlock(lock).await;
            return Err(CacheOverloaded.into());
        };
        let loaded = match load().await {
            Ok(loaded) => loaded,
            Err(error) => {
                self.inner.remote.unlock(lock).await;
                return Err(error);
            }
        };
        let json = loaded
            .value
            .as_ref()
            .and_then(|value| serde_json::to_string(value).ok());
        let ttl = with_jitter(policy.ttl_of(loaded.value.is_some()), policy.jitter);
        let slot = loaded.value.map_or(Slot::Absent, |value| Slot::Value(Arc::new(value)));
        let entry = Entry::new(slot, loaded.position, policy.local_ttl.min(ttl));
        match self
            .inner
            .remote
            .store(full_key, json.as_deref(), loaded.position, ttl, lock)
            .await
        {
            Stored::Kept | Stored::Unreachable => self.inner.local.put(full_key, entry.clone()).await,
            Stored::TooOld => {
                metrics::counter!("cache_fills_refused_total").increment(1);
            }
        }
        Ok(entry)
    }

    async fn keep_local(&self, full_key: &str, fetched: &Fetched, policy: Policy) -> Entry {
        let entry = fetched
            .entry
            .clone()
            .living_for(policy.local_ttl.min(fetched.remaining));
        self.inner.local.put(full_key, entry.clone()).await;
        entry
    }

    fn full_key<K: Key>(&self, key: &K) -> String {
        format!("{}{}:{}", self.inner.key_prefix, K::NAMESPACE, key.id())
    }
}

/// Values that were stored together must not expire together.
fn with_jitter(ttl: Duration, jitter: f64) -> Duration {
    let jitter = jitter.clamp(0.0, 0.9);
    if jitter == 0.0 {
        ttl
    } else {
        ttl.mul_f64(rand::rng().random_range(1.0 - jitter..=1.0 + jitter))
    }
}
