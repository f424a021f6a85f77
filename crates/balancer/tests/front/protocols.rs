//! What HTTP/1.1 can do besides one request and one answer: expectations, trailers, streams of events, half-closed
//! connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::support::{Backend, DEADLINE, Front, eventually, limits, metric, raw, routes, routes_to, status};

/// Reads until the text has come.
pub(crate) async fn read_until(stream: &mut (impl AsyncReadExt + Unpin), text: &str) -> String {
    let mut seen = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&seen).contains(text) {
            let mut piece = [0; 4096];
            match stream.read(&mut piece).await {
                Ok(bytes) if bytes > 0 => seen.extend_from_slice(&piece[..bytes]),
                _ => break,
            }
        }
        String::from_utf8_lossy(&seen).into_owned()
    };
    timeout(DEADLINE, reading).await.expect("in time")
}

/// What was read, and what is still to come until the text has.
pub(crate) async fn with_rest(read: String, stream: &mut TcpStream, text: &str) -> String {
    if read.contains(text) {
        return read;
    }
    let rest = read_until(stream, text).await;
    read + &rest
}

/// A backend that speaks in raw bytes. It answers checks; everything else is a matter of `talk`, which gets the head.
pub(crate) async fn raw_backend<F, T>(talk: T) -> SocketAddr
where
    T: Fn(String, TcpStream) -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("accepted");
            let talk = talk.clone();
            tokio::spawn(async move {
                let head = read_until(&mut stream, "\r\n\r\n").await;
                if head.contains("/readyz") {
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                    // The check may be over.
                    let _ = stream.write_all(answer).await;
                } else {
                    talk(head, stream).await;
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn who_expects_to_be_asked_for_the_body_is_asked_once_somebody_wants_it() {
    let backend = Backend::start("inventory-1").await;
    let front = Front::start(&routes(&[&backend], &[]), limits(), 1).await;
    let mut stream = TcpStream::connect(front.public).await.expect("connected");
    let head =
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-Continue\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("sent");
    let asked = read_until(&mut stream, "\r\n\r\n").await;
    assert!(asked.starts_with("HTTP/1.1 100 "), "{asked}");
    stream.write_all(b"hello").await.expect("sent");
    let answer = read_until(&mut stream, "\n\nhello").await;
    assert_eq!(status(&answer), 200, "{answer}");
    assert!(!answer.contains("expect:"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_would_be_refused_is_not_asked_for_the_body() {
    let backend = Backend::start("inventory-1").await;
    let front = Front::start(&routes(&[&backend], &[]), limits(), 1).await;
    for (length, expectation, refused) in [(11, "100-continue", 413), (5, "200-ok", 417)] {
        let head = format!(
            "POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\nExpect: {expectation}\r\nConnection: close\r\n\r\n"
        );
        let answer = raw(front.public, &head).await;
        assert_eq!(status(&answer), refused, "{answer}");
    }
    assert_eq!(backend.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_pass_both_ways_where_they_are_announced_and_wanted() {
    let backend = raw_backend(|head, mut stream| async move {
        let request = with_rest(head, &mut stream, "tail-of-request: 1\r\n\r\n")
            .await
            .to_ascii_lowercase();
        for line in ["trailer: tail-of-request\r\n", "te: trailers\r\n", "connection: te\r\n"] {
            assert!(request.contains(line), "{line}: {request}");
        }
        assert!(request.ends_with("0\r\ntail-of-request: 1\r\n\r\n"), "{request}");
        let answer = "HTTP/1.1 200 OK\r\nTrailer: Tail-Of-Answer\r\nTransfer-Encoding: chunked\r\n\r\n\
                      5\r\nhello\r\n0\r\nTail-Of-Answer: 2\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.expect("sent");
    })
    .await;
    let front = Front::start(&routes_to(backend), limits(), 1).await;
    let request = "POST /echo HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\nTrailer: Tail-Of-Request\r\n\
                   Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nTail-Of-Request: 1\r\nContent-Length: 7\r\n\r\n";
    let answer = raw(front.public, request).await;
    assert_eq!(status(&answer), 200, "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
    assert!(!head.contains("tail-of-answer: 2"), "a trailer is no header: {head}");
    assert!(body.contains("0\r\ntail-of-answer: 2\r\n\r\n"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_passed_on_before_the_next_one_happens() {
    let heard = Arc::new(Semaphore::new(0));
    let listening = heard.clone();
    let backend = raw_backend(move |_, mut stream| {
        let heard = listening.clone();
        async move {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).await.expect("sent");
            for number in 0..3 {
                let event = format!("data: {number}\n\n");
                let chunk = format!("{:x}\r\n{event}\r\n", event.len());
                stream.write_all(chunk.as_bytes()).await.expect("sent");
                heard.acquire().await.expect("open").forget();
            }
            let _ = stream.write_all(b"0\r\n\r\n").await;
        }
    })
    .await;
    let front = Front::start(&routes_to(backend), limits(), 1).await;
    let mut stream = TcpStream::connect(front.public).await.expect("connected");
    // The route's deadline is 300 ms: it is for the head alone.
    let request = b"GET /hasty/events HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.expect("sent");
    for number in 0..3 {
        let event = format!("data: {number}\n\n");
        let events = read_until(&mut stream, &event).await;
        assert!(events.contains(&event), "{events}");
        if number == 1 {
            let silence = timeout(Duration::from_millis(600), stream.read(&mut [0; 64])).await;
            assert!(silence.is_err(), "the stream was ended: {silence:?}");
        }
        heard.add_permits(1);
    }
    let end = read_until(&mut stream, "0\r\n\r\n").await;
    assert!(end.ends_with("0\r\n\r\n"), "{end}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_its_side_holds_no_place() {
    let backend = Backend::start("inventory-1").await;
    let front = Front::start(&routes(&[&backend], &[]), limits(), 1).await;
    let mut waiting = TcpStream::connect(front.public).await.expect("connected");
    let request = b"GET /slow/15000 HTTP/1.1\r\nHost: a\r\n\r\n";
    waiting.write_all(request).await.expect("sent");
    eventually("the request is under way", || async { backend.slow_requests() == 1 }).await;
    waiting.shutdown().await.expect("half closed");
    // So does one that never asked anything, and one within a head.
    let mut silent = TcpStream::connect(front.public).await.expect("connected");
    silent.shutdown().await.expect("half closed");
    let mut cut = TcpStream::connect(front.public).await.expect("connected");
    cut.write_all(b"GET / HT").await.expect("sent");
    cut.shutdown().await.expect("half closed");
    eventually("the connections are closed", || async {
        metric(front.admin, "balancer_connections ").await == 0 && metric(front.admin, "balancer_in_flight").await == 0
    })
    .await;
}
