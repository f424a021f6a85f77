//! Real backends, real balancers and raw clients, all on free ports of this machine.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use balancer::routes::RouteTable;
use balancer::{BackendLimits, Balancer, Limits, Sockets};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use shop_front::tls::{Tls, TlsSettings};
use shop_net::listen::ListenSource;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A service's instance. Paths tell it what to do: `/slow/300` waits so many milliseconds, `/large/300` answers so many
/// bytes, `/page/300` a page of so many, anything else is echoed.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
    serving: JoinHandle<()>,
}

/// What a backend has seen.
#[derive(Default)]
struct Seen {
    requests: AtomicU64,
    slow_requests: AtomicU64,
    in_flight: AtomicU64,
    in_flight_peak: AtomicU64,
}

/// Counts a request for as long as it is at work.
struct InFlight<'a>(&'a Seen);

impl<'a> InFlight<'a> {
    fn begin(seen: &'a Seen) -> Self {
        let in_flight = seen.in_flight.fetch_add(1, Relaxed) + 1;
        seen.in_flight_peak.fetch_max(in_flight, Relaxed);
        Self(seen)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

/// What is wrong with a backend.
#[derive(Clone, Copy)]
enum Fault {
    None,
    /// It breaks the connection of every request.
    Breaks,
    /// It answers with errors, two of three times.
    Flaky,
    /// It takes its time.
    Slow(Duration),
}

impl Backend {
    pub(crate) async fn start(name: &'static str) -> Self {
        Self::start_with(name, Fault::None).await
    }

    /// Answers checks, and breaks every other request.
    pub(crate) async fn start_broken(name: &'static str) -> Self {
        Self::start_with(name, Fault::Breaks).await
    }

    /// Answers checks, and errors to two of three requests.
    pub(crate) async fn start_flaky(name: &'static str) -> Self {
        Self::start_with(name, Fault::Flaky).await
    }

    /// Answers checks at once, and every other request after this time.
    pub(crate) async fn start_slow(name: &'static str, after: Duration) -> Self {
        Self::start_with(name, Fault::Slow(after)).await
    }

    /// One that comes back where it was.
    pub(crate) async fn start_at(address: SocketAddr, name: &'static str) -> Self {
        let listener = shop_net::listen::bind_tcp(address).expect("a socket");
        Self::serve(TcpListener::from_std(listener).expect("a listener"), name, Fault::None)
    }

    async fn start_with(name: &'static str, fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        Self::serve(listener, name, fault)
    }

    fn serve(listener: TcpListener, name: &'static str, fault: Fault) -> Self {
        let address = listener.local_addr().expect("an address");
        let seen = Arc::new(Seen::default());
        let seen_there = seen.clone();
        let serving = tokio::spawn(async move {
            // Dropped with the task, and with it all connections: that is what a kill does.
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("accepted");
                let seen = seen_there.clone();
                connections.spawn(async move {
                    let service = service_fn(move |request| {
                        let seen = seen.clone();
                        async move { answer(name, fault, &seen, request).await }
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { address, seen, serving }
    }

    pub(crate) async fn kill(self) {
        self.serving.abort();
        let _ = self.serving.await;
    }

    pub(crate) fn slow_requests(&self) -> u64 {
        self.seen.slow_requests.load(Relaxed)
    }

    pub(crate) fn count(&self) -> u64 {
        self.seen.requests.load(Relaxed)
    }

    /// The most requests that it had at a time.
    pub(crate) fn in_flight_peak(&self) -> u64 {
        self.seen.in_flight_peak.load(Relaxed)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the backend drops the connection")]
struct Dropped;

async fn answer(
    name: &'static str,
    fault: Fault,
    seen: &Seen,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Dropped> {
    let path = request.uri().path().to_owned();
    if path == "/readyz" {
        return Ok(Response::new(Full::default()));
    }
    let number = seen.requests.fetch_add(1, Relaxed);
    let _in_flight = InFlight::begin(seen);
    let headers: Vec<String> = request
        .headers()
        .iter()
        .map(|(header, value)| format!("{header}: {}", String::from_utf8_lossy(value.as_bytes())))
        .collect();
    let method = request.method().clone();
    let body = request.into_body().collect().await.map_err(|_| Dropped)?.to_bytes();
    match fault {
        Fault::Breaks => return Err(Dropped),
        Fault::Slow(after) => tokio::time::sleep(after).await,
        Fault::None | Fault::Flaky => {}
    }
    if let Some(milliseconds) = path.split("/slow/").nth(1).and_then(|text| text.parse().ok()) {
        seen.slow_requests.fetch_add(1, Relaxed);
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
    if let Some(bytes) = path.split("/large/").nth(1).and_then(|text| text.parse().ok()) {
        return Ok(Response::new(Full::from(vec![b'x'; bytes])));
    }
    if let Some(bytes) = path.split("/page/").nth(1).and_then(|text| text.parse().ok()) {
        let mut response = Response::new(Full::from(vec![b'x'; bytes]));
        let headers = response.headers_mut();
        headers.insert("content-type", "text/html; charset=utf-8".parse().expect("a type"));
        headers.insert("etag", "\"v1\"".parse().expect("a tag"));
        return Ok(response);
    }
    let echo = format!(
        "{method} {path}\n{}\n\n{}",
        headers.join("\n"),
        String::from_utf8_lossy(&body)
    );
    let mut response = Response::new(Full::from(echo));
    response
        .headers_mut()
        .insert("x-served-by", name.parse().expect("a name"));
    response
        .headers_mut()
        .insert("server-timing", format!("{name};dur=1.0").parse().expect("a timing"));
    let is_flaking = matches!(fault, Fault::Flaky) && !number.is_multiple_of(3);
    if path.ends_with("/error") || is_flaking {
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    }
    Ok(response)
}

/// Routes in which `inventory` and `user` have these backends.
pub(crate) fn routes(inventory: &[&Backend], user: &[&Backend]) -> String {
    let addresses = |backends: &[&Backend]| backends.iter().map(|backend| backend.address).collect::<Vec<_>>();
    routes_of(&addresses(inventory), &addresses(user))
}

/// Routes in which `inventory` has one backend at this address.
pub(crate) fn routes_to(inventory: SocketAddr) -> String {
    routes_of(&[inventory], &[])
}

fn routes_of(inventory: &[SocketAddr], user: &[SocketAddr]) -> String {
    let addresses = |addresses: &[SocketAddr]| {
        let quoted: Vec<String> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
        quoted.join(", ")
    };
    format!(
        r#"
        [[service]]
        name = "inventory"
        addresses = [{}]
        [[service]]
        name = "user"
        addresses = [{}]
        [[route]]
        prefix = "/"
        service = "inventory"
        [[route]]
        prefix = "/cart"
        service = "user"
        [[route]]
        prefix = "/sets"
        service = "inventory"
        idempotent = true
        [[route]]
        prefix = "/logins"
        service = "inventory"
        keyed = "always"
        [[route]]
        prefix = "/checkout"
        service = "inventory"
        class = "checkout"
        [[route]]
        prefix = "/api/orders"
        service = "inventory"
        keyed = true
        [[route]]
        prefix = "/small"
        service = "inventory"
        body_bytes_max = 10
        [[route]]
        prefix = "/hasty"
        service = "inventory"
        deadline_ms = 300
        [[route]]
        prefix = "/internal/products"
        service = "inventory"
        "#,
        addresses(inventory),
        addresses(user)
    )
}

pub(crate) fn limits() -> Limits {
    Limits {
        workers: 2,
        in_flight_max: 256,
        connections_max: 256,
        tunnels_max: 2,
        connections_per_address_max: 0,
        connection_age_max: Duration::from_secs(3600),
        trusted_proxies: Vec::new(),
        client_stall_max: Duration::from_secs(10),
        backend: BackendLimits::default(),
        drain_notice: Duration::from_millis(300),
        drain_deadline: Duration::from_secs(5),
        access_log: false,
    }
}

fn free_socket() -> (ListenSource, SocketAddr) {
    let source = ListenSource::bind(([127, 0, 0, 1], 0).into()).expect("a socket");
    let address = source.local_addr().expect("an address");
    (source, address)
}

/// A balancer within this process.
pub(crate) struct Front {
    pub(crate) balancer: Balancer,
    pub(crate) public: SocketAddr,
    pub(crate) public_tls: Option<SocketAddr>,
    pub(crate) origin: SocketAddr,
    pub(crate) private: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Front {
    /// Starts one with a public socket of its own, and waits until it has found all backends that answer.
    pub(crate) async fn start(routes: &str, limits: Limits, backends_up: usize) -> Self {
        let (public, public_address) = free_socket();
        Self::start_on(public, public_address, "balancer-1", routes, limits, backends_up).await
    }

    /// The same with one backend and a socket for TLS.
    pub(crate) async fn start_with_tls(routes: &str, limits: Limits, settings: &TlsSettings) -> Self {
        let (public, public_address) = free_socket();
        let tls = settings.load().expect("a certificate").expect("TLS is wanted");
        let source = settings.listen().expect("a socket").expect("TLS is wanted");
        let public_tls = Some((source, tls));
        Self::start_all(public, public_tls, public_address, "balancer-1", routes, limits, 1).await
    }

    pub(crate) async fn start_on(
        public: ListenSource,
        public_address: SocketAddr,
        name: &str,
        routes: &str,
        limits: Limits,
        backends_up: usize,
    ) -> Self {
        Self::start_all(public, None, public_address, name, routes, limits, backends_up).await
    }

    async fn start_all(
        public: ListenSource,
        public_tls: Option<(ListenSource, Tls)>,
        public_address: SocketAddr,
        name: &str,
        routes: &str,
        limits: Limits,
        backends_up: usize,
    ) -> Self {
        let table = RouteTable::parse(routes).expect("routes");
        let (origin, origin_address) = free_socket();
        let (private, private_address) = free_socket();
        let (admin, admin_address) = free_socket();
        let tls_address = public_tls.as_ref().and_then(|(source, _)| source.local_addr());
        let sockets = Sockets {
            public,
            public_tls,
            origin,
            private,
            admin,
        };
        let balancer = Balancer::start(name.to_owned(), table, sockets, limits).expect("started");
        wait_until_up(admin_address, backends_up).await;
        if backends_up > 0 {
            let is_ready = || async move { status(&get(admin_address, "/readyz").await) == 200 };
            eventually("ready", is_ready).await;
        }
        Self {
            balancer,
            public: public_address,
            public_tls: tls_address,
            origin: origin_address,
            private: private_address,
            admin: admin_address,
        }
    }
}

/// Asks /backends until so many are up.
pub(crate) async fn wait_until_up(admin: SocketAddr, backends_up: usize) {
    eventually("all backends up", || async move {
        let backends = raw(admin, "GET /backends HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        backends.matches("\"health\":\"up\"").count() == backends_up
    })
    .await;
}

/// The sum of a metric's values whose line contains this text.
pub(crate) async fn metric(admin: SocketAddr, text: &str) -> u64 {
    let metrics = get(admin, "/metrics").await;
    let lines = metrics
        .lines()
        .filter(|line| !line.starts_with('#') && line.contains(text));
    lines
        .map(|line| {
            line.rsplit(' ')
                .next()
                .expect("a value")
                .parse::<u64>()
                .expect("a number")
        })
        .sum()
}

/// Polls a condition with a deadline.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let polling = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, polling)
        .await
        .unwrap_or_else(|_| panic!("never came: {what}"));
}

/// Sends raw bytes and reads what comes until the connection ends. Empty if there is no connection.
pub(crate) async fn raw(address: SocketAddr, request: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(address).await else {
        return String::new();
    };
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    let _ = timeout(DEADLINE, reading).await.expect("an answer and an end in time");
    String::from_utf8_lossy(&answer).into_owned()
}

/// One GET on a connection of its own.
pub(crate) async fn get(address: SocketAddr, path: &str) -> String {
    raw(
        address,
        &format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n"),
    )
    .await
}

/// The status of an answer in raw bytes; 0 if there was none.
pub(crate) fn status(answer: &str) -> u16 {
    answer.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// A client that keeps its connection for as long as it may, and knows nothing of retries.
pub(crate) struct Client {
    address: SocketAddr,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, sender: None }
    }

    /// Whether a connection could be had, at first or anew.
    pub(crate) async fn connect(&mut self) -> bool {
        let is_usable = match &mut self.sender {
            Some(sender) => !sender.is_closed() && sender.ready().await.is_ok(),
            None => false,
        };
        if is_usable {
            return true;
        }
        let Ok(stream) = TcpStream::connect(self.address).await else {
            return false;
        };
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
        let Ok((sender, connection)) = handshake.await else {
            return false;
        };
        tokio::spawn(connection);
        self.sender = Some(sender);
        true
    }

    /// The status and body of one answer on the present connection.
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, hyper::Error> {
        let sender = self.sender.as_mut().expect("connected before");
        let (parts, body) = sender.send_request(request).await?.into_parts();
        if parts.headers.get("connection").is_some_and(|value| value == "close") {
            self.sender = None;
        }
        Ok(Response::from_parts(parts, body.collect().await?.to_bytes()))
    }

    pub(crate) async fn get(&mut self, path: &str) -> Result<Response<Bytes>, hyper::Error> {
        let request = Request::get(path).header("host", "shop.example").body(Full::default());
        self.send(request.expect("a request")).await
    }
}

/// A gateway within this process, on a given port or any free one. Whoever held the port has a moment to let go.
pub(crate) async fn start_gateway(path: &std::path::Path, port: u16) -> (SocketAddr, JoinHandle<()>) {
    let began = std::time::Instant::now();
    let listener = loop {
        match shop_net::listen::bind_tcp(([127, 0, 0, 1], port).into()) {
            Ok(listener) => break listener,
            Err(error) => assert!(began.elapsed() < DEADLINE, "never free: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let address = listener.local_addr().expect("an address");
    let serving = shop_net::handover::serve(listener, path, None).expect("a Unix socket");
    (address, tokio::spawn(serving))
}
