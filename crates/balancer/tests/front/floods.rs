//! Clients that send too much, too slowly, or only half.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::recorder::Recorder;
use crate::support::{DEADLINE, Front, eventually, get, metric, raw, status};

/// Sends a start, then pieces at intervals until somebody has had enough; what was answered.
async fn trickle(front: &Front, start: &str, piece: &str, interval: Duration) -> String {
    let stream = TcpStream::connect(front.public).await.expect("connected");
    let (mut reading, mut writing) = stream.into_split();
    let mut answer = Vec::new();
    let sending = async {
        // Who refuses it closes the connection, which shows at the other end.
        let _ = writing.write_all(start.as_bytes()).await;
        loop {
            tokio::time::sleep(interval).await;
            if writing.write_all(piece.as_bytes()).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = sending => {}
        ended = timeout(DEADLINE, reading.read_to_end(&mut answer)) => {
            let _ = ended.expect("it is borne for ever");
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

async fn has_nothing_in_work(front: &Front) -> bool {
    metric(front.admin, "balancer_in_flight").await == 0
}

#[tokio::test(flavor = "multi_thread")]
async fn urls_cookies_and_heads_have_a_size() {
    let recorder = Recorder::start().await;
    let front = recorder.front().await;
    let get_with =
        |path: &str, lines: &str| format!("GET /{path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{lines}\r\n");
    let mega = "a".repeat(1 << 20);
    let answer = raw(front.public, &get_with(&mega, "")).await;
    assert!(matches!(status(&answer), 414 | 431), "{answer}");
    let answer = raw(front.public, &get_with("p", &format!("Cookie: a={mega}\r\n"))).await;
    assert_eq!(status(&answer), 431, "{answer}");
    let answer = raw(front.public, &get_with("p", &format!("{mega}: a\r\n"))).await;
    assert_eq!(status(&answer), 431, "{answer}");
    let many: String = (0..10_000).map(|number| format!("X-{number}: y\r\n")).collect();
    let answer = raw(front.public, &get_with("p", &many)).await;
    assert_eq!(status(&answer), 431, "{answer}");
    // Never a head's end: what is kept of it has a limit too.
    let answer = raw(
        front.public,
        &format!("GET /p HTTP/1.1\r\nHost: a\r\n{}", many.repeat(10)),
    )
    .await;
    assert_eq!(status(&answer), 431, "{answer}");
    assert_eq!(recorder.take(), []);
    // A large but honest cookie arrives.
    let cookie = format!("Cookie: a={}\r\n", "b".repeat(16_000));
    assert_eq!(status(&raw(front.public, &get_with("p", &cookie)).await), 200);
    assert_eq!(recorder.take().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn chunk_extensions_and_trailers_have_a_size() {
    let recorder = Recorder::start().await;
    let front = recorder.front().await;
    let post = |body: &str| format!("POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    let extension = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(20_000));
    let many_extensions = format!("{}0\r\n\r\n", format!("1;{}\r\nx\r\n", "a".repeat(100)).repeat(300));
    let trailer = format!("5\r\nhello\r\n0\r\nX: {}\r\n\r\n", "a".repeat(40_000));
    for body in [extension, many_extensions, trailer] {
        let answer = raw(front.public, &post(&body)).await;
        assert_eq!(status(&answer), 400, "{answer}");
    }
    let arrived = recorder.take();
    assert!(
        arrived.iter().all(|seen| *seen == crate::recorder::Seen::Cut),
        "{arrived:?}"
    );
}

/// These wait for the balancer's own deadlines, and so run at once.
#[tokio::test(flavor = "multi_thread")]
async fn slow_heads_and_slow_bodies_end() {
    let recorder = Recorder::start().await;
    let front = recorder.front().await;
    let often = Duration::from_millis(100);
    let began = Instant::now();
    let sized = "POST /hasty/p HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n";
    let chunked = "POST /hasty/p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (head, name, lines, sized, chunked) = tokio::join!(
        trickle(&front, "GET /p HTTP/1.1\r\nHost: a\r\n", "X: y\r\n", often),
        trickle(&front, "G", "E", often),
        trickle(&front, "", "\r\n", often),
        trickle(&front, sized, "x", often),
        trickle(&front, chunked, "1\r\nx\r\n", often),
    );
    for unanswered in [head, name, lines] {
        assert_eq!(status(&unanswered), 0, "{unanswered}");
    }
    for late in [sized, chunked] {
        assert_eq!(status(&late), 408, "{late}");
    }
    assert!(began.elapsed() < DEADLINE);
    let arrived = recorder.take();
    assert!(
        arrived.iter().all(|seen| *seen == crate::recorder::Seen::Cut),
        "{arrived:?}"
    );
    eventually("nothing is in work", || has_nothing_in_work(&front)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_closes_half_is_answered_or_forgotten_but_not_kept() {
    let recorder = Recorder::start().await;
    let front = recorder.front().await;
    for start in [
        "GET /p HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /p HTTP/1.1\r\nHost: a\r\n",
        "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello",
        "POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        "",
    ] {
        let mut stream = TcpStream::connect(front.public).await.expect("connected");
        stream.write_all(start.as_bytes()).await.expect("sent");
        stream.shutdown().await.expect("half closed");
        let mut answer = Vec::new();
        let ended = timeout(DEADLINE, stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "it is kept: {start:?}");
        let answer = String::from_utf8_lossy(&answer);
        assert!(matches!(status(&answer), 0 | 200 | 400), "{start:?}: {answer}");
    }
    eventually("nothing is in work", || has_nothing_in_work(&front)).await;
    assert_eq!(status(&get(front.public, "/p").await), 200);
}
