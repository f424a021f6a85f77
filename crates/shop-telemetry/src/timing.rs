//! What a request spent where, for its `Server-Timing` header.
//!
//! Libraries [`record`] a hop where they wait for somebody (a database, the cache); the web layer runs the request in
//! a [`scope`] and gets the hops. Work outside of a scope, such as a background task, records nothing.

use std::cell::RefCell;
use std::future::Future;
use std::time::Duration;

/// A header must stay small, however many queries a request makes.
const HOPS_MAX: usize = 32;

tokio::task_local! {
    static HOPS: RefCell<Vec<Hop>>;
}

/// One thing that a request waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The kind of thing: `db`, `cache`, or the name of a process kind.
    pub name: &'static str,
    /// Which one it was, or what it said: `postgres-3 replica 4ms`, `hit`.
    pub desc: String,
    /// How long it took.
    pub elapsed: Duration,
}

/// Runs `work` and returns the hops recorded in it, in order.
pub async fn scope<F: Future>(work: F) -> (F::Output, Vec<Hop>) {
    HOPS.scope(RefCell::new(Vec::new()), async {
        let output = work.await;
        (output, HOPS.with(RefCell::take))
    })
    .await
}

/// Notes a hop of the request that this task serves.
pub fn record(name: &'static str, desc: impl Into<String>, elapsed: Duration) {
    let desc = desc.into();
    // Outside of a scope there is no request that would want to know.
    let _ = HOPS.try_with(|hops| {
        let mut hops = hops.borrow_mut();
        if hops.len() < HOPS_MAX {
            hops.push(Hop { name, desc, elapsed });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hops_come_back_in_order_and_stay_in_their_scope() {
        record("db", "outside", Duration::ZERO);
        let (answer, hops) = scope(async {
            record("cache", "miss", Duration::from_millis(1));
            tokio::task::yield_now().await;
            let ((), inner) = scope(async { record("db", "inner", Duration::ZERO) }).await;
            assert_eq!(inner.len(), 1);
            record("db", "postgres-1 primary", Duration::from_millis(2));
            7
        })
        .await;
        assert_eq!(answer, 7);
        let names: Vec<_> = hops.iter().map(|hop| (hop.name, hop.desc.as_str())).collect();
        assert_eq!(names, [("cache", "miss"), ("db", "postgres-1 primary")]);
    }

    #[tokio::test]
    async fn a_request_with_countless_hops_keeps_the_first_ones() {
        let ((), hops) = scope(async {
            for number in 0..1000 {
                record("db", number.to_string(), Duration::ZERO);
            }
        })
        .await;
        assert_eq!(hops.len(), HOPS_MAX);
        assert_eq!(hops[0].desc, "0");
    }
}
