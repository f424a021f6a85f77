//! HTTP/2 in front, in the clear by prior knowledge and over TLS, and clients who abuse it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::protocols::{raw_backend, with_rest};
use crate::support::{Backend, DEADLINE, Front, eventually, limits, metric, routes, routes_to};
use crate::tls;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
const END_STREAM: u8 = 1;
/// `GET`, `http`, `/`, and the authority `a`, by HPACK's static table.
const GET: &[u8] = &[0x82, 0x86, 0x84, 0x41, 1, b'a'];

pub(crate) type Sender = SendRequest<Full<Bytes>>;

async fn client<B>(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> (SendRequest<B>, JoinHandle<Result<(), hyper::Error>>)
where
    B: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
{
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (sender, connection) = handshake.await.expect("HTTP/2");
    (sender, tokio::spawn(connection))
}

pub(crate) async fn connect(address: SocketAddr) -> (Sender, JoinHandle<Result<(), hyper::Error>>) {
    client(TcpStream::connect(address).await.expect("connected")).await
}

pub(crate) fn get(path: &str) -> Request<Full<Bytes>> {
    let uri = format!("http://shop.example{path}");
    Request::get(uri).body(Full::default()).expect("a request")
}

async fn text(response: Response<hyper::body::Incoming>) -> String {
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    String::from_utf8_lossy(&body).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_share_a_connection_and_reach_the_backend_as_http1() {
    let backend = Backend::start("inventory-1").await;
    let front = Front::start(&routes(&[&backend], &[]), limits(), 1).await;
    let (mut sender, _connection) = connect(front.public).await;
    let slow = sender.send_request(get("/slow/300"));
    let mut request = get("/echo");
    for cookie in ["a=1", "b=2"] {
        request.headers_mut().append("cookie", HeaderValue::from_static(cookie));
    }
    let response = sender
        .send_request(request)
        .await
        .expect("an answer before the slow one");
    assert_eq!((response.status().as_u16(), response.version()), (200, Version::HTTP_2));
    let headers = response.headers().clone();
    let seen = text(response).await;
    for line in [
        "host: shop.example\n",
        "cookie: a=1; b=2\n",
        "x-forwarded-proto: http\n",
    ] {
        assert!(seen.contains(line), "{line}: {seen}");
    }
    for name in ["connection", "keep-alive", "transfer-encoding"] {
        assert!(!headers.contains_key(name), "{name}");
    }
    assert_eq!(slow.await.expect("an answer").status(), 200);
    assert_eq!(metric(front.admin, "balancer_connections ").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_told_that_they_may_ask_for_a_websocket() {
    let backend = Backend::start("inventory-1").await;
    let front = Front::start(&routes(&[&backend], &[]), limits(), 1).await;
    let mut raw = Raw::connect(front.public, &[]).await;
    let mut head = [0; 9];
    raw.stream.read_exact(&mut head).await.expect("a frame");
    let [_, _, length, SETTINGS, ..] = head else {
        panic!("no settings: {head:?}");
    };
    let mut settings = vec![0; length.into()];
    raw.stream.read_exact(&mut settings).await.expect("settings");
    // SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441, section 3).
    assert!(
        settings.chunks(6).any(|setting| setting == [0, 8, 0, 0, 0, 1]),
        "{settings:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_chosen_over_tls_by_whom_offers_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let backend = Backend::start("inventory-1").await;
    let front = Front::start_with_tls(&routes(&[&backend], &[]), limits(), &tls::settings(folder.path())).await;
    let (stream, _) = tls::connect(&front, &["h2", "http/1.1"]).await.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, _connection) = client(stream).await;
    let response = sender.send_request(get("/echo")).await.expect("an answer");
    let seen = text(response).await;
    assert!(seen.contains("x-forwarded-proto: https\n"), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_and_refusals_work_as_over_http1() {
    let backend = Backend::start("inventory-1").await;
    let front = Front::start(&routes(&[&backend], &[]), limits(), 1).await;
    let (mut sender, _connection) = connect(front.public).await;
    for (path, body, status) in [
        ("/echo", "hello", 200),
        ("/small", "hello world", 413),
        ("/../x", "", 400),
    ] {
        let request = Request::post(format!("http://shop.example{path}"));
        let request = request.body(Full::from(body)).expect("a request");
        let response = sender.send_request(request).await.expect("an answer");
        assert_eq!(response.status(), status, "{path}");
        let seen = text(response).await;
        assert!(status != 200 || seen.ends_with("\n\nhello"), "{seen}");
    }
    // A method that is not used here ends its stream, not the connection.
    let trace = Request::builder()
        .method("TRACE")
        .uri("http://shop.example/")
        .body(Full::default());
    let response = sender.send_request(trace.expect("a request")).await.expect("an answer");
    assert_eq!(response.status(), 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_of_a_backend_reach_the_client_and_those_of_the_client_the_backend() {
    let backend = raw_backend(|head, mut stream| async move {
        let request = with_rest(head, &mut stream, "tail-of-request: 1").await;
        assert!(request.contains("0\r\ntail-of-request: 1"), "{request}");
        let answer = "HTTP/1.1 200 OK\r\nTrailer: Tail-Of-Answer\r\nTransfer-Encoding: chunked\r\n\r\n\
                      5\r\nhello\r\n0\r\nTail-Of-Answer: 2\r\nConnection: x\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.expect("sent");
    })
    .await;
    let front = Front::start(&routes_to(backend), limits(), 1).await;
    let (mut sender, _connection) = client(TcpStream::connect(front.public).await.expect("connected")).await;
    let mut trailers = HeaderMap::new();
    trailers.insert("tail-of-request", HeaderValue::from_static("1"));
    let frames = [Frame::data(Bytes::from_static(b"hello")), Frame::trailers(trailers)];
    let body = StreamBody::new(futures::stream::iter(frames.map(Ok::<_, Infallible>)));
    let request = Request::post("http://shop.example/echo")
        .header("trailer", "tail-of-request")
        .header("te", "trailers");
    let response = sender
        .send_request(request.body(body).expect("a request"))
        .await
        .expect("an answer");
    let collected = response.into_body().collect().await.expect("a body");
    let trailers = collected.trailers().expect("trailers").clone();
    assert_eq!(trailers["tail-of-answer"], "2");
    assert!(!trailers.contains_key("connection"));
    assert_eq!(collected.to_bytes(), "hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_of_unknown_length_ends_where_its_stream_ends() {
    let backend = raw_backend(|head, mut stream| async move {
        let request = with_rest(head, &mut stream, "\r\n0\r\n\r\n").await;
        assert!(request.ends_with("5\r\nhello\r\n0\r\n\r\n"), "{request}");
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        stream.write_all(answer).await.expect("sent");
    })
    .await;
    let front = Front::start(&routes_to(backend), limits(), 1).await;
    let (mut sender, _connection) = client(TcpStream::connect(front.public).await.expect("connected")).await;
    // Its last frame is an empty one.
    let frames = [Frame::data(Bytes::from_static(b"hello"))];
    let body = StreamBody::new(futures::stream::iter(frames.map(Ok::<_, Infallible>)));
    let request = Request::post("http://shop.example/echo").body(body).expect("a request");
    let answered = timeout(DEADLINE / 2, sender.send_request(request)).await;
    let response = answered.expect("long before the deadline").expect("an answer");
    assert_eq!(response.status(), 200);
    assert_eq!(response.into_body().collect().await.expect("a body").to_bytes(), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_says_goodbye_and_finishes_what_is_under_way() {
    let backend = Backend::start("inventory-1").await;
    let front = Front::start(&routes(&[&backend], &[]), limits(), 1).await;
    let (mut sender, connection) = connect(front.public).await;
    let (_idle_sender, idle) = connect(front.public).await;
    let answering = sender.send_request(get("/slow/1000"));
    let answering = tokio::spawn(answering);
    eventually("the request is under way", || async { backend.slow_requests() == 1 }).await;
    let draining = tokio::spawn(front.balancer.drain());
    timeout(DEADLINE, idle)
        .await
        .expect("in time")
        .expect("ran")
        .expect("closed politely");
    let response = timeout(DEADLINE, answering)
        .await
        .expect("in time")
        .expect("ran")
        .expect("an answer");
    assert_eq!(response.status(), 200);
    text(response).await;
    timeout(DEADLINE, connection)
        .await
        .expect("in time")
        .expect("ran")
        .expect("closed politely");
    assert!(draining.await.expect("ran"), "everything finished");
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A client that speaks in frames.
struct Raw {
    stream: TcpStream,
}

impl Raw {
    async fn connect(address: SocketAddr, settings: &[u8]) -> Self {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.write_all(PREFACE).await.expect("sent");
        stream.write_all(&frame(SETTINGS, 0, 0, settings)).await.expect("sent");
        Self { stream }
    }

    /// The kinds of all frames and the error codes of GOAWAYs until the connection ends.
    async fn rest(mut self) -> Vec<(u8, Option<u32>)> {
        let mut bytes = Vec::new();
        // A reset is an end, too.
        let _ = timeout(DEADLINE, self.stream.read_to_end(&mut bytes))
            .await
            .expect("an end in time");
        let mut frames = Vec::new();
        let mut rest = &bytes[..];
        while let Some((head, after)) = rest.split_first_chunk::<9>() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let Some(payload) = after.get(..length) else { break };
            let code = payload
                .get(4..8)
                .and_then(|code| code.try_into().ok())
                .map(u32::from_be_bytes);
            frames.push((head[3], code.filter(|_| head[3] == GOAWAY)));
            rest = &after[length..];
        }
        frames
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rapid_resets_end_the_connection_and_leave_nothing_behind() {
    let backend = Backend::start("inventory-1").await;
    let front = Front::start(&routes(&[&backend], &[]), limits(), 1).await;
    let mut raw = Raw::connect(front.public, &[]).await;
    for number in 0..5_000u32 {
        let id = 2 * number + 1;
        let mut pair = frame(HEADERS, END_HEADERS | END_STREAM, id, GET);
        pair.extend(frame(RST_STREAM, 0, id, &8u32.to_be_bytes()));
        if raw.stream.write_all(&pair).await.is_err() {
            break;
        }
    }
    raw.rest().await;
    eventually("nothing is left", || async {
        metric(front.admin, "balancer_in_flight").await == 0 && metric(front.admin, "balancer_connections ").await == 0
    })
    .await;
    assert!(
        backend.count() < 1_000,
        "{} requests were started in vain",
        backend.count()
    );
    let (mut sender, _connection) = connect(front.public).await;
    assert_eq!(
        sender.send_request(get("/echo")).await.expect("an answer").status(),
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_its_client_cuts_short_is_not_the_backend_s_fault() {
    let backend = Backend::start("inventory-1").await;
    let front = Front::start(&routes(&[&backend], &[]), limits(), 1).await;
    let mut raw = Raw::connect(front.public, &[]).await;
    // `POST`, `http`, `/`, the authority `a`, and a length of ten.
    let head = [&[0x83, 0x86, 0x84, 0x41, 1, b'a', 0x0f, 0x0d, 2][..], b"10"].concat();
    for number in 0..10u32 {
        let id = 2 * number + 1;
        raw.stream
            .write_all(&frame(HEADERS, END_HEADERS, id, &head))
            .await
            .expect("sent");
        raw.stream.write_all(&frame(DATA, 0, id, b"12345")).await.expect("sent");
        eventually("it is under way", || async {
            metric(front.admin, "balancer_in_flight").await > 0
        })
        .await;
        // By this code the stream looks as if it had ended.
        raw.stream
            .write_all(&frame(RST_STREAM, 0, id, &[0; 4]))
            .await
            .expect("sent");
        eventually("it is over", || async {
            metric(front.admin, "balancer_in_flight").await == 0
        })
        .await;
    }
    for kind in ["kind=\"reset\"", "kind=\"ejected\""] {
        assert_eq!(metric(front.admin, kind).await, 0, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn resets_with_patience_end_the_connection_too() {
    let backend = Backend::start("inventory-1").await;
    let front = Front::start(&routes(&[&backend], &[]), limits(), 1).await;
    let (mut sender, connection) = connect(front.public).await;
    for _ in 0..1_000 {
        let started = backend.slow_requests();
        let answering = tokio::spawn(sender.send_request(get("/slow/15000")));
        eventually("it is under way, or refused", || async {
            backend.slow_requests() > started || connection.is_finished()
        })
        .await;
        answering.abort();
        if connection.is_finished() {
            break;
        }
    }
    assert!(
        timeout(DEADLINE, connection).await.is_ok(),
        "the connection was borne with"
    );
    assert!(backend.slow_requests() <= 110, "{}", backend.slow_requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_without_an_end_are_cut() {
    let backend = Backend::start("inventory-1").await;
    let front = Front::start(&routes(&[&backend], &[]), limits(), 1).await;
    let mut raw = Raw::connect(front.public, &[]).await;
    raw.stream
        .write_all(&frame(HEADERS, END_STREAM, 1, GET))
        .await
        .expect("sent");
    // A literal that isn't indexed, again and again, in frames of 16 KB: 64 MB in all.
    let field = [&[0x00, 1, b'x', 100][..], &[b'y'; 100]].concat();
    let fields = frame(CONTINUATION, 0, 1, &field.repeat(150));
    let mut sent = 0;
    while sent < 64 << 20 && raw.stream.write_all(&fields).await.is_ok() {
        sent += fields.len();
    }
    assert!(sent < 64 << 20, "all of it was taken");
    raw.rest().await;
    eventually("nothing is left", || async {
        metric(front.admin, "balancer_connections ").await == 0
    })
    .await;
    assert_eq!(backend.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_larger_than_announced_are_refused() {
    let backend = Backend::start("inventory-1").await;
    let front = Front::start(&routes(&[&backend], &[]), limits(), 1).await;
    let (mut sender, _connection) = connect(front.public).await;
    let mut request = get("/echo");
    for number in 0..50 {
        let name = http::HeaderName::try_from(format!("x-{number}")).expect("a name");
        request
            .headers_mut()
            .insert(name, "y".repeat(1_000).parse().expect("a value"));
    }
    let outcome = sender.send_request(request).await;
    let is_refused = outcome.is_err() || outcome.is_ok_and(|response| response.status() == 431);
    assert!(is_refused);
    assert_eq!(backend.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_nothing_of_a_stream_loses_the_stream_and_keeps_the_connection() {
    let backend = Backend::start("inventory-1").await;
    let impatient = balancer::Limits {
        client_stall_max: Duration::from_millis(300),
        ..limits()
    };
    let front = Front::start(&routes(&[&backend], &[]), impatient, 1).await;
    let (mut sender, _connection) = connect(front.public).await;
    // Its head has come; of the body nothing is read beyond the window.
    let stalled = sender.send_request(get("/large/30000000")).await.expect("a head");
    eventually("the place is back", || async {
        metric(front.admin, "balancer_in_flight").await == 0
    })
    .await;
    assert!(stalled.into_body().collect().await.is_err(), "the stream was reset");
    let response = sender.send_request(get("/echo")).await.expect("an answer");
    assert_eq!(response.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn short_answers_that_nobody_takes_are_not_kept_either() {
    let backend = Backend::start("inventory-1").await;
    let impatient = balancer::Limits {
        client_stall_max: Duration::from_millis(300),
        ..limits()
    };
    let front = Front::start(&routes(&[&backend], &[]), impatient, 1).await;
    let stream = TcpStream::connect(front.public).await.expect("connected");
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let handshake = builder.initial_stream_window_size(1).handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.expect("HTTP/2");
    tokio::spawn(connection);
    let mut stalled = Vec::new();
    for _ in 0..50 {
        stalled.push(sender.send_request(get("/large/8000")).await.expect("a head"));
    }
    eventually("the places are back", || async {
        metric(front.admin, "balancer_in_flight").await == 0
    })
    .await;
    for stalled in stalled {
        assert!(stalled.into_body().collect().await.is_err(), "the stream was reset");
    }
    let (mut reader, _connection) = connect(front.public).await;
    let response = reader.send_request(get("/large/8000")).await.expect("an answer");
    assert_eq!(response.headers()["content-length"], "8000");
    assert_eq!(text(response).await, "x".repeat(8000));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_connection_is_told_to_go_and_what_it_has_asked_is_answered() {
    let backend = Backend::start("inventory-1").await;
    let short = balancer::Limits {
        connection_age_max: Duration::from_millis(300),
        ..limits()
    };
    let front = Front::start(&routes(&[&backend], &[]), short, 1).await;
    let (mut sender, connection) = connect(front.public).await;
    let slow = sender.send_request(get("/slow/1000"));
    let asking = async {
        while let Ok(response) = sender.send_request(get("/echo")).await {
            assert_eq!(response.status(), 200);
        }
    };
    timeout(DEADLINE, asking).await.expect("told to go");
    assert_eq!(slow.await.expect("an answer").status(), 200);
    timeout(DEADLINE, connection)
        .await
        .expect("ended")
        .expect("a task")
        .expect("in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_asks_nothing_is_told_to_go() {
    let backend = Backend::start("inventory-1").await;
    let front = Front::start(&routes(&[&backend], &[]), limits(), 1).await;
    let raw = Raw::connect(front.public, &[]).await;
    let frames = raw.rest().await;
    assert!(frames.contains(&(GOAWAY, Some(0))), "{frames:?}");
}
