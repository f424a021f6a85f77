//! The store's own network is private and speaks plain HTTP: no TLS library is compiled for it.

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::{Client, connect};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody,
    HttpService,
};

/// A node that doesn't accept a connection in this time is skipped.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// Connections that nobody needs are closed after this.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// Makes clients without TLS. They bound connecting; the rest of a request is bounded by whoever makes it.
#[derive(Debug)]
pub(crate) struct PlainHttp;

impl HttpConnector for PlainHttp {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        let mut connector = connect::HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .build(connector);
        Ok(HttpClient::new(PlainClient(client)))
    }
}

#[derive(Debug)]
struct PlainClient(Client<connect::HttpConnector, HttpRequestBody>);

#[async_trait]
impl HttpService for PlainClient {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let response = self.0.request(request).await.map_err(|error| {
            let kind = if error.is_connect() {
                HttpErrorKind::Connect
            } else {
                kind_of(error.source())
            };
            HttpError::new(kind, error)
        })?;
        Ok(response
            .map(|body| HttpResponseBody::new(body.map_err(|error| HttpError::new(kind_of(Some(&error)), error)))))
    }
}

/// What the store's client is to think of a connection that broke.
fn kind_of(error: Option<&(dyn Error + 'static)>) -> HttpErrorKind {
    match error.and_then(|error| error.downcast_ref::<hyper::Error>()) {
        Some(error) if error.is_timeout() => HttpErrorKind::Timeout,
        Some(error) if error.is_closed() || error.is_incomplete_message() => HttpErrorKind::Interrupted,
        Some(error) if error.is_parse() => HttpErrorKind::Decode,
        _ => HttpErrorKind::Unknown,
    }
}
