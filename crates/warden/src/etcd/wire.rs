//! How etcd's JSON gateway writes things down: bytes in base64, 64-bit numbers as text, and nothing for what is zero.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

pub(super) fn base64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// A key with its value, and the revision at which it was last changed.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct KeyValue {
    #[serde(deserialize_with = "text")]
    pub(crate) key: String,
    #[serde(default, deserialize_with = "text")]
    pub(crate) value: String,
    #[serde(default, deserialize_with = "number")]
    pub(crate) mod_revision: i64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Header {
    #[serde(default, deserialize_with = "number")]
    pub(super) revision: i64,
}

#[derive(Debug, Deserialize)]
pub(super) struct TxnAnswer {
    pub(super) header: Header,
    #[serde(default)]
    pub(super) succeeded: bool,
    #[serde(default)]
    responses: Vec<TxnResponse>,
}

impl TxnAnswer {
    pub(super) fn into_entries(self) -> Vec<KeyValue> {
        let ranges = self
            .responses
            .into_iter()
            .filter_map(|response| response.response_range);
        ranges.flat_map(|range| range.kvs).collect()
    }
}

#[derive(Debug, Deserialize)]
struct TxnResponse {
    response_range: Option<RangeAnswer>,
}

#[derive(Debug, Deserialize)]
struct RangeAnswer {
    #[serde(default)]
    kvs: Vec<KeyValue>,
}

#[derive(Debug, Deserialize)]
pub(super) struct GrantAnswer {
    #[serde(rename = "ID", deserialize_with = "number")]
    pub(super) id: i64,
}

#[derive(Debug, Deserialize)]
pub(super) struct KeepAliveAnswer {
    pub(super) result: KeepAliveResult,
}

#[derive(Debug, Deserialize)]
pub(super) struct KeepAliveResult {
    #[serde(default, rename = "TTL", deserialize_with = "number")]
    pub(super) ttl: i64,
}

/// One line of a watch: a confirmation, a progress report, changes, or its end.
#[derive(Debug, Deserialize)]
pub(super) struct WatchMessage {
    result: Option<WatchResult>,
}

#[derive(Debug, Deserialize)]
struct WatchResult {
    #[serde(default)]
    canceled: bool,
    #[serde(default)]
    events: Vec<serde::de::IgnoredAny>,
}

impl WatchMessage {
    pub(super) fn is_end(&self) -> bool {
        self.result.as_ref().is_none_or(|result| result.canceled)
    }

    pub(super) fn has_events(&self) -> bool {
        self.result.as_ref().is_some_and(|result| !result.events.is_empty())
    }
}

/// What an answer that is no success says about itself.
pub(super) fn failure_of(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Failure {
        #[serde(alias = "message")]
        error: String,
    }
    match serde_json::from_slice::<Failure>(body) {
        Ok(failure) => failure.error,
        Err(_) => String::from_utf8_lossy(body).chars().take(200).collect(),
    }
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let encoded = String::deserialize(deserializer)?;
    let bytes = BASE64_STANDARD.decode(encoded).map_err(D::Error::custom)?;
    String::from_utf8(bytes).map_err(D::Error::custom)
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}
