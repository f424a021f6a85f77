//! What is counted for each request. The handles are fetched once: looking them up by name and labels each time would
//! be a good part of what a hit costs.

use std::time::Duration;

use http::StatusCode;
use metrics::{Counter, Histogram};

use crate::cache_status::CacheStatus;

const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// The handles, for each word of [`CacheStatus::WORDS`].
pub struct RequestMetrics(Vec<OfWord>);

struct OfWord {
    requests: [Counter; CLASSES.len()],
    bytes: Counter,
    seconds: Histogram,
}

impl RequestMetrics {
    /// Registers all of them, so that they can be seen before anything has happened.
    pub fn new() -> Self {
        let of_word = |word: &'static str| OfWord {
            requests: CLASSES.map(|class| metrics::counter!("edge_requests_total", "cache" => word, "class" => class)),
            bytes: metrics::counter!("edge_response_bytes_total", "cache" => word),
            seconds: metrics::histogram!("edge_request_seconds", "cache" => word),
        };
        Self(CacheStatus::WORDS.into_iter().map(of_word).collect())
    }

    /// Counts a request.
    pub fn record(&self, cache: CacheStatus, status: StatusCode, body_bytes: u64, elapsed: Duration) {
        let Some(of_word) = self.0.get(cache.position()) else {
            return;
        };
        let class = match status.as_u16() {
            200..=299 => 0,
            300..=399 => 1,
            400..=499 => 2,
            _ => 3,
        };
        of_word.requests[class].increment(1);
        of_word.bytes.increment(body_bytes);
        of_word.seconds.record(elapsed.as_secs_f64());
    }
}

impl Default for RequestMetrics {
    fn default() -> Self {
        Self::new()
    }
}
