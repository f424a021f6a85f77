//! The origin dies, fails, stalls, or breaks off.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::world::{Edge, Origin, Page, eventually, world};

const PHOTO: &str = "/photos/7/1/w320.webp";

#[tokio::test]
async fn something_stale_stands_in_for_an_origin_that_died() {
    let (origin, edge, _folder) = world().await;
    origin.page(PHOTO, Page::new("max-age=0, stale-if-error=600", "picture"));
    edge.get(PHOTO).await;
    edge.stored(1).await;
    origin.die().await;
    let stale = edge.get(PHOTO).await;
    assert_eq!((stale.status, &stale.body[..]), (200, &b"picture"[..]));
    assert!(stale.cache().ends_with("detail=stale-if-error"), "{}", stale.cache());
    let unknown = edge.get("/photos/8/1/w320.webp").await;
    assert_eq!((unknown.status, unknown.header("retry-after")), (502, "1"));
    assert_eq!(unknown.header("content-type"), "application/problem+json");
}

#[tokio::test]
async fn nobody_waits_for_an_origin_that_is_known_to_hang() {
    let (origin, _, folder) = world().await;
    let edge = Edge::with(origin.address, folder.path(), &["--origin-deadline-ms", "1000"]).await;
    origin.page(PHOTO, Page::new("max-age=0, stale-if-error=600", "picture"));
    edge.get(PHOTO).await;
    edge.stored(1).await;
    origin.hold();
    assert!(edge.get(PHOTO).await.cache().ends_with("detail=stale-if-error"));
    let known = edge.get(PHOTO).await;
    assert!(known.cache().ends_with("detail=stale-if-error"), "{}", known.cache());
    let timing = known.header("server-timing");
    let ms: f64 = timing
        .split("dur=")
        .nth(1)
        .unwrap()
        .split(',')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(ms < 1000.0, "it waited for the deadline: {timing}");
    origin.page(PHOTO, Page::new("max-age=60", "new"));
    origin.open();
    eventually("the origin is found again", || async {
        edge.get(PHOTO).await.body == "new"
    })
    .await;
}

#[tokio::test]
async fn customers_of_an_edge_that_reaches_no_origin_are_served_by_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.sock");
    let listener = shop_net::listen::bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    tokio::spawn(shop_net::handover::serve(listener, &path, None).unwrap());
    let nowhere = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let origin = Origin::start().await;
    origin.page(PHOTO, Page::new("no-store", "picture"));
    let edge = async |origin, name| {
        let source = shop_net::handover::follow(path.clone());
        let edge = Edge::on(source.clone(), origin, &folder.path().join(name), &[]).await;
        tokio::spawn(edge::isolation::follow(Arc::clone(&edge.app), vec![source]));
        edge
    };
    let (isolated, sound) = (edge(nowhere, "a").await, edge(origin.address, "b").await);
    eventually("the isolated one knows", || async {
        isolated.app.fetcher.origin_is_failing()
    })
    .await;
    // It may be in the middle of leaving them to others.
    eventually("the isolated one takes nobody", || async {
        let before = isolated.front.accepted();
        for _ in 0..20 {
            let _ = get_alone(sound.address).await;
        }
        isolated.front.accepted() == before
    })
    .await;
    let mut unlucky = 0;
    for _ in 0..40 {
        let answer = get_alone(sound.address).await;
        unlucky += u32::from(!answer.starts_with("HTTP/1.1 200"));
    }
    // The sound one may be late for somebody on a machine that has no time for it.
    assert!(unlucky <= 2, "{unlucky} of 40");
}

/// Asks for the photo on a connection of its own.
async fn get_alone(address: std::net::SocketAddr) -> String {
    let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {PHOTO} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn nothing_stale_is_served_where_the_origin_forbids_it() {
    let (origin, edge, _folder) = world().await;
    origin.page(
        PHOTO,
        Page::new("max-age=0, must-revalidate", "picture").with("etag", "\"v1\""),
    );
    edge.get(PHOTO).await;
    edge.stored(1).await;
    origin.die().await;
    assert_eq!(edge.get(PHOTO).await.status, 502);
}

#[tokio::test]
async fn a_failing_origin_s_own_answer_is_passed_on_unless_something_stale_may_stand_in() {
    let (origin, edge, _folder) = world().await;
    let (may, may_not) = ("/photos/1", "/photos/2");
    origin.page(may, Page::new("max-age=0, stale-if-error=60", "picture"));
    origin.page(may_not, Page::new("max-age=0", "picture").with("etag", "\"v1\""));
    edge.get(may).await;
    edge.get(may_not).await;
    edge.stored(2).await;
    let failing = || {
        Page::new("no-store", "catching our breath")
            .status(503)
            .with("retry-after", "7")
    };
    origin.page(may, failing());
    origin.page(may_not, failing());
    let stale = edge.get(may).await;
    assert_eq!((stale.status, &stale.body[..]), (200, &b"picture"[..]));
    assert!(stale.cache().contains("fwd-status=503"), "{}", stale.cache());
    let failed = edge.get(may_not).await;
    assert_eq!((failed.status, failed.header("retry-after")), (503, "7"));
    assert_eq!(failed.body, "catching our breath");
}

#[tokio::test]
async fn an_origin_that_never_answers_costs_a_deadline_and_not_for_ever() {
    let (origin, _, folder) = world().await;
    let edge = Edge::with(origin.address, folder.path(), &["--origin-deadline-ms", "100"]).await;
    origin.hold();
    let got = edge.get(PHOTO).await;
    assert_eq!(got.status, 504);
}

/// An origin that breaks off in the middle of its first answer, and gives `tag` to its second one.
async fn breaking_origin(tag: &'static str) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 4096];
            assert!(stream.read(&mut head).await.unwrap() > 0);
            let first = counter.fetch_add(1, Ordering::SeqCst) == 0;
            let tag = if first { "\"v1\"" } else { tag };
            let head =
                format!("HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\netag: {tag}\r\ncontent-length: 10\r\n\r\n");
            let body: &[u8] = if first { b"01234" } else { b"0123456789" };
            stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    (address, asked)
}

#[tokio::test]
async fn a_body_that_broke_off_is_finished_by_another_request() {
    let folder = tempfile::tempdir().unwrap();
    let (origin, asked) = breaking_origin("\"v1\"").await;
    let edge = Edge::start(origin, folder.path()).await;
    let got = edge.get(PHOTO).await;
    assert_eq!((got.status, &got.body[..]), (200, &b"0123456789"[..]));
    edge.stored(1).await;
    assert_eq!(edge.get(PHOTO).await.body, "0123456789");
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn halves_of_different_bodies_are_never_joined_or_stored() {
    let folder = tempfile::tempdir().unwrap();
    let (origin, asked) = breaking_origin("\"v2\"").await;
    let edge = Edge::start(origin, folder.path()).await;
    assert!(
        edge.try_get(PHOTO).await.is_err(),
        "the client must see that the body is not whole"
    );
    eventually("the second answer has come", || async {
        asked.load(Ordering::SeqCst) == 2
    })
    .await;
    assert_eq!(edge.app.store.usage().objects, 0);
    assert_eq!(edge.get(PHOTO).await.body, "0123456789");
}
