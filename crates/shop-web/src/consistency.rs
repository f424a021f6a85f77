//! What a client has seen or written, so that it reads its own writes (I4).
//!
//! A browser carries the positions of its last writes for a minute, in one signed cookie for each cluster. Between services they
//! travel both ways in a header, which is believed only together with the internal token.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use cookie::{Cookie, SameSite};
use http::{HeaderMap, HeaderValue, header};
use shop_db::{Freshness, Position, Positions};

use crate::WebState;
use crate::context::{RequestContext, header_text};

/// Carries positions between services, in both directions.
pub(crate) const POSITIONS_HEADER: &str = "zillion-positions";
const COOKIE_PREFIX: &str = "zp_";
/// Longer than any replica that is in use lags.
const POSITION_TTL_SECONDS: u64 = 60;
/// However many cookies a client makes up, so many are looked at.
const COOKIES_MAX: usize = 64;

/// The positions of one request. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Consistency {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    seen: Positions,
    written: Positions,
}

impl Consistency {
    /// For work that belongs to no request, such as recovery.
    #[must_use]
    pub fn detached() -> Self {
        Self::default()
    }

    pub(crate) fn of_request(web: &WebState, context: &RequestContext, headers: &HeaderMap) -> Self {
        let consistency = Self::default();
        if context.internal {
            if let Some(positions) = header_text(headers, POSITIONS_HEADER) {
                consistency.merge_header(positions);
            }
            return consistency;
        }
        let now_unix = now_unix();
        let cookies = headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok());
        let mut shared = consistency.lock();
        for cookie in cookies.flat_map(Cookie::split_parse).flatten().take(COOKIES_MAX) {
            let Some(cluster) = cookie.name().strip_prefix(COOKIE_PREFIX) else {
                continue;
            };
            if let Some(position) = web.positions.verify(cluster, cookie.value(), now_unix) {
                shared.seen.add(cluster, position);
            }
        }
        drop(shared);
        consistency
    }

    /// How fresh a read for this request has to be.
    #[must_use]
    pub fn freshness(&self, cluster: &str) -> Freshness {
        self.after(cluster).map_or(Freshness::Any, Freshness::After)
    }

    /// The position that a read for this request must have seen.
    #[must_use]
    pub fn after(&self, cluster: &str) -> Option<Position> {
        self.lock().seen.get(cluster)
    }

    /// Notes a write of this request: its client will see it from now on.
    pub fn wrote(&self, cluster: &str, position: Position) {
        let mut shared = self.lock();
        shared.seen.add(cluster, position);
        shared.written.add(cluster, position);
    }

    /// What another service should have seen before it answers.
    pub(crate) fn to_header(&self) -> Option<HeaderValue> {
        header_of(&self.lock().seen)
    }

    /// Takes over what another service wrote for this request.
    pub(crate) fn wrote_header(&self, positions: &str) {
        if let Ok(positions) = positions.parse::<Positions>() {
            let mut shared = self.lock();
            shared.seen.merge(&positions);
            shared.written.merge(&positions);
        }
    }

    /// Tells the client what was written for it.
    pub(crate) fn put_into(&self, web: &WebState, context: &RequestContext, headers: &mut HeaderMap) {
        let shared = self.lock();
        if context.internal {
            if let Some(value) = header_of(&shared.written) {
                headers.insert(POSITIONS_HEADER, value);
            }
            return;
        }
        let expires_unix = now_unix() + POSITION_TTL_SECONDS;
        for (cluster, position) in shared.written.iter() {
            let value = web.positions.sign(cluster, position, expires_unix);
            let cookie = Cookie::build((format!("{COOKIE_PREFIX}{cluster}"), value))
                .path("/")
                .http_only(true)
                .same_site(SameSite::Lax)
                .secure(context.secure)
                .max_age(cookie::time::Duration::seconds(60));
            if let Ok(value) = HeaderValue::from_str(&cookie.to_string()) {
                headers.append(header::SET_COOKIE, value);
            }
        }
    }

    fn merge_header(&self, positions: &str) {
        if let Ok(positions) = positions.parse::<Positions>() {
            self.lock().seen.merge(&positions);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn header_of(positions: &Positions) -> Option<HeaderValue> {
    if positions.is_empty() {
        return None;
    }
    HeaderValue::from_str(&positions.to_string()).ok()
}

fn now_unix() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
