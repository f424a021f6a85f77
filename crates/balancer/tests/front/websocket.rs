//! WebSocket: connections that leave HTTP, and what bounds them.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

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
