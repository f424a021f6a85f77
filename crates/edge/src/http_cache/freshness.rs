//! May a response be stored, for how long is it fresh, and may it be used after that (RFC 9111 sections 3 and 4,
//! RFC 5861).

use http::header::{AGE, CONTENT_RANGE, DATE, ETAG, EXPIRES, LAST_MODIFIED, SET_COOKIE, VARY};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use super::cache_control::CacheControl;
use super::{UnixSeconds, header_text, parse_http_date};

/// Why a response was not stored. Each is counted by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NotStored {
    /// `Cache-Control: no-store`.
    #[error("no-store")]
    NoStore,
    /// `Cache-Control: private`.
    #[error("private")]
    Private,
    /// It sets a cookie, so it is meant for one visitor.
    #[error("set-cookie")]
    SetCookie,
    /// Its status is not one that a cache understands.
    #[error("status")]
    Status,
    /// It is a part of something.
    #[error("partial")]
    Partial,
    /// It says neither how long it lasts nor how to ask whether it still does; nothing is guessed here.
    #[error("no-lifetime")]
    NoLifetime,
    /// It varies by something that is not part of a cache key here.
    #[error("vary")]
    Vary,
    /// It is larger than an object may be.
    #[error("too-large")]
    TooLarge,
    /// Too many bytes are on their way from the origin already.
    #[error("no-room")]
    NoRoom,
    /// It was purged while it arrived.
    #[error("purged")]
    Purged,
    /// The disk refused it.
    #[error("disk")]
    Disk,
}

impl NotStored {
    /// The reason's name in metrics and in `Cache-Status`.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::SetCookie => "set-cookie",
            Self::Status => "status",
            Self::Partial => "partial",
            Self::NoLifetime => "no-lifetime",
            Self::Vary => "vary",
            Self::TooLarge => "too-large",
            Self::NoRoom => "no-room",
            Self::Purged => "purged",
            Self::Disk => "disk",
        }
    }
}

/// How long a stored response may be used, fixed when it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifetime {
    /// When it arrived here.
    pub received: UnixSeconds,
    /// How old it was then.
    pub initial_age_seconds: u64,
    /// From what age on it is stale.
    pub fresh_seconds: u64,
    /// For how long after that it may be served while it is being fetched anew.
    pub stale_while_revalidate_seconds: u64,
    /// For how long after that it may be served when the origin fails, if the origin said so.
    pub stale_if_error_seconds: Option<u64>,
    /// The origin forbids any use of it when stale (`must-revalidate`, `proxy-revalidate`, `no-cache`, or `s-maxage`
    /// with no word on how long it may be stale).
    pub never_stale: bool,
}

/// What a stored response is good for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// To be served as it is, for this many seconds.
    Fresh {
        /// What is left of its lifetime.
        ttl_seconds: u64,
    },
    /// To be asked about.
    Stale {
        /// For how long it has been stale.
        by_seconds: u64,
    },
}

/// How the origin failed: it makes a difference for what may be served instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginFailure {
    /// It answered with a server error.
    Status,
    /// It did not answer at all.
    Unreachable,
}

/// Decides whether a shared cache may keep this response to a GET, and for how long.
pub fn judge(status: StatusCode, headers: &HeaderMap, now: UnixSeconds) -> Result<Lifetime, NotStored> {
    let control = CacheControl::of(headers);
    if control.no_store {
        return Err(NotStored::NoStore);
    }
    if control.private {
        return Err(NotStored::Private);
    }
    if headers.contains_key(SET_COOKIE) {
        return Err(NotStored::SetCookie);
    }
    if status == StatusCode::PARTIAL_CONTENT || headers.contains_key(CONTENT_RANGE) {
        return Err(NotStored::Partial);
    }
    let explicit = explicit_lifetime(control, headers, now);
    let has_validator = headers.contains_key(ETAG) || headers.contains_key(LAST_MODIFIED);
    match status.as_u16() {
        200 | 203 => {
            if explicit.is_none() && !has_validator {
                return Err(NotStored::NoLifetime);
            }
        }
        // Redirections and "there is nothing" are kept only if the origin says for how long.
        301 | 302 | 307 | 308 | 404 | 410 => {
            if explicit.is_none_or(|seconds| seconds == 0) {
                return Err(NotStored::Status);
            }
        }
        _ => return Err(NotStored::Status),
    }
    if headers
        .get_all(VARY)
        .iter()
        .any(|value| value.as_bytes().contains(&b'*'))
    {
        return Err(NotStored::Vary);
    }
    // s-maxage implies proxy-revalidate (RFC 9111 section 5.2.2.10), unless the origin says that it may be stale.
    let stale_is_foreseen = control.stale_if_error.is_some() || control.stale_while_revalidate.is_some();
    let implies_revalidate = control.s_maxage.is_some() && !stale_is_foreseen;
    let fresh_seconds = if control.no_cache { 0 } else { explicit.unwrap_or(0) };
    Ok(Lifetime {
        received: now,
        initial_age_seconds: initial_age(headers, now),
        fresh_seconds,
        stale_while_revalidate_seconds: control.stale_while_revalidate.unwrap_or(0),
        stale_if_error_seconds: control.stale_if_error,
        never_stale: control.must_revalidate || control.proxy_revalidate || control.no_cache || implies_revalidate,
    })
}

/// What the origin said about the lifetime, in the order of RFC 9111 section 4.2.1. No heuristics: an origin that
/// says nothing is asked each time.
fn explicit_lifetime(control: CacheControl, headers: &HeaderMap, now: UnixSeconds) -> Option<u64> {
    if let Some(seconds) = control.s_maxage.or(control.max_age) {
        return Some(seconds);
    }
    let expires = headers.get(EXPIRES)?;
    // An invalid date, "0" above all, means that it has expired already.
    let expires = expires.to_str().ok().and_then(parse_http_date).unwrap_or(0);
    let date = header_text(headers, &DATE).and_then(parse_http_date).unwrap_or(now);
    Some(expires.saturating_sub(date))
}

/// RFC 9111 section 4.2.3, without the response delay: the few milliseconds to the origin are below a second.
fn initial_age(headers: &HeaderMap, now: UnixSeconds) -> u64 {
    let age = header_text(headers, &AGE)
        .and_then(|value| value.trim().parse::<u64>().ok())
        .unwrap_or(0);
    let date = header_text(headers, &DATE).and_then(parse_http_date).unwrap_or(now);
    age.max(now.saturating_sub(date))
}

impl Lifetime {
    /// The response's age now, as the `Age` header gives it.
    pub fn age_seconds(&self, now: UnixSeconds) -> u64 {
        self.initial_age_seconds
            .saturating_add(now.saturating_sub(self.received))
    }

    /// Fresh or stale, and by how much.
    pub fn freshness(&self, now: UnixSeconds) -> Freshness {
        let age = self.age_seconds(now);
        if age < self.fresh_seconds {
            Freshness::Fresh {
                ttl_seconds: self.fresh_seconds - age,
            }
        } else {
            Freshness::Stale {
                by_seconds: age - self.fresh_seconds,
            }
        }
    }

    /// Whether it may be served stale while it is fetched anew.
    pub fn usable_while_revalidating(&self, now: UnixSeconds) -> bool {
        match self.freshness(now) {
            Freshness::Fresh { .. } => true,
            Freshness::Stale { by_seconds } => !self.never_stale && by_seconds < self.stale_while_revalidate_seconds,
        }
    }

    /// Whether it may be served stale because the origin failed. An unreachable origin excuses more than a failing
    /// one (RFC 9111 section 4.2.4): then `default_seconds` counts where the origin has set no limit.
    pub fn usable_on_error(&self, failure: OriginFailure, default_seconds: u64, now: UnixSeconds) -> bool {
        let Freshness::Stale { by_seconds } = self.freshness(now) else {
            return true;
        };
        let limit = match (self.stale_if_error_seconds, failure) {
            (Some(seconds), _) => seconds,
            (None, OriginFailure::Unreachable) => default_seconds,
            (None, OriginFailure::Status) => 0,
        };
        !self.never_stale && by_seconds < limit
    }
}

#[cfg(test)]
mod tests {
    use http::header::{CACHE_CONTROL, HeaderName};

    use super::*;

    const NOW: UnixSeconds = 1_800_000_000;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect()
    }

    fn judge_ok(pairs: &[(HeaderName, &str)]) -> Result<Lifetime, NotStored> {
        judge(StatusCode::OK, &headers(pairs), NOW)
    }

    #[test]
    fn a_shared_lifetime_is_stronger_than_a_private_one_and_both_than_a_date() {
        let expires = (EXPIRES, "Fri, 15 Jan 2027 09:00:00 GMT");
        let all = judge_ok(&[(CACHE_CONTROL, "max-age=10, s-maxage=20"), expires.clone()]).unwrap();
        assert_eq!(all.fresh_seconds, 20);
        let two = judge_ok(&[(CACHE_CONTROL, "max-age=10"), expires.clone()]).unwrap();
        assert_eq!(two.fresh_seconds, 10);
        let date = (DATE, "Fri, 15 Jan 2027 08:59:00 GMT");
        assert_eq!(judge_ok(&[expires, date]).unwrap().fresh_seconds, 60);
    }

    #[test]
    fn an_expiry_that_is_no_date_has_passed() {
        let lifetime = judge_ok(&[(EXPIRES, "0"), (ETAG, "\"a\"")]).unwrap();
        assert_eq!(lifetime.freshness(NOW), Freshness::Stale { by_seconds: 0 });
    }

    #[test]
    fn what_was_meant_for_one_visitor_is_refused_by_name() {
        let fresh = "max-age=60";
        let refused = |pairs: &[(HeaderName, &str)]| judge_ok(pairs).unwrap_err();
        assert_eq!(refused(&[(CACHE_CONTROL, "no-store, max-age=60")]), NotStored::NoStore);
        assert_eq!(refused(&[(CACHE_CONTROL, "private, max-age=60")]), NotStored::Private);
        assert_eq!(
            refused(&[(CACHE_CONTROL, fresh), (SET_COOKIE, "a=b")]),
            NotStored::SetCookie
        );
        assert_eq!(refused(&[(CACHE_CONTROL, fresh), (VARY, "accept, *")]), NotStored::Vary);
        assert_eq!(
            refused(&[(CACHE_CONTROL, fresh), (CONTENT_RANGE, "bytes 0-1/2")]),
            NotStored::Partial
        );
    }

    #[test]
    fn nothing_is_guessed_about_a_response_that_says_nothing() {
        assert_eq!(judge_ok(&[]).unwrap_err(), NotStored::NoLifetime);
        let validated = judge_ok(&[(LAST_MODIFIED, "Fri, 15 Jan 2020 08:00:00 GMT")]).unwrap();
        assert_eq!(validated.freshness(NOW), Freshness::Stale { by_seconds: 0 });
    }

    #[test]
    fn a_missing_photo_is_remembered_only_for_as_long_as_the_origin_says() {
        let missing = |control| judge(StatusCode::NOT_FOUND, &headers(&[(CACHE_CONTROL, control)]), NOW);
        assert_eq!(missing("public").unwrap_err(), NotStored::Status);
        assert_eq!(missing("max-age=0").unwrap_err(), NotStored::Status);
        assert_eq!(missing("max-age=5").unwrap().fresh_seconds, 5);
        let error = judge(
            StatusCode::SERVICE_UNAVAILABLE,
            &headers(&[(CACHE_CONTROL, "max-age=5")]),
            NOW,
        );
        assert_eq!(error.unwrap_err(), NotStored::Status);
    }

    #[test]
    fn age_counts_the_time_in_other_caches_and_here() {
        let date = (DATE, "Fri, 15 Jan 2027 07:59:30 GMT");
        let lifetime = judge_ok(&[(CACHE_CONTROL, "max-age=100"), (AGE, "40"), date.clone()]).unwrap();
        assert_eq!(lifetime.age_seconds(NOW + 5), 45);
        assert_eq!(lifetime.freshness(NOW + 5), Freshness::Fresh { ttl_seconds: 55 });
        let without_age = judge_ok(&[(CACHE_CONTROL, "max-age=100"), date]).unwrap();
        assert_eq!(without_age.age_seconds(NOW), 30);
    }

    #[test]
    fn a_clock_that_went_back_makes_nothing_older() {
        let lifetime = judge_ok(&[(CACHE_CONTROL, "max-age=100")]).unwrap();
        assert_eq!(lifetime.age_seconds(NOW - 1000), 0);
    }

    #[test]
    fn stale_use_ends_where_its_window_ends() {
        let control = "max-age=10, stale-while-revalidate=20, stale-if-error=30";
        let lifetime = judge_ok(&[(CACHE_CONTROL, control)]).unwrap();
        assert!(lifetime.usable_while_revalidating(NOW + 29));
        assert!(!lifetime.usable_while_revalidating(NOW + 30));
        assert!(lifetime.usable_on_error(OriginFailure::Status, 0, NOW + 39));
        assert!(!lifetime.usable_on_error(OriginFailure::Status, 1000, NOW + 40));
    }

    #[test]
    fn only_an_unreachable_origin_excuses_what_the_origin_did_not_allow() {
        let lifetime = judge_ok(&[(CACHE_CONTROL, "max-age=10")]).unwrap();
        assert!(!lifetime.usable_on_error(OriginFailure::Status, 100, NOW + 11));
        assert!(lifetime.usable_on_error(OriginFailure::Unreachable, 100, NOW + 11));
        assert!(!lifetime.usable_on_error(OriginFailure::Unreachable, 100, NOW + 111));
    }

    #[test]
    fn a_shared_lifetime_is_to_be_kept_unless_the_origin_foresees_stale_use() {
        let strict = judge_ok(&[(CACHE_CONTROL, "s-maxage=10")]).unwrap();
        assert!(!strict.usable_on_error(OriginFailure::Unreachable, 100, NOW + 11));
        let lenient = judge_ok(&[(CACHE_CONTROL, "s-maxage=10, stale-if-error=100")]).unwrap();
        assert!(lenient.usable_on_error(OriginFailure::Unreachable, 100, NOW + 11));
        let private_too = judge_ok(&[(CACHE_CONTROL, "max-age=10")]).unwrap();
        assert!(private_too.usable_on_error(OriginFailure::Unreachable, 100, NOW + 11));
    }

    #[test]
    fn nothing_excuses_stale_use_where_the_origin_forbids_it() {
        for control in [
            "max-age=1, must-revalidate",
            "s-maxage=1, proxy-revalidate",
            "no-cache, max-age=1",
        ] {
            let control = format!("{control}, stale-while-revalidate=60, stale-if-error=60");
            let lifetime = judge_ok(&[(CACHE_CONTROL, &control)]).unwrap();
            assert!(!lifetime.usable_while_revalidating(NOW + 5), "{control}");
            assert!(
                !lifetime.usable_on_error(OriginFailure::Unreachable, 60, NOW + 5),
                "{control}"
            );
        }
    }
}
