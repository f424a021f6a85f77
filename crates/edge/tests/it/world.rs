//! An origin that does as it is told, an edge in front of it, and a client.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use clap::Parser as _;
use edge::admin::{self, AdminState};
use edge::config::Config;
use edge::handler::App;
use edge::server;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::service::service_fn;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use shop_front::access_log::AccessLog;
use shop_front::{Entrance, Front};
use shop_net::listen::ListenSource;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Nothing here takes so long unless it hangs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// What the origin answers for a path.
#[derive(Clone)]
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Bytes,
}

impl Page {
    pub(crate) fn new(cache_control: &str, body: impl Into<Bytes>) -> Self {
        let headers = vec![
            ("cache-control", cache_control.to_owned()),
            ("content-type", "image/webp".to_owned()),
        ];
        Self {
            status: StatusCode::OK,
            headers,
            body: body.into(),
        }
    }

    pub(crate) fn status(mut self, status: u16) -> Self {
        self.status = StatusCode::from_u16(status).unwrap();
        self
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

/// A request as the origin saw it.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
}

struct OriginState {
    pages: Mutex<HashMap<String, Page>>,
    seen: Mutex<Vec<Seen>>,
    /// Each answer takes a permit; without one it waits.
    gate: Semaphore,
    stop: CancellationToken,
}

/// A real HTTP server on port 0.
#[derive(Clone)]
pub(crate) struct Origin {
    state: Arc<OriginState>,
    pub(crate) address: SocketAddr,
}

impl Origin {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(OriginState {
            pages: Mutex::default(),
            seen: Mutex::default(),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            stop: CancellationToken::new(),
        });
        let (serving, stop) = (Arc::clone(&state), state.stop.clone());
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let state = Arc::clone(&serving);
                let stop = state.stop.clone();
                let service = service_fn(move |request| answer(Arc::clone(&state), request));
                let connection = hyper::server::conn::http1::Builder::new();
                let connection = connection.serve_connection(TokioIo::new(stream), service);
                tokio::spawn(stop.run_until_cancelled_owned(connection));
            }
        }));
        Self { state, address }
    }

    pub(crate) fn page(&self, path: &str, page: Page) {
        self.state.pages.lock().unwrap().insert(path.to_owned(), page);
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.seen().len()
    }

    /// Lets no answer out until [`Origin::open`].
    pub(crate) fn hold(&self) {
        self.state.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    pub(crate) fn open(&self) {
        self.state.gate.add_permits(Semaphore::MAX_PERMITS / 2);
    }

    /// Dies: the port is closed, and so are all connections.
    pub(crate) async fn die(&self) {
        self.state.stop.cancel();
        eventually("the origin's port is closed", || async {
            tokio::net::TcpStream::connect(self.address).await.is_err()
        })
        .await;
    }
}

async fn answer(
    state: Arc<OriginState>,
    request: Request<hyper::body::Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, _) = request.into_parts();
    let path = parts.uri.path().to_owned();
    state.seen.lock().unwrap().push(Seen {
        path: path.clone(),
        headers: parts.headers.clone(),
    });
    state.gate.acquire().await.unwrap().forget();
    let page = state.pages.lock().unwrap().get(&path).cloned();
    let page = page.unwrap_or_else(|| Page::new("no-store", "nothing here").status(404));
    let mut response = Response::new(Full::new(page.body.clone()));
    *response.status_mut() = page.status;
    for (name, value) in &page.headers {
        response.headers_mut().append(*name, value.parse().unwrap());
    }
    let tag = response.headers().get("etag");
    if tag.is_some() && parts.headers.get("if-none-match") == tag {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Full::default();
    }
    Ok(response)
}

/// What a client got.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn cache(&self) -> &str {
        self.header("cache-status")
    }
}

/// A running edge with a cache folder.
pub(crate) struct Edge {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) app: Arc<App>,
    client: HyperClient<HttpConnector, Empty<Bytes>>,
    shutdown: CancellationToken,
    pub(crate) front: Arc<Front>,
    served: Option<std::thread::JoinHandle<()>>,
    _stop: DropGuard,
}

impl Edge {
    pub(crate) async fn start(origin: SocketAddr, folder: &Path) -> Self {
        Self::with(origin, folder, &[]).await
    }

    pub(crate) async fn with(origin: SocketAddr, folder: &Path, arguments: &[&str]) -> Self {
        let source = ListenSource::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self::on(source, origin, folder, arguments).await
    }

    /// One that serves from this socket.
    pub(crate) async fn on(source: ListenSource, origin: SocketAddr, folder: &Path, arguments: &[&str]) -> Self {
        let origin = format!("http://{origin}");
        let mut all = vec!["edge", "--origin-url", &origin, "--cache-dir", folder.to_str().unwrap()];
        all.extend(["--origin-body-pause-ms", "1000"]);
        all.extend(arguments);
        let config = Config::try_parse_from(all).unwrap();
        let app = edge::build(&config, "edge-1".to_owned()).await.unwrap();
        eventually("there is a socket", || async { source.is_open() }).await;
        let address = source.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let front = server::front(config.connections_max);
        let entrance = Entrance {
            source,
            tls: None,
            is_public: true,
        };
        let served = server::start_thread(
            0,
            vec![entrance],
            Arc::clone(&app),
            Arc::clone(&front),
            AccessLog::none().buffer(),
            shutdown.clone(),
        )
        .unwrap();
        let ready = Arc::new(AtomicBool::new(true));
        ready.store(true, Ordering::Relaxed);
        let admin_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = admin_listener.local_addr().unwrap();
        let router = admin::router(AdminState {
            app: Arc::clone(&app),
            front: Arc::clone(&front),
            lost_batches: Arc::default(),
            ready,
        });
        let serving_admin = async move { axum::serve(admin_listener, router).await };
        tokio::spawn(shutdown.clone().run_until_cancelled_owned(serving_admin));
        Self {
            address,
            admin,
            app,
            client: HyperClient::builder(TokioExecutor::new()).build_http(),
            front,
            served: Some(served),
            _stop: shutdown.clone().drop_guard(),
            shutdown,
        }
    }

    /// Shuts down as on SIGTERM, and waits until everything is let go of.
    pub(crate) async fn stop(mut self) {
        self.front.drain(Duration::from_secs(1), DEADLINE).await;
        self.shutdown.cancel();
        if let Some(served) = self.served.take() {
            tokio::task::spawn_blocking(|| served.join()).await.unwrap().unwrap();
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Got {
        self.request(Method::GET, path, &[]).await
    }

    pub(crate) async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Got {
        self.request(Method::GET, path, headers).await
    }

    pub(crate) async fn request(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Got {
        self.try_request(self.address, method, path, headers).await.unwrap()
    }

    pub(crate) async fn admin(&self, method: &str, path: &str) -> Got {
        self.try_request(self.admin, method.parse().unwrap(), path, &[])
            .await
            .unwrap()
    }

    pub(crate) async fn try_get(&self, path: &str) -> Result<Got, Box<dyn std::error::Error + Send + Sync>> {
        self.try_request(self.address, Method::GET, path, &[]).await
    }

    async fn try_request(
        &self,
        address: SocketAddr,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Got, Box<dyn std::error::Error + Send + Sync>> {
        let mut request = Request::builder().method(method).uri(format!("http://{address}{path}"));
        for (name, value) in headers {
            request = request.header(HeaderName::from_bytes(name.as_bytes())?, *value);
        }
        let exchange = async {
            let (parts, body) = self.client.request(request.body(Empty::new())?).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Got {
                status: parts.status.as_u16(),
                headers: parts.headers,
                body,
            })
        };
        tokio::time::timeout(DEADLINE, exchange).await?
    }

    /// Waits until what has arrived lies in the cache: clients get it earlier than the disk, and whoever asks before
    /// the flight that brought it has ended joins that.
    pub(crate) async fn stored(&self, objects: usize) {
        eventually("objects are stored", || async {
            self.app.store.usage().objects == objects && self.app.fetcher.flights() == 0
        })
        .await;
    }
}

/// An origin and an edge in front of it.
pub(crate) async fn world() -> (Origin, Edge, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start().await;
    let edge = Edge::start(origin.address, folder.path()).await;
    (origin, edge, folder)
}

/// Polls until something is so, and panics if it never is.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    let polling = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        tokio::time::timeout(DEADLINE, polling).await.is_ok(),
        "it never came true that {what}"
    );
}
