//! A front of this crate's own, asked over real sockets in paused time: what takes a minute here takes none to test.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use http_body::{Frame, SizeHint};
use hyper::service::service_fn;
use shop_net::listen::Accepted;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

use super::*;
use crate::Limits;
use crate::connection::{self, Treatment};
use crate::stream::HEAD_DEADLINE;

const DEADLINE: Duration = Duration::from_secs(1000);
const IDLE_MAX: Duration = Duration::from_secs(75);
/// How long an answer at `/slow` takes.
const SLOW: Duration = Duration::from_secs(3);
const GET: &[u8] = b"GET /one HTTP/1.1\r\nHost: a\r\n\r\n";
const GET_SLOW: &[u8] = b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n";

/// The path that was asked for, in one piece.
struct Text(Option<Bytes>);

impl Body for Text {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|text| Ok(Frame::data(text))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |text| text.len() as u64))
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Text>, Infallible> {
    if request.uri().path() == "/slow" {
        sleep(SLOW).await;
    }
    let mut body = request.into_body();
    while let Some(Ok(_)) = poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await {}
    Ok(Response::new(Text(Some(Bytes::from_static(b"answered")))))
}

struct Server {
    front: Arc<Front>,
    gone: CancellationToken,
    address: SocketAddr,
}

impl Server {
    /// Serves on this thread, in the local set that the test runs in.
    async fn start() -> Self {
        let front = Front::new(Limits {
            connections_max: 10,
            connections_per_address_max: 0,
            unlimited: Vec::new(),
            tunnels_max: 0,
            tunnel_idle_max: IDLE_MAX,
            stall_max: Duration::from_secs(30),
            idle_max: IDLE_MAX,
            headers_max: 100,
            head_bytes_max: 32 * 1024,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address = listener.local_addr().expect("an address");
        let gone = CancellationToken::new();
        let lot = Lot::new(front.clone()).expect("a file descriptor");
        spawn_local(lot.clone().attend());
        let make_service = |_| service_fn(answer);
        let (taking, network) = (front.clone(), gone.clone());
        spawn_local(async move {
            loop {
                let (stream, peer) = listener.accept().await.expect("accepted");
                stream.set_nodelay(true).expect("set");
                let accepted = Accepted {
                    stream,
                    peer,
                    gone: network.clone(),
                };
                let place = taking.addresses.enter(accepted.peer.ip(), true).expect("a place");
                let treatment = Treatment {
                    tls: None,
                    is_public: true,
                };
                let open = OpenConnection::count(&taking, Arc::new(place));
                spawn_local(connection::serve(open, accepted, treatment, make_service, lot.clone()));
            }
        });
        Self { front, gone, address }
    }

    /// A client whose pieces are sent as they come: real time in which they wait is any length of paused time.
    async fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).await.expect("connected");
        client.set_nodelay(true).expect("set");
        client
    }

    /// A client that has been answered once, and whose connection has been idle for long enough since.
    async fn parked_client(&self) -> TcpStream {
        let mut client = self.connect().await;
        client.write_all(GET).await.expect("sent");
        expect_answer(&mut client).await;
        self.wait_until_parked(1).await;
        client
    }

    async fn wait_until_parked(&self, count: u32) {
        eventually(|| self.front.parked() == count).await;
    }
}

async fn eventually(condition: impl Fn() -> bool) {
    let polling = async {
        while !condition() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(DEADLINE, polling).await.expect("it never came");
}

async fn expect_answer(client: &mut TcpStream) {
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nanswered") {
        let bytes = timeout(DEADLINE, client.read_buf(&mut answer)).await;
        assert!(bytes.expect("in time").expect("read") > 0, "closed after {answer:?}");
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert_eq!(answer.windows(8).filter(|part| *part == b"answered").count(), 1);
}

/// How long it takes until the client sees its connection closed, with nothing said before.
async fn time_until_closed(client: &mut TcpStream) -> Duration {
    let began = Instant::now();
    let mut rest = Vec::new();
    timeout(DEADLINE, client.read_to_end(&mut rest))
        .await
        .expect("it never closed")
        .expect("not reset");
    assert_eq!(rest, b"");
    began.elapsed()
}

/// Runs a test with a server, in paused time.
async fn with_server<F: Future<Output = ()>>(test: impl FnOnce(Server) -> F) {
    LocalSet::new()
        .run_until(async { test(Server::start().await).await })
        .await;
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_back_is_served() {
    with_server(|server| async move {
        let mut client = server.parked_client().await;
        for _ in 0..3 {
            client.write_all(GET).await.expect("sent");
            expect_answer(&mut client).await;
            server.wait_until_parked(1).await;
        }
        assert_eq!(server.front.open(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_request_may_come_back_in_pieces() {
    with_server(|server| async move {
        let mut client = server.parked_client().await;
        for at in [1, 5, GET.len() - 1] {
            let (start, end) = GET.split_at(at);
            client.write_all(start).await.expect("sent");
            server.wait_until_parked(0).await;
            // Longer than until it would be parked, if it were idle.
            sleep(Duration::from_secs(1)).await;
            assert_eq!(server.front.parked(), 0);
            client.write_all(end).await.expect("sent");
            expect_answer(&mut client).await;
            server.wait_until_parked(1).await;
        }
        let post = b"POST /one HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na";
        client.write_all(post).await.expect("sent");
        sleep(Duration::from_secs(1)).await;
        assert_eq!(server.front.parked(), 0, "a body is still to come");
        client.write_all(b"bc").await.expect("sent");
        expect_answer(&mut client).await;
        server.wait_until_parked(1).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn pipelined_requests_are_all_answered() {
    with_server(|server| async move {
        let mut client = server.parked_client().await;
        let mut requests = GET_SLOW.repeat(3);
        requests.extend(&GET[..GET.len() - 2]);
        client.write_all(&requests).await.expect("sent");
        let mut answers = Vec::new();
        while answers.windows(8).filter(|part| *part == b"answered").count() < 3 {
            let bytes = timeout(DEADLINE, client.read_buf(&mut answers)).await;
            assert!(bytes.expect("in time").expect("read") > 0);
        }
        client.write_all(&GET[GET.len() - 2..]).await.expect("sent");
        expect_answer(&mut client).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn nobody_is_parked_with_a_request_in_work() {
    with_server(|server| async move {
        let mut client = server.parked_client().await;
        client.write_all(GET_SLOW).await.expect("sent");
        server.wait_until_parked(0).await;
        sleep(SLOW / 2).await;
        assert_eq!(server.front.parked(), 0);
        expect_answer(&mut client).await;
        server.wait_until_parked(1).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn empty_lines_are_no_request_and_buy_no_time() {
    with_server(|server| async move {
        let mut client = server.parked_client().await;
        let began = Instant::now();
        let (mut reading, mut writing) = client.split();
        let blanks = async {
            while writing.write_all(b"\r\n").await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        };
        let mut answer = [0];
        tokio::select! {
            () = blanks => {}
            // Closed, or reset because of the last empty line.
            read = timeout(DEADLINE, reading.read(&mut answer)) => assert!(matches!(read, Ok(Ok(0) | Err(_)))),
        }
        let borne = began.elapsed();
        assert!(borne > IDLE_MAX - ROUND && borne <= IDLE_MAX + 2 * ROUND, "{borne:?}");

        let mut client = server.parked_client().await;
        client.write_all(b"\r\n").await.expect("sent");
        sleep(Duration::from_secs(1)).await;
        client.write_all(GET).await.expect("sent");
        expect_answer(&mut client).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn idleness_has_an_end() {
    with_server(|server| async move {
        let mut client = server.parked_client().await;
        let idle = time_until_closed(&mut client).await;
        assert!(idle > IDLE_MAX - Duration::from_secs(1), "{idle:?}");
        assert!(idle <= IDLE_MAX + 2 * ROUND, "{idle:?}");
        eventually(|| server.front.open() == 0).await;
        assert_eq!(server.front.parked(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_head_that_begins_has_to_end_in_time() {
    with_server(|server| async move {
        let mut client = server.parked_client().await;
        client.write_all(b"G").await.expect("sent");
        let waited = time_until_closed(&mut client).await;
        assert!(waited >= HEAD_DEADLINE, "{waited:?}");
        assert!(waited <= HEAD_DEADLINE + ROUND, "{waited:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_never_asked_is_not_parked() {
    with_server(|server| async move {
        let mut client = server.connect().await;
        client.write_all(b"\r\n").await.expect("sent");
        sleep(Duration::from_secs(1)).await;
        assert_eq!(server.front.parked(), 0);
        let waited = time_until_closed(&mut client).await;
        assert!(waited <= HEAD_DEADLINE, "{waited:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_being_closed_is_not_parked() {
    with_server(|server| async move {
        let mut client = server.parked_client().await;
        let last = b"GET /one HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        client.write_all(last).await.expect("sent");
        let answered = Instant::now();
        expect_answer(&mut client).await;
        time_until_closed(&mut client).await;
        // The client leaves its own side open.
        eventually(|| {
            assert_eq!(server.front.parked(), 0);
            server.front.open() == 0
        })
        .await;
        assert!(answered.elapsed() < IDLE_MAX / 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn whoever_leaves_is_gone_at_once() {
    with_server(|server| async move {
        let client = server.parked_client().await;
        let left = Instant::now();
        drop(client);
        eventually(|| server.front.open() == 0).await;
        assert_eq!(server.front.parked(), 0);
        assert!(left.elapsed() < ROUND);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn closing_ends_idle_connections_and_waits_for_what_is_in_work() {
    with_server(|server| async move {
        let mut idle = server.parked_client().await;
        let mut busy = server.connect().await;
        busy.write_all(GET).await.expect("sent");
        expect_answer(&mut busy).await;
        server.wait_until_parked(2).await;
        busy.write_all(GET_SLOW).await.expect("sent");
        server.wait_until_parked(1).await;
        server.front.close.cancel();
        assert!(time_until_closed(&mut idle).await < ROUND);
        expect_answer(&mut busy).await;
        assert!(time_until_closed(&mut busy).await < ROUND);
        drop((idle, busy));
        eventually(|| server.front.open() == 0).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn whose_network_is_gone_goes_too() {
    with_server(|server| async move {
        let _client = server.parked_client().await;
        let began = Instant::now();
        server.gone.cancel();
        eventually(|| server.front.open() == 0).await;
        assert!(began.elapsed() <= 2 * ROUND, "{:?}", began.elapsed());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn all_that_are_asked_at_once_are_served() {
    with_server(|server| async move {
        let mut clients = Vec::new();
        for count in 1..=3 * WOKEN_AT_ONCE {
            let mut client = server.connect().await;
            client.write_all(GET).await.expect("sent");
            expect_answer(&mut client).await;
            clients.push(client);
            assert_eq!(server.front.open() as usize, count);
        }
        server.wait_until_parked(clients.len() as u32).await;
        // Nothing of this thread runs in between, so that all are readable when it looks.
        for client in &clients {
            assert_eq!(client.try_write(GET).expect("sent"), GET.len());
        }
        for client in &mut clients {
            expect_answer(client).await;
        }
        server.wait_until_parked(clients.len() as u32).await;
        drop(clients);
        eventually(|| server.front.open() == 0).await;
        assert_eq!(server.front.parked(), 0);
    })
    .await;
}

#[test]
fn a_parked_connection_is_small() {
    let bytes = size_of::<Parked<[usize; 2]>>();
    assert!(bytes <= 80, "{bytes} bytes");
}
