//! Both levels, with the testbed's Redis. `scripts/testbed up` starts it. Two caches with one prefix are two processes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use shop_cache::{Cache, CacheArgs, CacheOverloaded, Key, Loaded, Policy};
use shop_db::Position;
use tokio::sync::Notify;

struct Title(i64);

impl Key for Title {
    type Value = String;
    const NAMESPACE: &'static str = "title";
    fn id(&self) -> String {
        self.0.to_string()
    }
    fn policy(&self) -> Policy {
        Policy::new(Duration::from_secs(60))
    }
}

#[derive(Debug, PartialEq, thiserror::Error)]
enum Error {
    #[error("overloaded")]
    Overloaded,
    #[error("the source is away")]
    Source,
}

impl From<CacheOverloaded> for Error {
    fn from(_: CacheOverloaded) -> Self {
        Self::Overloaded
    }
}

/// A source that counts how often it is asked.
#[derive(Clone, Default)]
struct Source {
    loads: Arc<AtomicU32>,
}

impl Source {
    async fn load(&self, value: Option<&str>, lsn: u64) -> Result<Loaded<String>, Error> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(Loaded {
            value: value.map(ToOwned::to_owned),
            position: Some(at(lsn)),
        })
    }

    fn loads(&self) -> u32 {
        self.loads.load(Ordering::SeqCst)
    }
}

fn at(lsn: u64) -> Position {
    Position { timeline: 1, lsn }
}

fn redis_addr() -> String {
    let url = shop_testkit::cache_url();
    url.trim_start_matches("redis://").trim_end_matches('/').to_owned()
}

fn prefix() -> String {
    format!("{}:", shop_testkit::unique("test"))
}

fn two_processes() -> (Cache, Cache) {
    let args = CacheArgs::at(redis_addr(), prefix());
    (Cache::connect(&args), Cache::connect(&args))
}

async fn get(cache: &Cache, source: &Source, after: Option<u64>, value: &str, lsn: u64) -> Option<String> {
    cache
        .get(&Title(1), after.map(at), || source.load(Some(value), lsn))
        .await
        .expect("the source answers")
}

#[tokio::test]
async fn a_value_is_loaded_once_for_all_processes() {
    let (one, other) = two_processes();
    let source = Source::default();
    assert_eq!(get(&one, &source, None, "Quarry", 5).await.as_deref(), Some("Quarry"));
    assert_eq!(get(&one, &source, None, "?", 5).await.as_deref(), Some("Quarry"));
    assert_eq!(get(&other, &source, None, "?", 5).await.as_deref(), Some("Quarry"));
    assert_eq!(source.loads(), 1);
}

#[tokio::test]
async fn a_crowd_that_asks_at_once_makes_one_load() {
    let (one, other) = two_processes();
    let source = Source::default();
    let asks = (0..60).map(|turn| get(if turn % 2 == 0 { &one } else { &other }, &source, None, "Quarry", 5));
    let answers = futures::future::join_all(asks).await;
    assert!(answers.iter().all(|answer| answer.as_deref() == Some("Quarry")));
    assert_eq!(source.loads(), 1);
}

#[tokio::test]
async fn what_does_not_exist_is_remembered_too() {
    let (one, other) = two_processes();
    let source = Source::default();
    for cache in [&one, &one, &other] {
        let answer: Result<_, Error> = cache.get(&Title(1), None, || source.load(None, 5)).await;
        assert_eq!(answer, Ok(None));
    }
    assert_eq!(source.loads(), 1);
}

#[tokio::test]
async fn an_update_cannot_be_undone_by_a_slow_load() {
    let (one, other) = two_processes();
    let source = Source::default();
    get(&one, &source, None, "old", 5).await;
    one.invalidate(&Title(1), at(10)).await;
    // A replica that lags, or a load that began before the update: used once, and not kept.
    assert_eq!(get(&one, &source, None, "old", 9).await.as_deref(), Some("old"));
    assert_eq!(get(&one, &source, None, "new", 10).await.as_deref(), Some("new"));
    assert_eq!(get(&one, &source, None, "old", 9).await.as_deref(), Some("new"));
    assert_eq!(get(&other, &source, None, "old", 9).await.as_deref(), Some("new"));
    assert_eq!(source.loads(), 3);
}

#[tokio::test]
async fn who_has_seen_a_write_is_not_shown_what_is_older() {
    let (one, _) = two_processes();
    let source = Source::default();
    get(&one, &source, None, "old", 5).await;
    assert_eq!(get(&one, &source, Some(5), "?", 0).await.as_deref(), Some("old"));
    assert_eq!(get(&one, &source, Some(8), "new", 8).await.as_deref(), Some("new"));
    assert_eq!(get(&one, &source, None, "?", 0).await.as_deref(), Some("new"));
    assert_eq!(source.loads(), 2);
}

#[tokio::test]
async fn a_failed_load_is_told_and_not_remembered() {
    let (one, _) = two_processes();
    let failed: Result<Option<String>, Error> = one.get(&Title(1), None, async || Err(Error::Source)).await;
    assert_eq!(failed, Err(Error::Source));
    let source = Source::default();
    assert_eq!(get(&one, &source, None, "Quarry", 5).await.as_deref(), Some("Quarry"));
}

#[tokio::test]
async fn a_load_whose_request_goes_away_does_not_hold_up_the_others() {
    let (one, _) = two_processes();
    let begun = Arc::new(Notify::new());
    let gone = tokio::spawn({
        let (cache, begun) = (one.clone(), begun.clone());
        async move {
            let load = async || {
                begun.notify_one();
                std::future::pending::<Result<Loaded<String>, Error>>().await
            };
            cache.get(&Title(1), None, load).await
        }
    });
    begun.notified().await;
    let source = Source::default();
    let waiting = get(&one, &source, None, "Quarry", 5);
    gone.abort();
    assert_eq!(waiting.await.as_deref(), Some("Quarry"));
}

#[tokio::test]
async fn without_redis_the_first_level_carries_on() {
    let cache = Cache::connect(&CacheArgs::at("127.0.0.1:1", prefix()));
    let source = Source::default();
    for _ in 0..3 {
        assert_eq!(get(&cache, &source, None, "Quarry", 5).await.as_deref(), Some("Quarry"));
    }
    assert_eq!(source.loads(), 1);
    cache.invalidate(&Title(1), at(6)).await;
    assert_eq!(
        get(&cache, &source, None, "Quarry II", 6).await.as_deref(),
        Some("Quarry II")
    );
}

#[tokio::test]
async fn without_redis_the_database_is_not_asked_by_everybody_at_once() {
    let mut args = CacheArgs::at("127.0.0.1:1", prefix());
    args.cache_loads_max = 2;
    let cache = Cache::connect(&args);
    let stuck: Vec<_> = (1..=2)
        .map(|id| {
            let cache = cache.clone();
            tokio::spawn(async move {
                cache
                    .get(&Title(id), None, std::future::pending::<Result<Loaded<String>, Error>>)
                    .await
            })
        })
        .collect();
    tokio::task::yield_now().await;
    let source = Source::default();
    let refused: Result<Option<String>, Error> = cache.get(&Title(3), None, || source.load(Some("?"), 5)).await;
    assert_eq!(refused, Err(Error::Overloaded));
    assert_eq!(source.loads(), 0);
    for task in stuck {
        task.abort();
    }
}
