//! Requests that try to be read in two ways, byte by byte.

use crate::support::{Backend, Front, limits, raw, routes, status};

async fn front() -> (Front, Backend) {
    let backend = Backend::start("inventory-1").await;
    let front = Front::start(&routes(&[&backend], &[]), limits(), 1).await;
    (front, backend)
}

#[tokio::test(flavor = "multi_thread")]
async fn ambiguous_requests_are_refused_and_nothing_of_them_reaches_a_backend() {
    let (front, backend) = front().await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    for attempt in [
        // Both lengths, in either order.
        format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
        ),
        format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{smuggled}"
        ),
        // Two lengths, a list of lengths, and no number.
        format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n{smuggled}"),
        format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 44\r\n\r\n{smuggled}"),
        format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +0\r\n\r\n{smuggled}"),
        format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n{smuggled}"),
        // Transfer codings that others may read as chunked, or as nothing.
        format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{smuggled}"),
        format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
        ),
        format!("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        // White space where none may be, and folded lines.
        format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("POST / HTTP/1.1\r\nHost: a\r\n Content-Length: 5\r\n\r\nhello{smuggled}"),
        // A carriage return alone, and a null byte.
        format!("GET / HTTP/1.1\r\nHost: a\r\nX: y\rContent-Length: 44\r\n\r\n{smuggled}"),
        format!("GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n{smuggled}"),
        // Hosts: none, two, none that is one.
        format!("GET / HTTP/1.1\r\n\r\n{smuggled}"),
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: user@a\r\nConnection: close\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: \r\nConnection: close\r\n\r\n".to_owned(),
    ] {
        let head = attempt.split("\r\n\r\n").next().expect("a head");
        let answer = raw(front.public, &attempt).await;
        assert!(matches!(status(&answer), 400 | 501), "{head:?}: {answer}");
        assert_eq!(backend.count(), 0, "something of this reached the backend: {head:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunked_body_is_passed_on_and_ends_its_connection() {
    let (front, _backend) = front().await;
    let request = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let answer = raw(front.public, request).await;
    assert_eq!(status(&answer), 200, "{answer}");
    assert!(
        answer.contains("\n\nhello") && answer.contains("connection: close"),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_refused_whether_its_length_is_declared_or_not() {
    let (front, backend) = front().await;
    let declared = "POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello world";
    let answer = raw(front.public, declared).await;
    assert_eq!(status(&answer), 413, "{answer}");
    assert_eq!(backend.count(), 0);
    let chunked =
        "POST /small HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhello \r\n6\r\nworlds\r\n0\r\n\r\n";
    let answer = raw(front.public, chunked).await;
    assert_eq!(status(&answer), 413, "{answer}");
    let exact = "POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nConnection: close\r\n\r\n0123456789";
    assert_eq!(status(&raw(front.public, exact).await), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_are_too_large_are_refused() {
    let (front, backend) = front().await;
    let long = "a".repeat(9_000);
    let answer = raw(
        front.public,
        &format!("GET /{long} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    )
    .await;
    assert_eq!(status(&answer), 414, "{answer}");
    let long = "a".repeat(40_000);
    let answer = raw(front.public, &format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n")).await;
    assert_eq!(status(&answer), 431, "{answer}");
    let many: String = (0..101).map(|number| format!("X-{number}: y\r\n")).collect();
    let answer = raw(front.public, &format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")).await;
    assert_eq!(status(&answer), 431, "{answer}");
    assert_eq!(backend.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_that_proxies_can_be_tricked_with_are_refused() {
    let (front, backend) = front().await;
    for method in ["TRACE", "CONNECT", "PURGE"] {
        let answer = raw(
            front.public,
            &format!("{method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
        )
        .await;
        assert!(matches!(status(&answer), 400 | 405), "{method}: {answer}");
    }
    assert_eq!(backend.count(), 0);
}
