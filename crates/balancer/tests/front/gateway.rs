//! What a customer's request has to pass, and what becomes of its answer.

use std::io::Read as _;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Backend, Client, DEADLINE, Front, eventually, get, limits, metric, raw, routes, status};

const SESSION: &str = "abcdefghijklmnopqrstuvwxyz0123456789-_ABCDE";

/// One backend for both services, and more in the routes file.
async fn front_with(backend: &Backend, more: &str, limits: balancer::Limits) -> Front {
    Front::start(&format!("{more}\n{}", routes(&[backend], &[])), limits, 1).await
}

/// A GET with more header lines.
async fn get_with(address: std::net::SocketAddr, path: &str, lines: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n{lines}Connection: close\r\n\r\n");
    raw(address, &request).await
}

fn cookie(last: char) -> String {
    format!("Cookie: zillion_session={}{last}\r\n", &SESSION[..42])
}

#[tokio::test(flavor = "multi_thread")]
async fn host_and_method_choose_the_route() {
    let (inventory, user) = (Backend::start("inventory-1").await, Backend::start("user-1").await);
    let more = "[[route]]\nprefix = \"/\"\nhosts = [\"admin.example\"]\nservice = \"user\"\n\
                [[route]]\nprefix = \"/news\"\nmethods = [\"GET\"]\nservice = \"inventory\"\n";
    let text = format!("{}\n{more}", routes(&[&inventory], &[&user]));
    let front = Front::start(&text, limits(), 2).await;
    let at_admin = "GET /products/7 HTTP/1.1\r\nHost: ADMIN.example:8080\r\nConnection: close\r\n\r\n";
    let answer = raw(front.public, at_admin).await;
    assert!(answer.contains("x-served-by: balancer-1, user-1"), "{answer}");
    assert_eq!(status(&get(front.public, "/news").await), 200);
    let posted = "POST /news HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let answer = raw(front.public, posted).await;
    assert_eq!(status(&answer), 405);
    assert!(answer.contains("\r\nallow: GET, HEAD\r\n"), "{answer}");
    assert_eq!(
        metric(front.admin, "balancer_requests_total{route=\"admin.example/\"").await,
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_asks_too_often_waits_and_others_do_not() {
    let backend = Backend::start("inventory-1").await;
    let more = "[rate_limits]\nsession_per_s = 0.001\nsession_burst = 3\n";
    let front = front_with(&backend, more, limits()).await;
    let greedy = cookie('g');
    for _ in 0..3 {
        assert_eq!(status(&get_with(front.public, "/products/7", &greedy).await), 200);
    }
    let refused = get_with(front.public, "/products/7", &greedy).await;
    assert_eq!(status(&refused), 429);
    assert!(refused.contains("content-type: application/problem+json"), "{refused}");
    assert!(
        refused.contains("\"type\":\"/problems/too-many-requests\""),
        "{refused}"
    );
    let wait = refused
        .split("retry-after: ")
        .nth(1)
        .and_then(|rest| rest.lines().next());
    let wait: u32 = wait.expect("told how long to wait").parse().expect("seconds");
    assert!((900..=1000).contains(&wait), "{wait}");
    let page = get_with(front.public, "/products/7", &format!("{greedy}Accept: text/html\r\n")).await;
    assert!(status(&page) == 429 && page.contains("One at a time"), "{page}");

    assert_eq!(
        status(&get_with(front.public, "/checkout", &greedy).await),
        200,
        "another route"
    );
    assert_eq!(
        status(&get_with(front.public, "/products/7", &cookie('o')).await),
        200,
        "another session"
    );
    assert_eq!(
        status(&get(front.public, "/products/7").await),
        200,
        "nobody in particular"
    );
    assert_eq!(
        status(&get_with(front.origin, "/products/7", &greedy).await),
        200,
        "an edge"
    );
    assert_eq!(metric(front.admin, "balancer_rate_limited_total").await, 2);
    assert_eq!(backend.count(), 7, "what is refused reaches nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_are_made_up_do_not_get_round_the_limit_of_the_address() {
    let backend = Backend::start("inventory-1").await;
    let proxied = balancer::Limits {
        trusted_proxies: vec!["127.0.0.0/8".parse().expect("a network")],
        ..limits()
    };
    let more = "[rate_limits]\naddress_per_s = 0.001\naddress_burst = 5\n";
    let front = front_with(&backend, more, proxied).await;
    let from = |client: &str, last| format!("X-Forwarded-For: 6.6.6.6, {client}\r\n{}", cookie(last));
    let mut passed = 0;
    for last in 'a'..='j' {
        let answer = get_with(front.public, "/products/7", &from("198.51.100.9", last)).await;
        passed += u32::from(status(&answer) == 200);
    }
    assert_eq!(passed, 5);
    let answer = get_with(front.public, "/products/7", &from("198.51.100.10", 'a')).await;
    assert_eq!(status(&answer), 200, "another client behind the same proxy");
    assert!(
        answer.contains("x-forwarded-for: 6.6.6.6, 198.51.100.10, 127.0.0.1\n")
            && answer.contains(
                "forwarded: for=6.6.6.6, for=198.51.100.10, for=127.0.0.1;proto=http;host=\"shop.example\"\n"
            ),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_not_believed_about_who_they_are() {
    let backend = Backend::start("inventory-1").await;
    let front = front_with(&backend, "", limits()).await;
    let claims = "X-Forwarded-For: 10.0.0.1\r\nForwarded: for=10.0.0.1;proto=https\r\n";
    let answer = get_with(front.public, "/products/7", claims).await;
    assert!(answer.contains("\nx-forwarded-for: 127.0.0.1\n"), "{answer}");
    assert!(
        answer.contains("\nforwarded: for=127.0.0.1;proto=http;host=\"shop.example\"\n"),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_shop_is_closed_only_the_invited_and_the_staff_get_in() {
    let backend = Backend::start("inventory-1").await;
    let closed = "[maintenance]\non = true\nmessage = \"Back at nine\"\nretry_after_s = 90\n";
    let front = front_with(&backend, closed, limits()).await;
    let answer = get_with(front.public, "/products/7", "Accept: text/html\r\n").await;
    assert_eq!(status(&answer), 503);
    assert!(
        answer.contains("retry-after: 90") && answer.contains("Back at nine"),
        "{answer}"
    );
    let answer = get(front.public, "/no-such-page").await;
    assert!(answer.contains("\"type\":\"/problems/maintenance\""), "{answer}");
    assert_eq!(status(&get(front.origin, "/photos/1").await), 200, "edges go on");
    assert_eq!(
        status(&get(front.private, "/internal/products").await),
        200,
        "services go on"
    );
    assert_eq!(status(&get(front.admin, "/readyz").await), 200);
    assert_eq!(metric(front.admin, "balancer_maintenance").await, 1);

    let invited = front_with(&backend, &format!("{closed}allow = [\"127.0.0.1\"]\n"), limits()).await;
    assert_eq!(status(&get(invited.public, "/products/7").await), 200);
}

async fn fetch(front: &Front, method: &str, path: &str, accepted: &str) -> Response<bytes::Bytes> {
    let mut client = Client::new(front.public);
    assert!(client.connect().await);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "a")
        .header("accept-encoding", accepted)
        .body(Full::default());
    client.send(request.expect("a request")).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_compressed_for_who_can_read_that() {
    let backend = Backend::start("inventory-1").await;
    let front = front_with(&backend, "", limits()).await;
    let answer = fetch(&front, "GET", "/page/50000", "gzip, deflate").await;
    let headers = answer.headers();
    assert_eq!(headers["content-encoding"], "gzip");
    assert_eq!(headers["vary"], "Accept-Encoding");
    assert_eq!(headers["etag"], "W/\"v1\"");
    assert!(!headers.contains_key("content-length") && answer.body().len() < 1000);
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&answer.body()[..])
        .read_to_end(&mut plain)
        .expect("sound");
    assert_eq!(plain, vec![b'x'; 50_000]);

    assert_eq!(
        fetch(&front, "GET", "/page/50000", "zstd").await.headers()["content-encoding"],
        "zstd"
    );
    let head = fetch(&front, "HEAD", "/page/50000", "br").await;
    assert_eq!(head.headers()["content-encoding"], "br");
    assert!(head.body().is_empty());

    let plain = fetch(&front, "GET", "/page/50000", "identity").await;
    assert_eq!(plain.headers()["content-length"], "50000");
    assert_eq!(plain.headers()["etag"], "\"v1\"");
    assert_eq!(
        plain.headers()["vary"],
        "Accept-Encoding",
        "caches must know that others get less"
    );
    let short = fetch(&front, "GET", "/page/1000", "gzip").await;
    assert!(!short.headers().contains_key("content-encoding") && !short.headers().contains_key("vary"));
    let other = fetch(&front, "GET", "/large/50000", "gzip").await;
    assert!(!other.headers().contains_key("content-encoding"), "its kind is unknown");
    assert_eq!(metric(front.admin, "balancer_compressed_total").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn edges_get_what_they_store_as_it_is_and_so_do_routes_that_ask_for_it() {
    let backend = Backend::start("inventory-1").await;
    let more = "[[route]]\nprefix = \"/secret\"\nservice = \"inventory\"\ncompress = false\n";
    let text = format!("{}\n{more}", routes(&[&backend], &[]));
    let front = Front::start(&text, limits(), 1).await;
    let at_edge = get_with(front.origin, "/page/5000", "Accept-Encoding: gzip\r\n").await;
    assert!(
        at_edge.contains("content-length: 5000") && !at_edge.contains("vary"),
        "{at_edge}"
    );
    let secret = fetch(&front, "GET", "/secret/page/5000", "gzip").await;
    assert_eq!(secret.headers()["content-length"], "5000");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_so_many_connections_and_no_more() {
    let backend = Backend::start("inventory-1").await;
    let few = balancer::Limits {
        connections_per_address_max: 2,
        ..limits()
    };
    let front = front_with(&backend, "", few).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(front.public).await.expect("connected");
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .expect("sent");
        stream.read_exact(&mut [0; 12]).await.expect("an answer");
        open.push(stream);
    }
    assert_eq!(status(&get(front.public, "/products/7").await), 0, "closed at once");
    assert_eq!(metric(front.admin, "balancer_connections_refused_total").await, 1);
    assert_eq!(
        status(&get(front.origin, "/products/7").await),
        200,
        "edges have no such limit"
    );
    open.pop();
    eventually("a place again", || async {
        status(&get(front.public, "/products/7").await) == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_connections_are_ended_with_an_answer() {
    let backend = Backend::start("inventory-1").await;
    let short = balancer::Limits {
        connection_age_max: Duration::from_secs(1),
        ..limits()
    };
    let front = front_with(&backend, "", short).await;
    let mut client = Client::new(front.public);
    let mut answered = 0;
    let ending = async {
        loop {
            assert!(client.connect().await);
            let answer = client.get("/products/7").await.expect("an answer");
            answered += 1;
            if answer.headers().contains_key("connection") {
                break answer;
            }
        }
    };
    let last = timeout(DEADLINE, ending).await.expect("ended in time");
    assert_eq!(last.headers()["connection"], "close");
    assert!(answered > 1, "not before its time");
}

#[tokio::test(flavor = "multi_thread")]
async fn crawlers_are_the_first_to_be_turned_away() {
    let backend = Backend::start("inventory-1").await;
    let small = balancer::Limits {
        in_flight_max: 16,
        ..limits()
    };
    let front = front_with(&backend, "", small).await;
    let crawler = "User-Agent: Mozilla/5.0 (compatible; ExampleBot/1.0)\r\n";
    assert_eq!(
        status(&get_with(front.public, "/products/7", crawler).await),
        200,
        "there is room"
    );
    for _ in 0..7 {
        tokio::spawn(get_with(front.public, "/slow/14000", ""));
    }
    eventually("at work", || async { backend.slow_requests() == 7 }).await;
    let refused = get_with(front.public, "/products/7", crawler).await;
    assert_eq!(status(&refused), 503);
    assert!(refused.contains("retry-after: 1"), "{refused}");
    assert_eq!(status(&get(front.public, "/products/7").await), 200);
}
