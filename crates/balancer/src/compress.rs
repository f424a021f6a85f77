//! Answers made smaller on their way to customers.
//!
//! Only public ones: the edge asks for what it stores as it is, and services among themselves have no slow lines. What
//! could give a secret away by its length (BREACH) is left alone: answers that set a cookie, and routes that say
//! `compress = false`. Pages of the shop carry no token that gives anybody power (forgery is refused by origin).
//!
//! A process compresses no more than a few answers at a time, so that memory is bounded, and none when it is short of
//! time. What has been compressed goes out when there is enough of it, or when the backend pauses.

mod body;
mod encoder;

use std::sync::atomic::Ordering::Relaxed;

use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    SET_COOKIE, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, request, response};
use http_body::SizeHint;

pub(crate) use self::body::FrontBody;
use self::encoder::Encoder;
pub(crate) use self::encoder::Encoders;
use crate::Side;
use crate::exchange::Exchange;
use crate::headers::{elements, lists};
use crate::worker::Worker;

/// Less is in the same packet either way.
const BYTES_MIN: u64 = 1024;

/// Hashes of what would be sent, which would be wrong afterwards.
const DIGESTS: [HeaderName; 3] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
];

/// How an answer can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Zstd,
    Brotli,
    Gzip,
}

impl Coding {
    /// The cheapest first, for the same gain.
    const ALL: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }
}

/// What a client would take. Whether it gets that is decided when the answer is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    coding: Option<Coding>,
    has_body: bool,
}

/// None where nothing is ever compressed.
pub(crate) fn wanted(side: Side, parts: &request::Parts) -> Option<Wanted> {
    (side == Side::Public).then(|| Wanted {
        coding: negotiate(&parts.headers),
        has_body: parts.method != Method::HEAD,
    })
}

impl Wanted {
    /// Makes the head that of a compressed answer, and gives the encoder for its body; or leaves it as it is.
    pub(crate) fn prepare(
        self,
        worker: &Worker,
        exchange: &Exchange,
        parts: &mut response::Parts,
        body: &SizeHint,
    ) -> Option<Encoder> {
        let route = exchange.route.map(|route| &exchange.live.table.routes[route]);
        let declared_bytes = match parts.headers.get(CONTENT_LENGTH) {
            Some(length) => length.to_str().ok().and_then(|length| length.parse().ok()),
            None => body.exact(),
        };
        if !route.is_some_and(|route| route.compress) || !is_compressible(parts, declared_bytes) {
            return None;
        }
        // Also where this client gets it as it is: caches must know that others don't.
        add_vary(&mut parts.headers);
        let shared = &worker.shared;
        let coding = self.coding?;
        let encoder = if self.has_body {
            if exchange.is_under_pressure() {
                return None;
            }
            let encoder = Encoder::begin(coding, &shared.encoders)?;
            shared.stats.compressed.fetch_add(1, Relaxed);
            Some(encoder)
        } else {
            None
        };
        transform(&mut parts.headers, coding);
        encoder
    }
}

/// The coding that the client likes best, ours first among equals.
fn negotiate(headers: &HeaderMap) -> Option<Coding> {
    let mut weights: [Option<f32>; 3] = [None; 3];
    let (mut identity, mut others) = (None, None);
    for item in elements(headers, &ACCEPT_ENCODING) {
        let mut parts = item.split(';');
        let name = parts.next().unwrap_or_default().trim();
        let weight = parts.find_map(weight_of).unwrap_or(1.0);
        let known = Coding::ALL
            .iter()
            .position(|coding| name.eq_ignore_ascii_case(coding.name()));
        match known {
            Some(index) => weights[index] = Some(weight),
            None if name.eq_ignore_ascii_case("x-gzip") => weights[2] = Some(weight),
            None if name.eq_ignore_ascii_case("identity") => identity = Some(weight),
            None if name == "*" => others = Some(weight),
            None => {}
        }
    }
    let mut best = None;
    let mut best_weight = identity.unwrap_or(0.0);
    for (coding, weight) in Coding::ALL.into_iter().zip(weights) {
        let weight = weight.or(others).unwrap_or(0.0);
        let is_better = weight > best_weight || (best.is_none() && weight > 0.0 && weight >= best_weight);
        if is_better {
            best = Some(coding);
            best_weight = weight;
        }
    }
    best
}

/// What can't be read as a weight refuses the coding.
fn weight_of(parameter: &str) -> Option<f32> {
    let (name, value) = parameter.split_once('=')?;
    name.trim().eq_ignore_ascii_case("q").then(|| {
        value
            .trim()
            .parse()
            .ok()
            .filter(|weight| (0.0..=1.0).contains(weight))
            .unwrap_or(0.0)
    })
}

fn is_compressible(parts: &response::Parts, declared_bytes: Option<u64>) -> bool {
    let headers = &parts.headers;
    let may_have_body = !matches!(
        parts.status,
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED
    ) && !parts.status.is_informational();
    may_have_body
        && declared_bytes.is_none_or(|bytes| bytes >= BYTES_MIN)
        && headers.get(CONTENT_TYPE).is_some_and(is_compressible_type)
        && !headers.contains_key(CONTENT_ENCODING)
        && !headers.contains_key(CONTENT_RANGE)
        && !headers.contains_key(SET_COOKIE)
        && !DIGESTS.iter().any(|digest| headers.contains_key(digest))
        && !lists(headers, &CACHE_CONTROL, "no-transform")
        && !lists(headers, &VARY, "*")
}

/// Text in all its forms. An event stream is text too, but nothing may hold its events up.
fn is_compressible_type(kind: &HeaderValue) -> bool {
    let Ok(kind) = kind.to_str() else {
        return false;
    };
    let kind = kind.split_once(';').map_or(kind, |(kind, _parameters)| kind).trim();
    let Some((kind, subtype)) = kind.split_once('/') else {
        return false;
    };
    let is_any_of = |names: &[&str]| names.iter().any(|name| subtype.eq_ignore_ascii_case(name));
    let suffix = subtype.rsplit_once('+').map_or("", |(_, suffix)| suffix);
    if kind.eq_ignore_ascii_case("text") {
        !is_any_of(&["event-stream"])
    } else if kind.eq_ignore_ascii_case("application") {
        is_any_of(&["json", "javascript", "xml", "wasm"])
            || suffix.eq_ignore_ascii_case("json")
            || suffix.eq_ignore_ascii_case("xml")
    } else {
        kind.eq_ignore_ascii_case("image") && is_any_of(&["svg+xml", "bmp"])
    }
}

fn transform(headers: &mut HeaderMap, coding: Coding) {
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    headers.remove(CONTENT_LENGTH);
    // Ranges would be counted in bytes that the client doesn't get.
    headers.remove(ACCEPT_RANGES);
    // The same content, but not the same bytes.
    let weak = headers
        .get(ETAG)
        .and_then(|tag| tag.to_str().ok())
        .filter(|tag| tag.starts_with('"'))
        .and_then(|tag| HeaderValue::from_str(&format!("W/{tag}")).ok());
    if let Some(weak) = weak {
        headers.insert(ETAG, weak);
    }
}

fn add_vary(headers: &mut HeaderMap) {
    if !lists(headers, &VARY, "accept-encoding") {
        headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
}

#[cfg(test)]
mod tests;
