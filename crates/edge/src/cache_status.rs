//! What the cache did about a request: for the `Cache-Status` header (RFC 9211), `Server-Timing`, metrics and the log.

use std::fmt::Write as _;

use http::StatusCode;

use crate::http_cache::freshness::NotStored;

/// How a request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheStatus {
    /// From the cache.
    Hit {
        /// What is left of its lifetime; below zero while something stale is served and fetched anew.
        ttl_seconds: i64,
    },
    /// From the cache, after the origin has said that it is still right.
    Revalidated {
        /// The new lifetime.
        ttl_seconds: i64,
        /// Somebody else's request was joined.
        collapsed: bool,
    },
    /// By the origin, and stored.
    Miss {
        /// What made it a miss.
        why: Forward,
        /// What the origin answered.
        status: StatusCode,
        /// Somebody else's request was joined.
        collapsed: bool,
    },
    /// By something stale, because the origin failed.
    StaleOnError {
        /// Its lifetime: below zero.
        ttl_seconds: i64,
        /// What the origin answered, if it did.
        status: Option<StatusCode>,
    },
    /// By the origin, and not stored.
    Pass {
        /// What made it a miss.
        why: Forward,
        /// What the origin answered.
        status: StatusCode,
        /// Why it is not stored.
        reason: Option<NotStored>,
    },
    /// By an error: the origin failed and nothing could stand in for it.
    Error {
        /// What made it a miss.
        why: Forward,
        /// What the origin answered, if it did.
        status: Option<StatusCode>,
    },
    /// The client wanted nothing that is not in the cache.
    OnlyIfCached,
    /// By a refusal: the cache was not asked.
    Refused,
}

/// Why a request went to the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// Nothing is stored for the URL.
    UriMiss,
    /// Other variants are stored.
    VaryMiss,
    /// What is stored is stale.
    Stale,
}

impl Forward {
    fn name(self) -> &'static str {
        match self {
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Stale => "stale",
        }
    }
}

impl CacheStatus {
    /// All that [`CacheStatus::word`] may say.
    pub const WORDS: [&'static str; 9] = [
        "hit",
        "stale",
        "revalidated",
        "miss",
        "collapsed",
        "stale-if-error",
        "pass",
        "error",
        "refused",
    ];

    /// One word: the `cache` entry of `Server-Timing`, a metric's label, a field of the log.
    pub fn word(self) -> &'static str {
        Self::WORDS[self.position()]
    }

    /// The word's position among [`CacheStatus::WORDS`].
    pub fn position(self) -> usize {
        match self {
            Self::Hit { ttl_seconds } if ttl_seconds > 0 => 0,
            Self::Hit { .. } => 1,
            Self::Revalidated { .. } => 2,
            Self::Miss { collapsed, .. } => 3 + usize::from(collapsed),
            Self::StaleOnError { .. } => 5,
            Self::Pass { .. } => 6,
            Self::Error { .. } | Self::OnlyIfCached => 7,
            Self::Refused => 8,
        }
    }

    /// The value of `Cache-Status`.
    pub fn header(self, instance: &str) -> String {
        let mut text = instance.to_owned();
        let status_text = |text: &mut String, status: Option<StatusCode>| {
            if let Some(status) = status {
                let _ = write!(text, "; fwd-status={}", status.as_u16());
            }
        };
        match self {
            Self::Hit { ttl_seconds } => {
                let _ = write!(text, "; hit; ttl={ttl_seconds}");
            }
            Self::Revalidated { ttl_seconds, collapsed } => {
                let _ = write!(text, "; fwd=stale; fwd-status=304; ttl={ttl_seconds}; stored");
                text.push_str(if collapsed { "; collapsed" } else { "" });
            }
            Self::Miss { why, status, collapsed } => {
                let _ = write!(text, "; fwd={}", why.name());
                status_text(&mut text, Some(status));
                text.push_str("; stored");
                text.push_str(if collapsed { "; collapsed" } else { "" });
            }
            Self::StaleOnError { ttl_seconds, status } => {
                text.push_str("; fwd=stale");
                status_text(&mut text, status);
                let _ = write!(text, "; ttl={ttl_seconds}; detail=stale-if-error");
            }
            Self::Pass { why, status, reason } => {
                let _ = write!(text, "; fwd={}", why.name());
                status_text(&mut text, Some(status));
                if let Some(reason) = reason {
                    let _ = write!(text, "; detail={}", reason.name());
                }
            }
            Self::Error { why, status } => {
                let _ = write!(text, "; fwd={}", why.name());
                status_text(&mut text, status);
                text.push_str("; detail=origin-failed");
            }
            Self::OnlyIfCached => text.push_str("; detail=only-if-cached"),
            Self::Refused => text.push_str("; detail=refused"),
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_says_what_happened_in_the_words_of_the_rfc() {
        let header = |status: CacheStatus| status.header("edge-1");
        assert_eq!(header(CacheStatus::Hit { ttl_seconds: 30 }), "edge-1; hit; ttl=30");
        let miss = CacheStatus::Miss {
            why: Forward::UriMiss,
            status: StatusCode::OK,
            collapsed: true,
        };
        assert_eq!(header(miss), "edge-1; fwd=uri-miss; fwd-status=200; stored; collapsed");
        let stale = CacheStatus::StaleOnError {
            ttl_seconds: -5,
            status: None,
        };
        assert_eq!(header(stale), "edge-1; fwd=stale; ttl=-5; detail=stale-if-error");
        let pass = CacheStatus::Pass {
            why: Forward::VaryMiss,
            status: StatusCode::NOT_FOUND,
            reason: Some(NotStored::Status),
        };
        assert_eq!(header(pass), "edge-1; fwd=vary-miss; fwd-status=404; detail=status");
    }

    #[test]
    fn something_stale_is_never_called_a_hit_in_the_metrics() {
        assert_eq!(CacheStatus::Hit { ttl_seconds: 1 }.word(), "hit");
        assert_eq!(CacheStatus::Hit { ttl_seconds: 0 }.word(), "stale");
    }
}
