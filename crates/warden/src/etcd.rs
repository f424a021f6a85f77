//! The little of etcd that the warden needs, over etcd's JSON gateway: reads and transactions, leases, and a watch.
//!
//! Every call tries all endpoints, each with a deadline of its own, and starts with the one that answered last. Reads
//! are linearizable. A call that was tried on a second endpoint may have been carried out twice, so a transaction must
//! bear that: its conditions no longer hold the second time, and it then counts as one that did not succeed.

mod wire;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::config::HostPort;
use crate::etcd::wire::{GrantAnswer, KeepAliveAnswer, TxnAnswer, WatchMessage, base64, failure_of};

pub(crate) use crate::etcd::wire::KeyValue;

/// One endpoint's time to answer: three of them must fit into what a fence has.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(600);
const CONNECT_TIMEOUT: Duration = Duration::from_millis(400);
/// The cluster's keys are a few hundred bytes each.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Why etcd did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EtcdError {
    #[error("etcd at {host} could not be asked")]
    Unreachable {
        host: String,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("etcd at {host} did not answer within {ATTEMPT_TIMEOUT:?}")]
    Silent { host: String },
    #[error("etcd at {host} answered {status}: {message}")]
    Refused { host: String, status: u16, message: String },
    #[error("etcd at {host} gave an answer that can't be read")]
    Garbled { host: String, source: serde_json::Error },
    #[error("etcd at {host} ended the watch")]
    WatchEnded { host: String },
}

impl EtcdError {
    /// Whether every endpoint would say the same.
    fn is_final(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if (400..500).contains(status))
    }
}

/// A lease, which ends by itself unless it is kept alive, and its keys with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeaseId(i64);

/// Which keys are meant.
#[derive(Clone, Debug)]
pub(crate) enum Keys {
    One(String),
    StartingWith(String),
}

impl Keys {
    fn range(&self) -> Value {
        match self {
            Self::One(key) => json!({"key": base64(key)}),
            Self::StartingWith(prefix) => {
                // A prefix ends with a slash, so its last byte can always be increased.
                let mut end = prefix.clone().into_bytes();
                if let Some(last) = end.last_mut() {
                    *last += 1;
                }
                json!({"key": base64(prefix), "range_end": base64(&end)})
            }
        }
    }
}

/// Conditions, and what is done if all of them hold. Keys are changed in the order given here, which is also the
/// order in which watchers are told.
#[derive(Debug, Default)]
pub(crate) struct Txn {
    compare: Vec<Value>,
    success: Vec<Value>,
}

impl Txn {
    pub(crate) fn if_value(mut self, key: &str, value: &str) -> Self {
        self.compare
            .push(json!({"key": base64(key), "target": "VALUE", "result": "EQUAL", "value": base64(value)}));
        self
    }

    /// The key was last changed at `revision`; 0 stands for a key that is not there.
    pub(crate) fn if_revision(mut self, key: &str, revision: i64) -> Self {
        let revision = revision.to_string();
        self.compare
            .push(json!({"key": base64(key), "target": "MOD", "result": "EQUAL", "mod_revision": revision}));
        self
    }

    pub(crate) fn then_delete(mut self, key: &str) -> Self {
        self.success.push(json!({"request_delete_range": {"key": base64(key)}}));
        self
    }

    pub(crate) fn then_put(mut self, key: &str, value: impl AsRef<[u8]>, lease: Option<LeaseId>) -> Self {
        let mut put = json!({"key": base64(key), "value": base64(value)});
        if let Some(LeaseId(id)) = lease {
            put["lease"] = id.to_string().into();
        }
        self.success.push(json!({"request_put": put}));
        self
    }
}

/// Keys as they were at one revision of the store.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) revision: i64,
    pub(crate) entries: Vec<KeyValue>,
}

pub(crate) struct Etcd {
    client: Client<HttpConnector, Full<Bytes>>,
    hosts: Vec<String>,
    preferred: AtomicUsize,
}

impl Etcd {
    pub(crate) fn new(hosts: &[HostPort]) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector);
        Self {
            client,
            hosts: hosts.iter().map(|host| host.as_str().to_owned()).collect(),
            preferred: AtomicUsize::new(0),
        }
    }

    /// Reads all of `keys` at one revision.
    pub(crate) async fn read(&self, keys: &[Keys]) -> Result<Snapshot, EtcdError> {
        let ranges: Vec<_> = keys.iter().map(|keys| json!({"request_range": keys.range()})).collect();
        let answer: TxnAnswer = self.call("/v3/kv/txn", &json!({"success": ranges})).await?;
        Ok(Snapshot {
            revision: answer.header.revision,
            entries: answer.into_entries(),
        })
    }

    /// Whether the conditions held and all of it was done.
    pub(crate) async fn commit(&self, txn: &Txn) -> Result<bool, EtcdError> {
        let body = json!({"compare": txn.compare, "success": txn.success});
        let answer: TxnAnswer = self.call("/v3/kv/txn", &body).await?;
        Ok(answer.succeeded)
    }

    pub(crate) async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, EtcdError> {
        let ttl_seconds = ttl.as_secs().to_string();
        let answer: GrantAnswer = self.call("/v3/lease/grant", &json!({"TTL": ttl_seconds})).await?;
        Ok(LeaseId(answer.id))
    }

    /// Whether the lease still lives; it then has its full time again.
    pub(crate) async fn keep_alive(&self, LeaseId(id): LeaseId) -> Result<bool, EtcdError> {
        let body = json!({"ID": id.to_string()});
        let answer: KeepAliveAnswer = self.call("/v3/lease/keepalive", &body).await?;
        Ok(answer.result.ttl > 0)
    }

    pub(crate) async fn revoke(&self, LeaseId(id): LeaseId) -> Result<(), EtcdError> {
        let _: Value = self.call("/v3/lease/revoke", &json!({"ID": id.to_string()})).await?;
        Ok(())
    }

    /// Watches `keys` for changes from `revision` on, at one endpoint. What is no longer kept is reported as an end.
    pub(crate) async fn watch(&self, keys: &[Keys], revision: i64) -> Result<Watch, EtcdError> {
        let mut body = String::new();
        for keys in keys {
            let mut request = keys.range();
            request["start_revision"] = revision.to_string().into();
            body.push_str(&json!({"create_request": request}).to_string());
            body.push('\n');
        }
        let body = Bytes::from(body);
        let mut failure = None;
        for host in self.hosts_in_turn() {
            let asked = timeout(ATTEMPT_TIMEOUT, self.send(&host, "/v3/watch", body.clone())).await;
            match asked {
                Ok(Ok(body)) => {
                    return Ok(Watch {
                        body,
                        buffer: BytesMut::new(),
                        host,
                    });
                }
                Ok(Err(error)) => failure = Some(error),
                Err(_) => failure = Some(EtcdError::Silent { host }),
            }
            self.prefer_another();
        }
        Err(failure.unwrap_or_else(no_endpoint))
    }

    async fn call<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T, EtcdError> {
        let body = Bytes::from(body.to_string());
        let mut failure = None;
        for host in self.hosts_in_turn() {
            let error = match timeout(ATTEMPT_TIMEOUT, self.ask(&host, path, body.clone())).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) if error.is_final() => return Err(error),
                Ok(Err(error)) => error,
                Err(_) => EtcdError::Silent { host },
            };
            tracing::debug!(%error, path, "An etcd did not answer, trying the next");
            failure = Some(error);
            self.prefer_another();
        }
        Err(failure.unwrap_or_else(no_endpoint))
    }

    async fn ask<T: DeserializeOwned>(&self, host: &str, path: &str, body: Bytes) -> Result<T, EtcdError> {
        let answer = self.send(host, path, body).await?;
        let answer = collect(host, answer).await?;
        serde_json::from_slice(&answer).map_err(|source| EtcdError::Garbled {
            host: host.to_owned(),
            source,
        })
    }

    async fn send(&self, host: &str, path: &str, body: Bytes) -> Result<Incoming, EtcdError> {
        let request = http::Request::post(format!("http://{host}{path}"))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| unreachable(host, error))?;
        let answer = self
            .client
            .request(request)
            .await
            .map_err(|error| unreachable(host, error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer.into_body());
        }
        let body = collect(host, answer.into_body()).await?;
        Err(EtcdError::Refused {
            host: host.to_owned(),
            status: status.as_u16(),
            message: failure_of(&body),
        })
    }

    fn hosts_in_turn(&self) -> Vec<String> {
        let first = self.preferred.load(Ordering::Relaxed) % self.hosts.len().max(1);
        let (before, from) = self.hosts.split_at(first);
        from.iter().chain(before).cloned().collect()
    }

    fn prefer_another(&self) {
        self.preferred.fetch_add(1, Ordering::Relaxed);
    }
}

/// Changes as they happen, until the endpoint goes.
pub(crate) struct Watch {
    body: Incoming,
    buffer: BytesMut,
    host: String,
}

impl Watch {
    /// Waits for the next change of any of the keys. There is no deadline here: nothing may change for days.
    pub(crate) async fn changed(&mut self) -> Result<(), EtcdError> {
        loop {
            while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                let message: WatchMessage = serde_json::from_slice(&line).map_err(|source| EtcdError::Garbled {
                    host: self.host.clone(),
                    source,
                })?;
                if message.is_end() {
                    return Err(self.ended());
                }
                if message.has_events() {
                    return Ok(());
                }
            }
            let frame = self.body.frame().await.ok_or_else(|| self.ended())?;
            let frame = frame.map_err(|error| unreachable(&self.host, error))?;
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
            }
            if self.buffer.len() > ANSWER_BYTES_MAX {
                return Err(self.ended());
            }
        }
    }

    fn ended(&self) -> EtcdError {
        EtcdError::WatchEnded {
            host: self.host.clone(),
        }
    }
}

async fn collect(host: &str, body: Incoming) -> Result<Bytes, EtcdError> {
    let collected = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    Ok(collected.map_err(|error| unreachable(host, error))?.to_bytes())
}

fn unreachable(host: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> EtcdError {
    EtcdError::Unreachable {
        host: host.to_owned(),
        source: source.into(),
    }
}

fn no_endpoint() -> EtcdError {
    unreachable("nowhere", "no endpoint is configured")
}

#[cfg(test)]
mod tests;
