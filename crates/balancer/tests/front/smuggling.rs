//! Each way of hiding a second request in a first one, against a backend that would see it.

use crate::recorder::{Arrived, Recorder, Seen};
use crate::support::{raw, status};

/// What must never arrive.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// The head of a POST with these lines, and something behind it that would like to be a request.
fn post(lines: &str, body: &str) -> String {
    format!("POST /p HTTP/1.1\r\nHost: a\r\n{lines}\r\n{body}{SMUGGLED}")
}

/// Sends each and expects a refusal: nothing at the backend that could be acted upon.
async fn are_refused(attempts: Vec<String>) {
    let recorder = Recorder::start().await;
    let front = recorder.front().await;
    for attempt in attempts {
        let answer = raw(front.public, &attempt).await;
        let shown = attempt.escape_debug();
        assert!(matches!(status(&answer), 400 | 405 | 501), "{shown}: {answer}");
        assert_eq!(answer.matches("HTTP/1.").count(), 1, "{shown}: {answer}");
        let arrived = recorder.take();
        assert!(arrived.iter().all(|seen| *seen == Seen::Cut), "{shown}: {arrived:?}");
    }
}

/// Sends one and expects exactly one request at the backend.
async fn arrives_as(attempt: &str) -> Arrived {
    let recorder = Recorder::start().await;
    let front = recorder.front().await;
    let answer = raw(front.public, attempt).await;
    assert_eq!(status(&answer), 200, "{answer}");
    match recorder.take().as_slice() {
        [Seen::Request(arrived)] => arrived.clone(),
        other => panic!("not one request: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transfer_encodings_that_only_some_understand() {
    let codings = [
        "chunked, identity",
        "identity, chunked",
        "identity",
        "gzip, chunked",
        "xchunked",
        "chunked-",
        "chunked;q=1",
        "\"chunked\"",
        "chunk",
        "chunked,",
        ",chunked",
        "chunked, chunked",
        "\x0bchunked",
        "chunked\x0c",
        "chunked\x7f",
        "\u{a0}chunked",
        "chunked\0",
        "\r\n chunked",
        "x\r\n\tchunked",
        "",
    ];
    let mut attempts: Vec<String> = codings
        .iter()
        .map(|coding| post(&format!("Transfer-Encoding: {coding}\r\n"), "0\r\n\r\n"))
        .collect();
    for lines in [
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding\t: chunked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "Transfer Encoding: chunked\r\n",
        "Transfer-Encoding\0: chunked\r\n",
        "\x01Transfer-Encoding: chunked\r\n",
        "X: y\rTransfer-Encoding: chunked\r\n",
        "X: y\r\rTransfer-Encoding: chunked\r\n",
        ": chunked\r\n",
        "Transfer-Encoding chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nX: y\nTransfer-Encoding: chunked\r\n",
        "Connection: transfer-encoding\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    ] {
        attempts.push(post(lines, "0\r\n\r\n"));
    }
    let old = post("Transfer-Encoding: chunked\r\n", "0\r\n\r\n");
    attempts.push(old.replacen("HTTP/1.1", "HTTP/1.0", 1));
    are_refused(attempts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lengths_that_are_none_or_more_than_one() {
    let lengths = [
        "",
        "+5",
        "-5",
        "0x5",
        "5.0",
        "5e0",
        "5 5",
        "5, 5",
        "5,",
        "5;x",
        "\"5\"",
        "5\x0b",
        "\0",
        "\u{665}",
        "18446744073709551616",
        "99999999999999999999999999999999",
        "\r\n 5",
    ];
    let mut attempts: Vec<String> = lengths
        .iter()
        .map(|length| post(&format!("Content-Length: {length}\r\n"), "hello"))
        .collect();
    for lines in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 0\r\ncontent-length: 39\r\n",
        "Content-Length : 5\r\n",
        "Content-Length\t: 5\r\n",
        " Content-Length: 5\r\n",
        "Content-Length\0: 5\r\n",
        "X: y\rContent-Length: 5\r\n",
        "X: y\r\n Content-Length: 5\r\n",
    ] {
        attempts.push(post(lines, "hello"));
    }
    are_refused(attempts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_that_end_elsewhere_for_others() {
    let bodies = [
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
        "\r\n5\r\nhello\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
        ";a\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nno trailer\r\n\r\n",
    ];
    let attempts = bodies.iter().map(|body| post("Transfer-Encoding: chunked\r\n", body));
    are_refused(attempts.collect()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn request_lines_and_hosts_that_are_none() {
    let heads = [
        "GET /p\r\n\r\n",
        "GET /p HTTP/0.9\r\nHost: a\r\n\r\n",
        "GET /p HTTP/1.2\r\nHost: a\r\n\r\n",
        "GET /p HTTP/2.0\r\nHost: a\r\n\r\n",
        "GET /p http/1.1\r\nHost: a\r\n\r\n",
        "GET  /p HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /p  HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /p\tHTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /p q HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /p\0 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GE(T /p HTTP/1.1\r\nHost: a\r\n\r\n",
        " GET /p HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET p HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET a:80 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET http://user@b/p HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://user:word@b/p HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http:///p HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://b/p HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET /p HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET /p HTTP/1.1\r\nHost: a, b\r\n\r\n",
        "GET /p HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET /p HTTP/1.1\r\nHost: user@a\r\n\r\n",
        "GET /p HTTP/1.1\r\n\r\n",
    ];
    are_refused(heads.iter().map(|head| format!("{head}{SMUGGLED}")).collect()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_a_body_stays_there() {
    let sized = format!(
        "POST /p HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{SMUGGLED}",
        SMUGGLED.len()
    );
    assert_eq!(arrives_as(&sized).await.body, SMUGGLED.as_bytes());
    // What follows a chunked request is not even looked at, and a quote that is never closed holds up nothing.
    let chunked = format!(
        "POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{:x};a=\"b\r\n{SMUGGLED}\r\n0\r\nX: y\r\n\r\n{SMUGGLED}",
        SMUGGLED.len()
    );
    assert_eq!(arrives_as(&chunked).await.body, SMUGGLED.as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_passed_on_whatever_the_method() {
    for method in ["GET", "DELETE", "OPTIONS", "HEAD"] {
        let chunked = format!(
            "{method} /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n{SMUGGLED}"
        );
        assert_eq!(arrives_as(&chunked).await.body, b"hello", "{method}");
        let sized =
            format!("{method} /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello{SMUGGLED}");
        assert_eq!(arrives_as(&sized).await.body, b"hello", "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn line_feeds_alone_are_made_good() {
    let arrived = arrives_as("POST /p HTTP/1.1\nHost: a\nContent-Length: 5\nConnection: close\n\nhello").await;
    assert_eq!(arrived.values("content-length"), ["5"]);
    assert_eq!(arrived.body, b"hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absolute_target_decides_the_host() {
    let arrived = arrives_as("GET http://b.example/p?q=1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert_eq!(arrived.target, "/p?q=1");
    assert_eq!(arrived.values("host"), ["b.example"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_names_away_what_is_the_client_s_and_nothing_else() {
    let nominated = "POST /p HTTP/1.1\r\nHost: a\r\nX-Mine: 1\r\nContent-Length: 5\r\nIdempotency-Key: k\r\n\
        Connection: close, X-Mine, Host, Content-Length, Idempotency-Key, X-Forwarded-For, X-Request-Id, Via\r\n\r\nhello";
    let arrived = arrives_as(nominated).await;
    assert_eq!(arrived.values("x-mine"), [""; 0]);
    assert_eq!(arrived.values("connection"), [""; 0]);
    for kept in [
        "host",
        "content-length",
        "idempotency-key",
        "x-forwarded-for",
        "x-request-id",
        "via",
    ] {
        assert_eq!(arrived.values(kept).len(), 1, "{kept}");
    }
    assert_eq!(arrived.body, b"hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_one_piece_arrive_one_by_one() {
    let recorder = Recorder::start().await;
    let front = recorder.front().await;
    let pipelined = "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\r\n\
        GET /2 HTTP/1.1\r\nHost: a\r\n\r\nPOST /3 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n\
        GET /4 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let answer = raw(front.public, pipelined).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 4, "{answer}");
    let targets = recorder.take().into_iter().map(|seen| match seen {
        Seen::Request(arrived) => arrived.target,
        other => panic!("{other:?}"),
    });
    assert_eq!(targets.collect::<Vec<_>>(), ["/1", "/2", "/3", "/4"]);
}
