//! Calls from one service to another, through the balancer's private listener.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use shop_net::discovery::Discovery;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use url::Url;

use crate::consistency::{Consistency, POSITIONS_HEADER};

const TRY_TIMEOUT: Duration = Duration::from_secs(3);
const OVERALL_DEADLINE: Duration = Duration::from_secs(7);
const CONNECT_TIMEOUT: Duration = Duration::from_millis(700);
const TRIES_MAX: usize = 4;
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
const IDLE_CONNECTIONS_MAX: usize = 16;
/// Shorter than the time after which the balancer closes an idle connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Calls `/internal/*` of other services. Every call there is idempotent, so one that failed is tried again, on another balancer
/// if there is one.
#[derive(Clone)]
pub struct InternalClient {
    client: Client<HttpConnector, Full<Bytes>>,
    balancers: Discovery,
    authority: String,
    bearer: HeaderValue,
}

/// An answer of another service, whatever its status.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The body as it came.
    pub body: Bytes,
    served_by: String,
}

/// No usable answer came.
#[derive(Debug, thiserror::Error)]
pub enum InternalError {
    /// All tries failed, or the deadline is over. The call may have had its effect.
    #[error("the other service did not answer: {0}")]
    Unavailable(String),
    /// It answered something that this call does not expect.
    #[error("the other service answered {status}")]
    Unexpected {
        /// What it answered.
        status: StatusCode,
    },
    /// Its answer, or what was to be sent, is no valid JSON of the expected form.
    #[error("the JSON is not of the expected form")]
    Json(#[source] serde_json::Error),
    /// The client was made with something unusable.
    #[error("{0}")]
    Config(String),
}

impl Answer {
    /// Reads the body as JSON.
    ///
    /// # Errors
    /// It has another form.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, InternalError> {
        serde_json::from_slice(&self.body).map_err(InternalError::Json)
    }

    /// The kind of problem that the other service answered with, if it did.
    #[must_use]
    pub fn problem_slug(&self) -> Option<String> {
        let problem: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        problem
            .get("type")?
            .as_str()?
            .strip_prefix("/problems/")
            .map(ToOwned::to_owned)
    }
}

impl InternalClient {
    /// A client for the balancers' private address, such as `http://balancer:9000`. Must be called within a runtime.
    ///
    /// # Errors
    /// The address or the token cannot be used.
    pub fn new(url: &str, token: &str) -> Result<Self, InternalError> {
        let url = Url::parse(url).map_err(|error| InternalError::Config(format!("{url}: {error}")))?;
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err(InternalError::Config(format!("{url}: no host")));
        };
        if url.scheme() != "http" {
            return Err(InternalError::Config(format!(
                "{url}: only http is spoken between services"
            )));
        }
        let mut bearer = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| InternalError::Config("the internal token is no valid header value".to_owned()))?;
        bearer.set_sensitive(true);
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build(connector);
        Ok(Self {
            client,
            balancers: Discovery::watch(host, port),
            authority: format!("{host}:{port}"),
            bearer,
        })
    }

    /// `GET`.
    ///
    /// # Errors
    /// No answer came in time.
    pub async fn get(&self, path: &str, consistency: &Consistency) -> Result<Answer, InternalError> {
        self.call(Method::GET, path, Bytes::new(), consistency).await
    }

    /// `PUT` with a JSON body.
    ///
    /// # Errors
    /// No answer came in time.
    pub async fn put<B: Serialize>(
        &self,
        path: &str,
        body: &B,
        consistency: &Consistency,
    ) -> Result<Answer, InternalError> {
        let body = serde_json::to_vec(body).map_err(InternalError::Json)?;
        self.call(Method::PUT, path, body.into(), consistency).await
    }

    /// `POST` with a JSON body.
    ///
    /// # Errors
    /// No answer came in time.
    pub async fn post<B: Serialize>(
        &self,
        path: &str,
        body: &B,
        consistency: &Consistency,
    ) -> Result<Answer, InternalError> {
        let body = serde_json::to_vec(body).map_err(InternalError::Json)?;
        self.call(Method::POST, path, body.into(), consistency).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        consistency: &Consistency,
    ) -> Result<Answer, InternalError> {
        let started = Instant::now();
        let deadline = started + OVERALL_DEADLINE;
        let mut balancers = self.balancers.clone();
        let addresses = timeout_at(deadline, balancers.known())
            .await
            .map_err(|_| InternalError::Unavailable("no balancer is known".to_owned()))?;
        let first: usize = rand::random_range(0..addresses.len().max(1));
        let mut last_failure = String::new();
        for turn in 0..TRIES_MAX {
            if turn > 0 {
                metrics::counter!("internal_calls_retried_total").increment(1);
                sleep(Duration::from_millis(50 << turn)).await;
            }
            // By now there may be other balancers than at the start.
            let addresses = self.balancers.addresses();
            let Some(address) = addresses.get((first + turn) % addresses.len().max(1)) else {
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            match timeout(
                left.min(TRY_TIMEOUT),
                self.try_once(*address, &method, path, body.clone(), consistency),
            )
            .await
            {
                Ok(Ok(answer)) if !may_pass(answer.status) || turn + 1 == TRIES_MAX => {
                    shop_telemetry::timing::record("call", answer.served_by.as_str(), started.elapsed());
                    return Ok(answer);
                }
                Ok(Ok(answer)) => last_failure = format!("status {}", answer.status),
                Ok(Err(failure)) => last_failure = failure,
                Err(_) => "no answer in time".clone_into(&mut last_failure),
            }
        }
        Err(InternalError::Unavailable(last_failure))
    }

    async fn try_once(
        &self,
        address: SocketAddr,
        method: &Method,
        path: &str,
        body: Bytes,
        consistency: &Consistency,
    ) -> Result<Answer, String> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{address}{path}"))
            .header(header::HOST, &self.authority)
            .header(header::AUTHORIZATION, &self.bearer)
            .header(header::ACCEPT, "application/json");
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(positions) = consistency.to_header() {
            request = request.header(POSITIONS_HEADER, positions);
        }
        for (name, value) in shop_telemetry::propagation::inject() {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        let response = self.client.request(request).await.map_err(|error| error.to_string())?;
        let (parts, body) = response.into_parts();
        if let Some(positions) = parts
            .headers
            .get(POSITIONS_HEADER)
            .and_then(|value| value.to_str().ok())
        {
            consistency.wrote_header(positions);
        }
        let body = Limited::new(body, ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| error.to_string())?;
        let served_by = parts
            .headers
            .get("x-served-by")
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        Ok(Answer {
            status: parts.status,
            body: body.to_bytes(),
            served_by: served_by.to_owned(),
        })
    }
}

/// Whether a try a moment later may be answered better.
fn may_pass(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}
