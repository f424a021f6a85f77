//! Conditions, ranges, HEAD, big bodies, and bodies whose length nobody announces.

use http::Method;

use crate::world::{Edge, Origin, Page, world};

const PHOTO: &str = "/photos/7/1/w320.webp";
const FOREVER: &str = "public, max-age=31536000, immutable";

#[tokio::test]
async fn a_visitor_who_has_it_gets_304_on_a_miss_and_on_a_hit() {
    let (origin, edge, _folder) = world().await;
    origin.page(PHOTO, Page::new(FOREVER, "picture").with("etag", "\"v1\""));
    for objects in [1, 1] {
        let got = edge.get_with(PHOTO, &[("if-none-match", "W/\"v1\"")]).await;
        assert_eq!((got.status, got.body.len()), (304, 0));
        assert_eq!((got.header("etag"), got.header("cache-control")), ("\"v1\"", FOREVER));
        assert_eq!(got.header("content-type"), "");
        edge.stored(objects).await;
    }
    assert_eq!(edge.get_with(PHOTO, &[("if-none-match", "\"v0\"")]).await.status, 200);
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn parts_are_cut_out_of_one_whole_object() {
    let (origin, edge, _folder) = world().await;
    let body: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
    origin.page(PHOTO, Page::new(FOREVER, body.clone()).with("etag", "\"v1\""));
    for range in ["bytes=5000-5999", "bytes=99000-", "bytes=-1000", "bytes=0-0"] {
        let part = edge.get_with(PHOTO, &[("range", range)]).await;
        assert_eq!(part.status, 206, "{range}");
        let (place, total) = part
            .header("content-range")
            .strip_prefix("bytes ")
            .unwrap()
            .split_once('/')
            .unwrap();
        let (first, last) = place.split_once('-').unwrap();
        let (first, last) = (first.parse::<usize>().unwrap(), last.parse::<usize>().unwrap());
        assert_eq!(total, "100000");
        assert_eq!(part.body, &body[first..=last], "{range}");
        edge.stored(1).await;
    }
    let beyond = edge.get_with(PHOTO, &[("range", "bytes=100000-")]).await;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, "bytes */100000"));
    let changed = edge
        .get_with(PHOTO, &[("range", "bytes=0-9"), ("if-range", "\"v0\"")])
        .await;
    assert_eq!((changed.status, changed.body.len()), (200, body.len()));
    assert!(
        !origin.seen()[0].headers.contains_key("range"),
        "the origin is asked for the whole"
    );
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn a_head_request_has_the_headers_and_no_body() {
    let (origin, edge, _folder) = world().await;
    origin.page(PHOTO, Page::new(FOREVER, "picture"));
    for _ in 0..2 {
        let head = edge.request(Method::HEAD, PHOTO, &[]).await;
        assert_eq!(
            (head.status, head.header("content-length"), head.body.len()),
            (200, "7", 0)
        );
        edge.stored(1).await;
    }
    assert_eq!(edge.get(PHOTO).await.body, "picture");
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn a_body_too_big_for_memory_is_served_from_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start().await;
    let edge = Edge::with(origin.address, folder.path(), &["--hot-bytes-max", "100000"]).await;
    let body: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 253) as u8).collect();
    origin.page(PHOTO, Page::new(FOREVER, body.clone()));
    edge.get(PHOTO).await;
    edge.stored(1).await;
    let hit = edge.get(PHOTO).await;
    assert!(hit.cache().contains("; hit"));
    assert_eq!(hit.body, body);
    let part = edge.get_with(PHOTO, &[("range", "bytes=500000-699999")]).await;
    assert_eq!(part.body, &body[500_000..700_000]);
    assert_eq!(edge.app.store.usage().hot_bytes, 0);
}

#[tokio::test]
async fn what_is_larger_than_an_object_may_be_is_passed_on_whole() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start().await;
    let edge = Edge::with(origin.address, folder.path(), &["--object-bytes-max", "100000"]).await;
    let body = vec![3; 250_000];
    origin.page(PHOTO, Page::new(FOREVER, body.clone()));
    let got = edge.get(PHOTO).await;
    assert_eq!(got.body, body);
    assert!(got.cache().ends_with("detail=too-large"), "{}", got.cache());
    // A chunked body shows its length only as it arrives.
    origin.page(
        "/photos/8/1/w320.webp",
        Page::new(FOREVER, body.clone()).with("transfer-encoding", "chunked"),
    );
    let got = edge.get("/photos/8/1/w320.webp").await;
    assert_eq!(got.body, body);
    assert!(got.cache().ends_with("detail=too-large"), "{}", got.cache());
    assert_eq!(edge.app.store.usage().objects, 0);
}

#[tokio::test]
async fn a_body_whose_length_nobody_announced_is_cached_too() {
    let (origin, edge, _folder) = world().await;
    origin.page(
        PHOTO,
        Page::new(FOREVER, vec![9; 50_000]).with("transfer-encoding", "chunked"),
    );
    assert_eq!(edge.get(PHOTO).await.body.len(), 50_000);
    edge.stored(1).await;
    let hit = edge.get(PHOTO).await;
    assert_eq!((hit.body.len(), hit.header("content-length")), (50_000, "50000"));
    assert_eq!(origin.count(), 1);
}
