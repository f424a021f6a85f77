//! WebSocket: connections of HTTP/1.1 and streams of HTTP/2 that leave HTTP, and what bounds them.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http2::{self, Sender};
use crate::protocols::{raw_backend, read_until};
use crate::support::{DEADLINE, Front, eventually, limits, metric, raw, routes_to, status};

pub(crate) const ASK: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// Agrees to a WebSocket and returns what it gets; `/refuses` answers like any other page.
pub(crate) async fn echo_backend() -> SocketAddr {
    raw_backend(|head, mut stream| async move {
        if !head.contains("upgrade: websocket") || head.contains("/refuses") {
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno";
            let _ = stream.write_all(answer.as_bytes()).await;
            return;
        }
        let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.expect("sent");
        let (mut from, mut to) = stream.split();
        let _ = tokio::io::copy(&mut from, &mut to).await;
        let _ = to.shutdown().await;
    })
    .await
}

/// Says something through a tunnel to an `echo_backend`, and hears it again.
pub(crate) async fn assert_echoes(tunnel: &mut (impl AsyncRead + AsyncWrite + Unpin), said: &[u8]) {
    tunnel.write_all(said).await.expect("sent");
    let mut heard = vec![0; said.len()];
    timeout(DEADLINE, tunnel.read_exact(&mut heard))
        .await
        .expect("in time")
        .expect("an echo");
    assert_eq!(heard, said);
}

async fn open(address: SocketAddr) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(ASK.as_bytes()).await.expect("sent");
    let head = read_until(&mut stream, "\r\n\r\n").await;
    (stream, head)
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_pass_both_ways_until_both_ends_are_done() {
    let front = Front::start(&routes_to(echo_backend().await), limits(), 1).await;
    let (mut stream, head) = open(front.public).await;
    assert_eq!(status(&head), 101, "{head}");
    for line in [
        "connection: upgrade",
        "upgrade: websocket",
        "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    ] {
        assert!(head.contains(line), "{line}: {head}");
    }
    // What looks like a request of doubtful length is none here, and neither are lines that never end.
    for said in [
        "POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        "\u{0}\u{1}",
        &"long".repeat(100_000),
    ] {
        let (mut from, mut to) = stream.split();
        let saying = to.write_all(said.as_bytes());
        let mut heard = vec![0; said.len()];
        let hearing = from.read_exact(&mut heard);
        let (sent, got) = timeout(DEADLINE, async { tokio::join!(saying, hearing) })
            .await
            .expect("in time");
        assert!(sent.is_ok() && got.is_ok());
        assert_eq!(heard, said.as_bytes());
    }
    assert_eq!(metric(front.admin, "balancer_tunnels ").await, 1);
    assert_eq!(
        metric(front.admin, "balancer_in_flight").await,
        0,
        "a WebSocket is no request in work"
    );
    stream.shutdown().await.expect("closed");
    let mut rest = Vec::new();
    timeout(DEADLINE, stream.read_to_end(&mut rest))
        .await
        .expect("in time")
        .expect("an end");
    eventually("it is forgotten", || async {
        metric(front.admin, "balancer_tunnels ").await == 0 && metric(front.admin, "balancer_connections ").await == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_only_so_many() {
    let front = Front::start(&routes_to(echo_backend().await), limits(), 1).await;
    let (first, head) = open(front.public).await;
    assert_eq!(status(&head), 101, "{head}");
    let (_second, head) = open(front.public).await;
    assert_eq!(status(&head), 101, "{head}");
    let (_refused, head) = open(front.public).await;
    assert_eq!(status(&head), 503, "{head}");
    drop(first);
    eventually("there is room again", || async {
        let (_stream, head) = open(front.public).await;
        status(&head) == 101
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_may_refuse_and_the_connection_stays_http() {
    let front = Front::start(&routes_to(echo_backend().await), limits(), 1).await;
    let asks = ASK.replace("/chat", "/refuses");
    let answer = raw(
        front.public,
        &(asks + "GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    )
    .await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    assert_eq!(metric(front.admin, "balancer_tunnels ").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_switches_to_anything_else() {
    let front = Front::start(&routes_to(echo_backend().await), limits(), 1).await;
    for asks in [
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: websocket, h2c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nUpgrade: websocket\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ] {
        let answer = raw(front.public, asks).await;
        assert_eq!(status(&answer), 200, "{asks}: {answer}");
        assert!(answer.ends_with("\r\n\r\nno"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_waits_for_no_websocket() {
    let front = Front::start(&routes_to(echo_backend().await), limits(), 1).await;
    let (mut stream, head) = open(front.public).await;
    assert_eq!(status(&head), 101, "{head}");
    assert!(timeout(DEADLINE, front.balancer.drain()).await.expect("in time"));
    let mut rest = Vec::new();
    // An end or a reset: it is over.
    let _ = timeout(DEADLINE, stream.read_to_end(&mut rest)).await.expect("in time");
}

/// Asks for a WebSocket as RFC 8441 has it.
async fn ask_by_http2(sender: &mut Sender, path: &str) -> Response<Incoming> {
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri(format!("http://shop.example{path}"))
        .header("sec-websocket-version", "13")
        .extension(Protocol::from_static("websocket"));
    let request = request.body(Full::<Bytes>::default()).expect("a request");
    let answer = timeout(DEADLINE, sender.send_request(request)).await;
    answer.expect("in time").expect("an answer")
}

async fn open_by_http2(sender: &mut Sender) -> TokioIo<Upgraded> {
    let answer = ask_by_http2(sender, "/chat").await;
    assert_eq!(answer.status(), 200, "{answer:?}");
    for name in ["sec-websocket-accept", "connection", "upgrade"] {
        assert!(!answer.headers().contains_key(name), "{name}: {answer:?}");
    }
    let upgraded = timeout(DEADLINE, hyper::upgrade::on(answer)).await;
    TokioIo::new(upgraded.expect("in time").expect("a tunnel"))
}

/// A backend that agrees, goes on talking as it likes, and doesn't mind who has nothing more to say.
async fn stubborn_backend(chunk: &'static [u8]) -> SocketAddr {
    raw_backend(move |_, mut stream| async move {
        let agrees = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        let mut said = stream.write_all(agrees.as_bytes()).await;
        while said.is_ok() && !chunk.is_empty() {
            said = stream.write_all(chunk).await;
        }
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        std::future::pending::<()>().await;
    })
    .await
}

fn impatient() -> balancer::Limits {
    balancer::Limits {
        client_stall_max: Duration::from_millis(300),
        ..limits()
    }
}

async fn no_tunnel_is_left(front: &Front) {
    eventually("it is forgotten", || async {
        metric(front.admin, "balancer_tunnels ").await == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_http2_becomes_a_websocket_beside_others() {
    let front = Front::start(&routes_to(echo_backend().await), limits(), 1).await;
    let (mut sender, _) = http2::connect(front.public).await;
    let (from, mut to) = tokio::io::split(open_by_http2(&mut sender).await);
    let said = "long".repeat(200_000);
    let mut heard = String::new();
    let saying = async {
        to.write_all(said.as_bytes()).await.expect("sent");
        to.shutdown().await.expect("closed");
    };
    let mut from = from.take(said.len() as u64);
    let both = async { tokio::join!(saying, from.read_to_string(&mut heard)) };
    let ((), read) = timeout(DEADLINE, both).await.expect("in time");
    read.expect("an echo");
    assert!(heard == said, "{} bytes of {}", heard.len(), said.len());
    let mut rest = Vec::new();
    let mut from = from.into_inner();
    timeout(DEADLINE, from.read_to_end(&mut rest))
        .await
        .expect("in time")
        .expect("an end");
    no_tunnel_is_left(&front).await;
    let answer = sender.send_request(http2::get("/refuses")).await.expect("an answer");
    assert_eq!(answer.status(), 200, "the connection is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_count_as_tunnels_do() {
    let front = Front::start(&routes_to(echo_backend().await), limits(), 1).await;
    let (mut sender, _) = http2::connect(front.public).await;
    let first = open_by_http2(&mut sender).await;
    let _second = open_by_http2(&mut sender).await;
    assert_eq!(metric(front.admin, "balancer_tunnels ").await, 2);
    assert_eq!(ask_by_http2(&mut sender, "/chat").await.status(), 503);
    drop(first);
    eventually("there is room again", || {
        let mut sender = sender.clone();
        async move { ask_by_http2(&mut sender, "/chat").await.status() == 200 }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_backend_stays_with_http_is_refused() {
    let front = Front::start(&routes_to(echo_backend().await), limits(), 1).await;
    let (mut sender, _) = http2::connect(front.public).await;
    // Passed on, the backend's 200 would say that there is a WebSocket.
    assert_eq!(ask_by_http2(&mut sender, "/refuses").await.status(), 400);
    let connect = Request::connect("shop.example:80").body(Full::default());
    let answer = sender
        .send_request(connect.expect("a request"))
        .await
        .expect("an answer");
    assert_eq!(answer.status(), 405, "this is no proxy for anything else");
    assert_eq!(metric(front.admin, "balancer_tunnels ").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_reset_leaves_no_tunnel() {
    let front = Front::start(&routes_to(stubborn_backend(b"").await), impatient(), 1).await;
    let (mut sender, _) = http2::connect(front.public).await;
    drop(open_by_http2(&mut sender).await);
    no_tunnel_is_left(&front).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_nothing_of_a_stream_keeps_nothing() {
    let front = Front::start(&routes_to(stubborn_backend(&[0; 8192]).await), impatient(), 1).await;
    let (mut sender, _) = http2::connect(front.public).await;
    let _never_read = open_by_http2(&mut sender).await;
    no_tunnel_is_left(&front).await;
    // Whatever was kept for the client would be waited for.
    assert!(timeout(DEADLINE, front.balancer.drain()).await.expect("in time"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_no_more_streams_than_connections() {
    let narrow = balancer::Limits {
        connections_per_address_max: 2,
        tunnels_max: 100,
        ..limits()
    };
    let front = Front::start(&routes_to(echo_backend().await), narrow, 1).await;
    let (mut sender, _) = http2::connect(front.public).await;
    let _beside_its_connection = open_by_http2(&mut sender).await;
    assert_eq!(ask_by_http2(&mut sender, "/chat").await.status(), 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_has_only_so_many() {
    let wide = balancer::Limits {
        tunnels_max: 100,
        ..limits()
    };
    let front = Front::start(&routes_to(echo_backend().await), wide, 1).await;
    let (mut sender, _) = http2::connect(front.public).await;
    let mut open = Vec::new();
    for _ in 0..10 {
        open.push(open_by_http2(&mut sender).await);
    }
    assert_eq!(ask_by_http2(&mut sender, "/chat").await.status(), 503);
    let (mut other, _) = http2::connect(front.public).await;
    open.push(open_by_http2(&mut other).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_connection_ends_with_its_tunnels() {
    let short_lived = balancer::Limits {
        connection_age_max: Duration::ZERO,
        ..limits()
    };
    let front = Front::start(&routes_to(echo_backend().await), short_lived, 1).await;
    let (mut sender, connection) = http2::connect(front.public).await;
    let mut stream = open_by_http2(&mut sender).await;
    assert_echoes(&mut stream, b"still there").await;
    drop(stream);
    let _ = timeout(DEADLINE, connection).await.expect("in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_waits_for_no_stream_either() {
    let front = Front::start(&routes_to(echo_backend().await), limits(), 1).await;
    let (mut sender, _) = http2::connect(front.public).await;
    let mut stream = open_by_http2(&mut sender).await;
    assert!(timeout(DEADLINE, front.balancer.drain()).await.expect("in time"));
    let mut rest = Vec::new();
    let _ = timeout(DEADLINE, stream.read_to_end(&mut rest)).await.expect("in time");
}
