//! Clients that take up places and give nothing for them.

use std::cell::Cell;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{Backend, Front, eventually, get, limits, metric, routes, status};

/// More than all buffers between a backend and a client can hold.
const LARGE: &str = "GET /large/30000000 HTTP/1.1\r\nHost: a\r\n\r\n";

async fn impatient_front(backend: &Backend) -> Front {
    let impatient = balancer::Limits {
        client_stall_max: Duration::from_millis(300),
        ..limits()
    };
    Front::start(&routes(&[backend], &[]), impatient, 1).await
}

/// A client that has asked for a large answer and has read its beginning.
async fn reader(front: &Front) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let mut stream = socket.connect(front.public).await.expect("connected");
    stream.write_all(LARGE.as_bytes()).await.expect("sent");
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.expect("an answer");
    assert_eq!(&head, b"HTTP/1.1 200");
    stream
}

async fn has_places_back(front: &Front) -> bool {
    let backends = get(front.admin, "/backends").await;
    metric(front.admin, "balancer_in_flight").await == 0 && !backends.contains("\"in_flight\":1")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_reading_gives_the_places_back() {
    let backend = Backend::start("inventory-1").await;
    let front = impatient_front(&backend).await;
    let _stalled = reader(&front).await;
    eventually("the places are back", || has_places_back(&front)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_a_byte_now_and_then_does_too() {
    let backend = Backend::start("inventory-1").await;
    let front = impatient_front(&backend).await;
    let stream = Cell::new(Some(reader(&front).await));
    eventually("the places are back", || async {
        let mut reading = stream.take().expect("one look at a time");
        // Once the connection is cut there may be nothing more to read.
        let _ = reading.read(&mut [0]).await;
        stream.set(Some(reading));
        has_places_back(&front).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn customers_who_ask_nothing_are_not_in_the_way_of_the_edges() {
    let backend = Backend::start("inventory-1").await;
    let small = balancer::Limits {
        connections_max: 4,
        ..limits()
    };
    let front = Front::start(&routes(&[&backend], &[]), small, 1).await;
    let mut idle = Vec::new();
    for _ in 0..8 {
        idle.push(TcpStream::connect(front.public).await.expect("connected"));
    }
    eventually("no room for customers", || async {
        metric(front.admin, "balancer_connections ").await >= 4
    })
    .await;
    assert_eq!(status(&get(front.origin, "/products/7").await), 200);
}
