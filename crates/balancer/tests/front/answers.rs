//! Backends that answer what they shouldn't: one client's answer must not become another's.

use crate::recorder::{Recorder, Seen, Then, ok};
use crate::support::{get, raw, status};

/// What a client gets whose request, one that must not be sent twice, is answered with these bytes.
async fn answered(bytes: Vec<u8>, then: Then) -> String {
    posted("/p", bytes, then).await
}

/// The same where the route's deadline is so short that a test can wait for it.
async fn answered_in_vain(bytes: Vec<u8>, then: Then) -> String {
    posted("/hasty/p", bytes, then).await
}

async fn posted(path: &str, bytes: Vec<u8>, then: Then) -> String {
    let recorder = Recorder::answering(move |_| (bytes.clone(), then.clone())).await;
    let front = recorder.front().await;
    let post = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    raw(front.public, &post).await
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_two_lengths_are_not_passed_on() {
    for head in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "X: y\rContent-Length: 5\r\n",
        "X: \0\r\n",
    ] {
        let body = "5\r\nhello\r\n0\r\n\r\n";
        let answer = answered(format!("HTTP/1.1 200 OK\r\n{head}\r\n{body}").into_bytes(), Then::Keep).await;
        assert_eq!(status(&answer), 502, "{head:?}: {answer}");
        assert!(!answer.contains("hello"), "{head:?}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_and_protocols_that_nobody_asked_for_are_502() {
    for bytes in [
        &b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"[..],
        b"HTTP/1.1 99 Low\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"hello",
        b"\x16\x03\x01\x02\x00",
    ] {
        let answer = answered(bytes.to_vec(), Then::Close).await;
        assert_eq!(status(&answer), 502, "{}: {answer}", bytes.escape_ascii());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_an_answer_reaches_nobody() {
    let leftover = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen";
    for bodiless in [false, true] {
        let recorder = Recorder::answering(move |request| {
            let mut bytes = if bodiless {
                b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()
            } else {
                ok(true, &request.target)
            };
            bytes.extend_from_slice(leftover);
            (bytes, Then::Keep)
        })
        .await;
        let front = recorder.front().await;
        for number in 0..100 {
            let answer = get(front.public, &format!("/p{number}")).await;
            assert_eq!(status(&answer), if bodiless { 204 } else { 200 }, "{answer}");
            assert!(!answer.contains("stolen"), "{answer}");
            assert!(bodiless || answer.ends_with(&format!("/p{number}")), "{answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_in_answer_to_head_reaches_nobody() {
    let recorder = Recorder::answering(|request| (ok(true, &request.target), Then::Keep)).await;
    let front = recorder.front().await;
    for number in 0..50 {
        let head = format!("HEAD /h{number} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let answer = raw(front.public, &head).await;
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
        let answer = get(front.public, &format!("/p{number}")).await;
        assert!(answer.ends_with(&format!("\r\n\r\n/p{number}")), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_answer_is_seen_to_be_one() {
    let sized = answered(
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello".to_vec(),
        Then::Close,
    )
    .await;
    assert!(
        sized.contains("content-length: 10") && sized.ends_with("hello"),
        "{sized}"
    );
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n".to_vec();
    let chunked = answered(chunked, Then::Close).await;
    assert!(chunked.contains("transfer-encoding: chunked"), "{chunked}");
    assert!(chunked.ends_with("\r\n\r\n5\r\nhello\r\n"), "{chunked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_from_a_backend_end_at_a_limit() {
    let many: String = (0..200).map(|number| format!("X-{number}: y\r\n")).collect();
    let head = "HTTP/1.1 200 OK\r\n".to_owned();
    let answer = answered(format!("{head}{many}\r\n").into_bytes(), Then::Keep).await;
    assert_eq!(status(&answer), 502, "{answer}");
    // Heads that never end, by their lines or within one, and interim answers without a final one.
    for flood in [&b"X: y\r\n"[..], b"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"] {
        let answer = answered(format!("{head}X: ").into_bytes(), Then::Repeat(flood.to_vec())).await;
        assert_eq!(status(&answer), 502, "{answer}");
    }
    let interim = b"HTTP/1.1 100 Continue\r\n\r\n".to_vec();
    let answer = answered(interim.clone(), Then::Repeat(interim)).await;
    assert_eq!(status(&answer), 502, "{answer}");
    let answer = answered_in_vain(b"HTTP/1.1 200 OK\r\nX".to_vec(), Then::Hang).await;
    assert_eq!(status(&answer), 504, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_within_its_body_leaves_nothing_to_the_next() {
    let recorder = Recorder::start().await;
    let front = recorder.front().await;
    for number in 0..20 {
        // More is announced than is sent: the client goes away within its body.
        let cut = format!(
            "POST /cut{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nGET /smuggled HTTP/1.1\r\n"
        );
        let mut stream = tokio::net::TcpStream::connect(front.public).await.expect("connected");
        tokio::io::AsyncWriteExt::write_all(&mut stream, cut.as_bytes())
            .await
            .expect("sent");
        drop(stream);
        let answer = get(front.public, &format!("/p{number}")).await;
        assert!(answer.ends_with(&format!("/p{number}")), "{answer}");
    }
    let arrived = recorder.take();
    assert!(
        arrived.iter().all(|seen| match seen {
            Seen::Request(request) => request.target.starts_with("/p"),
            Seen::Cut => true,
            Seen::Malformed { .. } => false,
        }),
        "{arrived:?}"
    );
}
