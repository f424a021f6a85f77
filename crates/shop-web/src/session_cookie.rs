//! The cookie that opens a session.

use std::sync::{Arc, Mutex, PoisonError};

use cookie::{Cookie, SameSite};
use http::{HeaderMap, HeaderValue, header};
use shop_session::{SessionId, TTL_SECONDS};

use crate::context::RequestContext;

/// Its name.
const NAME: &str = "zillion_session";

/// The session id that a request brought, if any.
pub(crate) fn of(headers: &HeaderMap) -> Option<SessionId> {
    let cookies = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    cookies
        .flat_map(Cookie::split_parse)
        .flatten()
        .filter(|cookie| cookie.name() == NAME)
        .find_map(|cookie| cookie.value().parse().ok())
}

/// Changes the client's session cookie with the answer to this request. An extractor; clones share it.
#[derive(Clone, Debug, Default)]
pub struct SessionCookie {
    change: Arc<Mutex<Option<Change>>>,
}

#[derive(Debug)]
enum Change {
    Set(SessionId),
    Clear,
}

impl SessionCookie {
    /// From now on the client uses this session.
    pub fn set(&self, id: SessionId) {
        *self.change.lock().unwrap_or_else(PoisonError::into_inner) = Some(Change::Set(id));
    }

    /// From now on the client has none.
    pub fn clear(&self) {
        *self.change.lock().unwrap_or_else(PoisonError::into_inner) = Some(Change::Clear);
    }

    pub(crate) fn put_into(&self, context: &RequestContext, headers: &mut HeaderMap) {
        let change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let (value, max_age_seconds) = match &*change {
            Some(Change::Set(id)) => (id.to_cookie(), TTL_SECONDS),
            Some(Change::Clear) => (String::new(), 0),
            None => return,
        };
        let cookie = Cookie::build((NAME, value))
            .path("/")
            .http_only(true)
            .same_site(SameSite::Lax)
            .secure(context.secure)
            .max_age(cookie::time::Duration::seconds(max_age_seconds));
        if let Ok(value) = HeaderValue::from_str(&cookie.to_string()) {
            headers.append(header::SET_COOKIE, value);
        }
    }
}
