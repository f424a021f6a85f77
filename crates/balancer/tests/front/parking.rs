//! Connections that were idle between two requests, and so held nothing but their sockets meanwhile.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Backend, DEADLINE, Front, eventually, limits, metric, routes, status};
use crate::websocket;

const GET: &str = "GET /large/2 HTTP/1.1\r\nHost: a\r\n\r\n";

async fn front(backend: &Backend, limits: balancer::Limits) -> Front {
    Front::start(&routes(&[backend], &[]), limits, 1).await
}

/// Asks once, and waits until so many connections are parked; the head of the answer.
async fn ask_and_park(front: &Front, client: &mut TcpStream, count: u64) -> String {
    client.write_all(GET.as_bytes()).await.expect("sent");
    let head = answer(client).await;
    assert_eq!(status(&head), 200, "{head}");
    if !head.contains("connection: close") {
        wait_until_parked(front, count).await;
    }
    head
}

/// Reads one answer, not a byte more; its head.
async fn answer(client: &mut TcpStream) -> String {
    let reading = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.expect("an answer"));
        }
        let head = String::from_utf8(head).expect("text");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse().expect("a number"));
        client.read_exact(&mut vec![0; length]).await.expect("a body");
        head
    };
    timeout(DEADLINE, reading).await.expect("in time")
}

async fn wait_until_parked(front: &Front, count: u64) {
    eventually("parked", || async {
        metric(front.admin, "balancer_connections_parked ").await == count
    })
    .await;
}

async fn connect(front: &Front) -> TcpStream {
    TcpStream::connect(front.public).await.expect("connected")
}

async fn rest(client: &mut TcpStream) -> String {
    let mut rest = Vec::new();
    let reading = client.read_to_end(&mut rest);
    timeout(DEADLINE, reading).await.expect("in time").expect("an end");
    String::from_utf8_lossy(&rest).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_requests_of_a_connection_are_answered_however_long_it_idles() {
    let backend = Backend::start("inventory-1").await;
    let front = front(&backend, limits()).await;
    let mut client = connect(&front).await;
    for _ in 0..3 {
        ask_and_park(&front, &mut client, 1).await;
    }
    let (start, end) = GET.split_at(20);
    client.write_all(start.as_bytes()).await.expect("sent");
    wait_until_parked(&front, 0).await;
    client.write_all(end.as_bytes()).await.expect("sent");
    assert_eq!(status(&answer(&mut client).await), 200);
    wait_until_parked(&front, 1).await;
    let last = "GET /large/2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let pipelined = format!("{}{last}", GET.repeat(20));
    client.write_all(pipelined.as_bytes()).await.expect("sent");
    assert_eq!(rest(&mut client).await.matches("HTTP/1.1 200 OK").count(), 21);
    assert_eq!(backend.count(), 25);
    // Until then it lingers, lest the last answer be lost.
    drop(client);
    eventually("closed", || async {
        metric(front.admin, "balancer_connections ").await == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_gives_the_place_back_at_once() {
    let backend = Backend::start("inventory-1").await;
    let front = front(&backend, limits()).await;
    let mut clients = Vec::new();
    for count in 1..=3 {
        let mut client = connect(&front).await;
        ask_and_park(&front, &mut client, count).await;
        clients.push(client);
    }
    assert_eq!(metric(front.admin, "balancer_connections ").await, 3);
    clients.pop();
    wait_until_parked(&front, 2).await;
    assert_eq!(metric(front.admin, "balancer_connections ").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn framing_is_watched_as_before() {
    let backend = Backend::start("inventory-1").await;
    let front = front(&backend, limits()).await;
    let mut client = connect(&front).await;
    ask_and_park(&front, &mut client, 1).await;
    let ambiguous = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\
                     GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    // The first byte alone is what wakes it.
    client.write_all(&ambiguous.as_bytes()[..1]).await.expect("sent");
    wait_until_parked(&front, 0).await;
    client.write_all(&ambiguous.as_bytes()[1..]).await.expect("sent");
    assert_eq!(status(&answer(&mut client).await), 400);
    assert_eq!(rest(&mut client).await, "");
    assert_eq!(backend.count(), 1, "nothing of it reaches a backend");
}

#[tokio::test(flavor = "multi_thread")]
async fn age_is_counted_from_the_beginning() {
    let backend = Backend::start("inventory-1").await;
    let short = balancer::Limits {
        connection_age_max: Duration::from_secs(1),
        ..limits()
    };
    let front = front(&backend, short).await;
    let mut client = connect(&front).await;
    let ending = async { while !ask_and_park(&front, &mut client, 1).await.contains("connection: close") {} };
    timeout(DEADLINE, ending).await.expect("it is never too old");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_ends_with_the_process() {
    let backend = Backend::start("inventory-1").await;
    let front = front(&backend, limits()).await;
    let mut client = connect(&front).await;
    ask_and_park(&front, &mut client, 1).await;
    let draining = tokio::spawn(front.balancer.drain());
    rest(&mut client).await;
    drop(client);
    let drained = timeout(DEADLINE, draining).await.expect("in time").expect("ran");
    assert!(drained, "nothing had to be cut");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_can_still_become_a_tunnel() {
    let address = websocket::echo_backend().await;
    let front = Front::start(&crate::support::routes_to(address), limits(), 1).await;
    let mut client = connect(&front).await;
    client
        .write_all(b"GET /refuses HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .expect("sent");
    assert_eq!(status(&answer(&mut client).await), 200);
    wait_until_parked(&front, 1).await;
    client.write_all(websocket::ASK.as_bytes()).await.expect("sent");
    assert_eq!(status(&answer(&mut client).await), 101);
    websocket::assert_echoes(&mut client, b"hello").await;
    assert_eq!(metric(front.admin, "balancer_connections_parked ").await, 0);
}
