//! What a customer's request has to pass before anything is done for it: the shop is open, and it doesn't ask too often.

use std::net::IpAddr;
use std::time::Instant;

use http::HeaderMap;
use http::header::{COOKIE, USER_AGENT};
use shop_front::neighbourhood;

use crate::forwarded::Hop;
use crate::live::Live;
use crate::rate_limit::{BucketKey, Rate, whole_seconds};
use crate::refusal::Refusal;
use crate::routes::Route;
use crate::{Shared, Side, client_address};

/// The cookie that names a session (see shop-web).
const SESSION_COOKIE: &str = "zillion_session";
/// 256 bits in base64url.
const SESSION_CHARACTERS: usize = 43;

/// The address of a customer. None for edges and services, which are never kept out.
pub(crate) fn customer(shared: &Shared, hop: Hop, headers: &HeaderMap) -> Option<IpAddr> {
    match (hop.side, hop.is_trusted) {
        (Side::Public, false) => Some(hop.peer.to_canonical()),
        (Side::Public, true) => Some(client_address::client_of(headers, hop.peer, &shared.trusted_proxies)),
        _ => None,
    }
}

/// During maintenance only those on the list are let in.
pub(crate) fn check_open(live: &Live, customer: Option<IpAddr>) -> Result<(), Refusal> {
    let (Some(maintenance), Some(customer)) = (&live.table.settings.maintenance, customer) else {
        return Ok(());
    };
    if client_address::is_in(&maintenance.allow, customer) {
        return Ok(());
    }
    Err(Refusal::Maintenance {
        message: maintenance.message.clone(),
        retry_after_seconds: maintenance.retry_after_s,
    })
}

/// A session has a bucket for each route, and an address two at most: one for all it asks, one for the route. Sessions
/// can be made up, addresses can't: whoever makes up sessions is still bound by those.
pub(crate) fn check_rates(
    shared: &Shared,
    live: &Live,
    route: &Route,
    customer: Option<IpAddr>,
    headers: &HeaderMap,
) -> Result<(), Refusal> {
    let Some(customer) = customer else {
        return Ok(());
    };
    let rates = &shared.rates;
    let mut now = None;
    let mut take = |key: BucketKey, rate: Rate| {
        let now = *now.get_or_insert_with(Instant::now);
        rates.take(key, rate, now).map_err(|wait| Refusal::TooManyRequests {
            retry_after_seconds: whole_seconds(wait),
        })
    };
    if let Some(rate) = live.table.settings.address_rate {
        take(rates.key("address", "", neighbourhood(customer)), rate)?;
    }
    if let Some(rate) = route.address_rate {
        take(rates.key("address", &route.name, neighbourhood(customer)), rate)?;
    }
    if let Some(rate) = route.session_rate
        && let Some(session) = session_of(headers)
    {
        take(rates.key("session", &route.name, session), rate)?;
    }
    Ok(())
}

/// The value of the session's cookie, if it can be one.
fn session_of(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    cookies
        .flat_map(|line| line.split(';'))
        .filter_map(|cookie| {
            cookie
                .trim_ascii_start()
                .strip_prefix(SESSION_COOKIE)?
                .strip_prefix('=')
        })
        .map(str::trim_ascii_end)
        .find(|value| {
            value.len() == SESSION_CHARACTERS
                && value
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        })
}

/// Whether a client calls itself a crawler; `tokens` are in lower case.
pub(crate) fn is_crawler(tokens: &[String], headers: &HeaderMap) -> bool {
    let Some(agent) = headers.get(USER_AGENT) else {
        return false;
    };
    let agent = agent.as_bytes().to_ascii_lowercase();
    tokens
        .iter()
        .any(|token| memchr::memmem::find(&agent, token.as_bytes()).is_some())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::HeaderName;

    use super::*;

    fn headers(name: &HeaderName, lines: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, HeaderValue::from_static(line));
        }
        headers
    }

    #[test]
    fn a_session_is_found_among_other_cookies_and_nonsense_is_none() {
        const ID: &str = "abcdefghijklmnopqrstuvwxyz0123456789-_ABCDE";
        let found = |lines: &[&'static str]| session_of(&headers(&COOKIE, lines)).map(str::to_owned);
        let line = "zp_users=1; zillion_session=abcdefghijklmnopqrstuvwxyz0123456789-_ABCDE; theme=dark";
        assert_eq!(found(&[line]).as_deref(), Some(ID));
        assert_eq!(found(&["a=b", line]).as_deref(), Some(ID));
        for nonsense in [
            "zillion_session=",
            "zillion_session=short",
            "xzillion_session=abcdefghijklmnopqrstuvwxyz0123456789-_ABCDE",
            "zillion_session=abcdefghijklmnopqrstuvwxyz0123456789-_ABC!E",
        ] {
            assert_eq!(found(&[nonsense]), None, "{nonsense}");
        }
    }

    #[test]
    fn crawlers_say_what_they_are() {
        let tokens = ["bot".to_owned(), "crawl".to_owned()];
        let says = |agent| is_crawler(&tokens, &headers(&USER_AGENT, &[agent]));
        assert!(says(
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
        ));
        assert!(says("SomeCrawler/1.0"));
        assert!(!says(
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
        ));
        assert!(!is_crawler(&tokens, &HeaderMap::new()));
    }
}
