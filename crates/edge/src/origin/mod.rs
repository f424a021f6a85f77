//! The way to the origin: which address is asked, for how long, and what happens when one of them is gone.

mod addresses;

use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use shop_net::discovery::Discovery;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use self::addresses::Addresses;
use crate::config::{Config, OriginUrl};

/// A request is sent to so many addresses before it has failed.
const TRIES_MAX: u32 = 3;

/// So many addresses are looked at in one round.
const LOOKS_MAX: usize = 8;

/// An address that doesn't answer a SYN for so long is dead: it is on the same network.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// Connections that nobody uses for so long are closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// So many idle connections are kept to each address.
const IDLE_PER_ADDRESS_MAX: usize = 64;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// DNS knows no address of the origin.
    #[error("no address of the origin is known")]
    NoAddress,
    /// The connection could not be made, or broke before an answer came.
    #[error("the origin can't be reached")]
    Broken(#[source] hyper_util::client::legacy::Error),
    /// No answer within the deadline.
    #[error("the origin did not answer in time")]
    Timeout,
    /// The request could not be built.
    #[error("the request to the origin is malformed")]
    Request(#[source] http::Error),
}

/// A client of the origin. Its connections live on the runtime that it is first used on.
pub struct Origin {
    host: HeaderValue,
    addresses: Addresses,
    client: Client<HttpConnector, Empty<Bytes>>,
    try_timeout: Duration,
    deadline: Duration,
}

impl Origin {
    /// A client of the origin that the configuration names. To be called within a runtime.
    pub fn new(config: &Config) -> Self {
        let OriginUrl { host, port } = &config.origin_url;
        let discovery = match host.parse() {
            Ok(ip) => Discovery::fixed([std::net::SocketAddr::new(ip, *port)]),
            Err(_) => Discovery::watch(host, *port),
        };
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        connector.set_keepalive(Some(Duration::from_secs(5)));
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_PER_ADDRESS_MAX)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .set_host(false)
            .build(connector);
        let host =
            HeaderValue::from_str(&format!("{host}:{port}")).unwrap_or_else(|_| HeaderValue::from_static("origin"));
        Self {
            host,
            addresses: Addresses::new(discovery),
            client,
            try_timeout: config.origin_try_timeout(),
            deadline: config.origin_deadline(),
        }
    }

    /// Whether no address of the origin has answered lately, so that waiting for it is pointless.
    pub fn is_failing(&self) -> bool {
        self.addresses.are_failing()
    }

    /// Looks whether the addresses take connections. One that doesn't is not asked for anything for a while.
    pub async fn look(&self) {
        let mut looked_at = Vec::new();
        while let Some(address) = self.addresses.pick(&looked_at) {
            if looked_at.len() >= LOOKS_MAX || looked_at.contains(&address.socket()) {
                return;
            }
            looked_at.push(address.socket());
            let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(address.socket())).await;
            if !matches!(connected, Ok(Ok(_))) {
                address.failed();
            }
        }
    }

    /// Asks for `path` until an address answers: each try goes to an address that was not tried yet, as long as there
    /// is one. Any status is an answer.
    pub async fn get(&self, path: &str, headers: &HeaderMap) -> Result<Response<Incoming>, OriginError> {
        let end = Instant::now() + self.deadline;
        let mut tried = Vec::new();
        let mut last = OriginError::NoAddress;
        // Just after the start DNS has not answered yet; later this is known at once.
        let _ = timeout(self.try_timeout, self.addresses.known()).await;
        for _ in 0..TRIES_MAX {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let Some(address) = self.addresses.pick(&tried) else {
                break;
            };
            tried.push(address.socket());
            let request = self
                .request(address.socket(), path, headers)
                .map_err(OriginError::Request)?;
            let started = Instant::now();
            let answer = timeout(self.try_timeout.min(left), self.client.request(request)).await;
            metrics::histogram!("edge_origin_request_seconds").record(started.elapsed().as_secs_f64());
            last = match answer {
                Ok(Ok(response)) => {
                    address.answered();
                    metrics::counter!("edge_origin_requests_total", "outcome" => "answered").increment(1);
                    return Ok(response);
                }
                Ok(Err(error)) => {
                    metrics::counter!("edge_origin_requests_total", "outcome" => "broken").increment(1);
                    OriginError::Broken(error)
                }
                Err(_) => {
                    metrics::counter!("edge_origin_requests_total", "outcome" => "timeout").increment(1);
                    OriginError::Timeout
                }
            };
            if address.failed() {
                tracing::warn!(
                    address = %address.socket(),
                    error = &last as &(dyn std::error::Error + 'static),
                    path,
                    "An address of the origin failed"
                );
            }
        }
        Err(last)
    }

    fn request(
        &self,
        address: std::net::SocketAddr,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Request<Empty<Bytes>>, http::Error> {
        let uri = Uri::builder()
            .scheme("http")
            .authority(address.to_string())
            .path_and_query(path)
            .build()?;
        let mut request = Request::get(uri).body(Empty::new())?;
        request.headers_mut().clone_from(headers);
        request.headers_mut().insert(HOST, self.host.clone());
        Ok(request)
    }
}
