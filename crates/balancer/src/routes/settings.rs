//! What a routes file says for all routes together.

use http::HeaderValue;
use ipnet::IpNet;
use serde::Deserialize;
use toml::Spanned;

use super::{Misplaced, RoutesFault};
use crate::client_address::{self, parse_network};
use crate::rate_limit::Rate;

/// A session is a person, or a program with an account: neither needs more, page views with all that they ask for
/// included.
const SESSION_PER_S_DEFAULT: f64 = 100.0;
const SESSION_BURST_DEFAULT: u32 = 200;
/// A ceiling far above what people need: many may share an address, and behind Docker's bridge everybody does.
const ADDRESS_PER_S_DEFAULT: f64 = 10_000.0;
const ADDRESS_BURST_DEFAULT: u32 = 20_000;
const PER_S_MAX: f64 = 1e6;
const RETRY_AFTER_S_DEFAULT: u32 = 60;
const MAINTENANCE_MESSAGE: &str = "We are rehanging the gallery, and will be back soon.";
/// For pages of services that say nothing themselves.
const CONTENT_SECURITY_POLICY_DEFAULT: &str =
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
/// What the names of most crawlers contain, in lower case.
const CRAWLERS_DEFAULT: [&str; 5] = ["bot", "crawl", "spider", "slurp", "facebookexternalhit"];

/// What holds for all routes.
#[derive(Debug)]
pub struct Settings {
    /// How often one session may ask one route that says nothing else.
    pub(crate) session_rate: Option<Rate>,
    /// How often one address may ask anything, all routes together.
    pub(crate) address_rate: Option<Rate>,
    /// Whether the shop is closed.
    pub maintenance: Option<Maintenance>,
    /// What is said to browsers.
    pub headers: Headers,
    /// Parts of a `User-Agent` by which crawlers are known, in lower case.
    pub crawlers: Vec<String>,
}

/// The shop is closed for a while.
#[derive(Clone, Debug)]
pub struct Maintenance {
    /// Told to people and programs.
    pub message: String,
    /// When they may ask again.
    pub retry_after_s: u32,
    /// Who is let in all the same.
    pub allow: Vec<IpNet>,
}

/// What is said to browsers, unless a service says it itself.
#[derive(Debug)]
pub struct Headers {
    /// For pages.
    pub content_security_policy: Option<HeaderValue>,
    /// Said over TLS only.
    pub strict_transport_security: Option<HeaderValue>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileRateLimits {
    session_per_s: Option<Spanned<f64>>,
    session_burst: Option<Spanned<u32>>,
    address_per_s: Option<Spanned<f64>>,
    address_burst: Option<Spanned<u32>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileMaintenance {
    #[serde(default)]
    on: bool,
    message: Option<String>,
    retry_after_s: Option<u32>,
    #[serde(default)]
    allow: Vec<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileHeaders {
    content_security_policy: Option<Spanned<String>>,
    #[serde(default)]
    hsts_max_age_s: u32,
}

impl Settings {
    pub(super) fn parse(
        rate_limits: FileRateLimits,
        maintenance: FileMaintenance,
        headers: FileHeaders,
        crawlers: Option<Vec<String>>,
    ) -> Result<Self, Misplaced> {
        let allow = maintenance.allow.into_iter().map(|network| {
            let at = network.span().start;
            parse_network(network.get_ref())
                .map_err(|client_address::BadNetwork(text)| RoutesFault::BadNetwork(text).at(at))
        });
        let allow = allow.collect::<Result<_, _>>()?;
        let maintenance = maintenance.on.then(|| Maintenance {
            message: maintenance.message.unwrap_or_else(|| MAINTENANCE_MESSAGE.to_owned()),
            retry_after_s: maintenance.retry_after_s.unwrap_or(RETRY_AFTER_S_DEFAULT),
            allow,
        });
        Ok(Self {
            session_rate: rate_of(rate_limits.session_per_s, rate_limits.session_burst)?
                .unwrap_or_else(|| Rate::new(SESSION_PER_S_DEFAULT, SESSION_BURST_DEFAULT)),
            address_rate: rate_of(rate_limits.address_per_s, rate_limits.address_burst)?
                .unwrap_or_else(|| Rate::new(ADDRESS_PER_S_DEFAULT, ADDRESS_BURST_DEFAULT)),
            maintenance,
            headers: parse_headers(headers)?,
            crawlers: crawlers.map_or_else(
                || CRAWLERS_DEFAULT.map(str::to_owned).to_vec(),
                |crawlers| crawlers.iter().map(|token| token.to_ascii_lowercase()).collect(),
            ),
        })
    }
}

fn parse_headers(headers: FileHeaders) -> Result<Headers, Misplaced> {
    let content_security_policy = match headers.content_security_policy {
        None => Some(HeaderValue::from_static(CONTENT_SECURITY_POLICY_DEFAULT)),
        Some(policy) if policy.get_ref().is_empty() => None,
        Some(policy) => {
            let at = policy.span().start;
            let value = HeaderValue::from_str(policy.get_ref());
            Some(value.map_err(|_| RoutesFault::BadHeader(policy.into_inner()).at(at))?)
        }
    };
    let max_age_s = headers.hsts_max_age_s;
    let strict_transport_security = (max_age_s > 0)
        .then(|| HeaderValue::from_str(&format!("max-age={max_age_s}")).ok())
        .flatten();
    Ok(Headers {
        content_security_policy,
        strict_transport_security,
    })
}

/// What the file says of a rate, if anything; `Some(None)` is no limit, a rate of 0. Without a burst it is what comes in two
/// seconds.
pub(super) fn rate_of(
    per_s: Option<Spanned<f64>>,
    burst: Option<Spanned<u32>>,
) -> Result<Option<Option<Rate>>, Misplaced> {
    let Some(per_s) = per_s else {
        return match burst {
            None => Ok(None),
            Some(burst) => Err(RoutesFault::BurstAlone.at(burst.span().start)),
        };
    };
    let rate = *per_s.get_ref();
    if !(0.0..=PER_S_MAX).contains(&rate) {
        return Err(RoutesFault::BadRate.at(per_s.span().start));
    }
    let burst = match burst {
        Some(burst) if *burst.get_ref() == 0 => return Err(RoutesFault::BadRate.at(burst.span().start)),
        Some(burst) => *burst.get_ref(),
        // At most two millions, at least one.
        None => (rate * 2.0).ceil().max(1.0) as u32,
    };
    Ok(Some(Rate::new(rate, burst)))
}
