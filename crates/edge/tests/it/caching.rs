//! What is fetched, what is kept, and how often the origin is asked.

use std::sync::Arc;

use futures::future::join_all;
use http::Method;

use crate::world::{Page, eventually, world};

const PHOTO: &str = "/photos/7/1/w320.webp";
const FOREVER: &str = "public, max-age=31536000, immutable";

#[tokio::test]
async fn the_second_visitor_is_served_from_the_cache() {
    let (origin, edge, _folder) = world().await;
    origin.page(
        PHOTO,
        Page::new(FOREVER, "picture")
            .with("access-control-allow-origin", "*")
            .with("x-request-id", "o"),
    );
    let miss = edge.get(PHOTO).await;
    assert_eq!((miss.status, &miss.body[..]), (200, &b"picture"[..]));
    assert_eq!(miss.cache(), "edge-1; fwd=uri-miss; fwd-status=200; stored");
    edge.stored(1).await;
    for _ in 0..2 {
        let hit = edge.get_with(PHOTO, &[("x-request-id", "mine")]).await;
        assert_eq!((hit.status, &hit.body[..]), (200, &b"picture"[..]));
        assert!(hit.cache().starts_with("edge-1; hit; ttl=3153"), "{}", hit.cache());
        assert!(hit.header("server-timing").starts_with("edge;desc=\"edge-1\";dur="));
        assert!(hit.header("server-timing").contains("cache;desc=\"hit\""));
        assert!(hit.header("server-timing").contains("age;desc=\""));
        assert_eq!(hit.header("x-request-id"), "mine");
        assert_eq!(hit.header("access-control-allow-origin"), "*");
        assert_eq!(hit.header("timing-allow-origin"), "*");
        assert!(hit.header("age").parse::<u64>().is_ok());
    }
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn a_crowd_that_asks_at_once_costs_one_request_to_the_origin() {
    let (origin, edge, _folder) = world().await;
    origin.page(PHOTO, Page::new(FOREVER, vec![7; 300_000]));
    origin.hold();
    let edge = Arc::new(edge);
    let crowd: Vec<_> = (0..50)
        .map(|_| {
            let edge = Arc::clone(&edge);
            tokio::spawn(async move { edge.get(PHOTO).await })
        })
        .collect();
    eventually("the origin is asked", || async { origin.count() == 1 }).await;
    origin.open();
    let mut collapsed = 0;
    for got in join_all(crowd).await {
        let got = got.unwrap();
        assert_eq!((got.status, got.body.len()), (200, 300_000));
        collapsed += usize::from(got.cache().ends_with("collapsed"));
    }
    assert_eq!(origin.count(), 1);
    assert!(collapsed > 0, "some must have waited for the first");
}

#[tokio::test]
async fn what_becomes_one_visitor_s_own_is_neither_kept_nor_shared() {
    for (name, value) in [("cache-control", "private"), ("set-cookie", "visitor=7")] {
        let (origin, edge, _folder) = world().await;
        origin.page(PHOTO, Page::new("max-age=0", "everybody's").with("etag", "\"v1\""));
        edge.get(PHOTO).await;
        edge.stored(1).await;
        let page = Page::new("max-age=0", "mine").with("etag", "\"v1\"").with(name, value);
        origin.page(PHOTO, page);
        // The first answer may still be landing, and whoever asks meanwhile gets it too.
        eventually("it is seen to have changed", || async {
            edge.get(PHOTO).await.body == "mine"
        })
        .await;
        assert_eq!(edge.app.store.usage().objects, 0, "{name}");
        assert_eq!(edge.get(PHOTO).await.body, "mine", "{name}");
        assert_eq!(edge.app.store.usage().objects, 0, "{name}");
        let asked = origin.seen();
        assert_eq!(asked[1].headers["if-none-match"], "\"v1\"");
        assert!(
            !asked[2].headers.contains_key("if-none-match"),
            "all of it is asked for"
        );
        assert_eq!(asked.len(), 4);
    }
}

#[tokio::test]
async fn a_stale_object_is_asked_about_and_served_again_without_being_sent_again() {
    let (origin, edge, _folder) = world().await;
    origin.page(PHOTO, Page::new("max-age=0", "picture").with("etag", "\"v1\""));
    edge.get(PHOTO).await;
    edge.stored(1).await;
    let again = edge.get(PHOTO).await;
    assert_eq!((again.status, &again.body[..]), (200, &b"picture"[..]));
    assert!(
        again.cache().starts_with("edge-1; fwd=stale; fwd-status=304"),
        "{}",
        again.cache()
    );
    assert_eq!(origin.seen()[1].headers["if-none-match"], "\"v1\"");

    origin.page(PHOTO, Page::new("max-age=60", "picture").with("etag", "\"v1\""));
    edge.get(PHOTO).await;
    assert!(
        edge.get(PHOTO).await.cache().contains("; hit; ttl="),
        "the 304's new lifetime counts"
    );

    origin.page(PHOTO, Page::new("max-age=0", "other").with("etag", "\"v2\""));
    edge.admin("PURGE", PHOTO).await;
    assert_eq!(edge.get(PHOTO).await.body, "other");
}

#[tokio::test]
async fn a_changed_object_replaces_the_stale_one() {
    let (origin, edge, _folder) = world().await;
    origin.page(PHOTO, Page::new("max-age=0", "old").with("etag", "\"v1\""));
    edge.get(PHOTO).await;
    edge.stored(1).await;
    origin.page(PHOTO, Page::new("max-age=60", "new").with("etag", "\"v2\""));
    let changed = edge.get(PHOTO).await;
    assert_eq!(changed.body, "new");
    assert_eq!(changed.cache(), "edge-1; fwd=stale; fwd-status=200; stored");
    eventually("the new one is stored", || async {
        edge.get(PHOTO).await.cache().contains("; hit")
    })
    .await;
    assert_eq!(edge.get(PHOTO).await.body, "new");
    assert_eq!(edge.app.store.usage().objects, 1);
}

#[tokio::test]
async fn something_stale_is_served_at_once_while_it_is_fetched_anew() {
    let (origin, edge, _folder) = world().await;
    origin.page(PHOTO, Page::new("max-age=0, stale-while-revalidate=60", "old"));
    edge.get(PHOTO).await;
    edge.stored(1).await;
    origin.page(PHOTO, Page::new("max-age=60", "new"));
    origin.hold();
    let stale = edge.get(PHOTO).await;
    assert_eq!(stale.body, "old");
    assert!(stale.header("server-timing").contains("cache;desc=\"stale\""));
    origin.open();
    eventually("the new one is served", || async {
        edge.get(PHOTO).await.body == "new"
    })
    .await;
}

#[tokio::test]
async fn what_may_not_be_stored_is_passed_on_and_asked_for_each_time() {
    let (origin, edge, _folder) = world().await;
    let pages = [
        ("/photos/a", Page::new("no-store", "x"), "no-store"),
        ("/photos/b", Page::new("private, max-age=60", "x"), "private"),
        (
            "/photos/c",
            Page::new("max-age=60", "x").with("set-cookie", "a=b"),
            "set-cookie",
        ),
        ("/photos/d", Page::new("max-age=60", "x").with("vary", "cookie"), "vary"),
        ("/photos/e", Page::new("public", "x"), "no-lifetime"),
        ("/photos/f", Page::new("public", "x").status(404), "status"),
    ];
    for (path, page, reason) in pages {
        let status = page.status.as_u16();
        origin.page(path, page);
        for _ in 0..2 {
            let before = origin.count();
            let got = edge.get(path).await;
            assert_eq!((got.status, &got.body[..]), (status, &b"x"[..]), "{path}");
            assert!(
                got.cache().ends_with(&format!("detail={reason}")),
                "{path}: {}",
                got.cache()
            );
            assert_eq!(origin.count(), before + 1, "{path}");
        }
    }
    assert_eq!(edge.app.store.usage().objects, 0);
}

#[tokio::test]
async fn a_missing_photo_is_remembered_for_as_long_as_the_origin_says() {
    let (origin, edge, _folder) = world().await;
    origin.page(PHOTO, Page::new("max-age=30", "none").status(404));
    assert_eq!(edge.get(PHOTO).await.status, 404);
    edge.stored(1).await;
    let hit = edge.get(PHOTO).await;
    assert_eq!(hit.status, 404);
    assert!(hit.cache().contains("; hit"));
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn each_coding_has_a_variant_of_its_own() {
    let (origin, edge, _folder) = world().await;
    let css = "/assets/shop.0a1b.css";
    let page = |body: &'static str| Page::new(FOREVER, body).with("vary", "Accept-Encoding");
    origin.page(css, page("gzipped").with("content-encoding", "gzip"));
    let gzip = [("accept-encoding", "gzip, deflate")];
    assert_eq!(edge.get_with(css, &gzip).await.body, "gzipped");
    edge.stored(1).await;
    origin.page(css, page("plain"));
    let plain = edge.get(css).await;
    assert_eq!(plain.body, "plain");
    assert!(plain.cache().starts_with("edge-1; fwd=vary-miss"), "{}", plain.cache());
    edge.stored(2).await;
    let again = edge.get_with(css, &[("accept-encoding", "deflate, gzip;q=0.8")]).await;
    assert_eq!(
        (&again.body[..], again.header("content-encoding")),
        (&b"gzipped"[..], "gzip")
    );
    assert_eq!(edge.get(css).await.body, "plain");
    assert_eq!(origin.count(), 2);
}

#[tokio::test]
async fn nobody_gets_somebody_else_s_variant_by_joining_their_request() {
    let (origin, edge, _folder) = world().await;
    let css = "/assets/shop.0a1b.css";
    origin.page(css, Page::new(FOREVER, "for all").with("vary", "accept-encoding"));
    origin.hold();
    let edge = Arc::new(edge);
    let ask = |coding: &'static str| {
        let edge = Arc::clone(&edge);
        tokio::spawn(async move { edge.get_with(css, &[("accept-encoding", coding)]).await })
    };
    let first = ask("gzip");
    eventually("the origin is asked", || async { origin.count() == 1 }).await;
    let second = ask("br");
    origin.open();
    assert_eq!(first.await.unwrap().status, 200);
    assert_eq!(second.await.unwrap().status, 200);
    edge.stored(2).await;
    let codings: Vec<_> = origin
        .seen()
        .iter()
        .map(|seen| seen.headers["accept-encoding"].clone())
        .collect();
    assert_eq!(codings, ["gzip", "br"]);
}

#[tokio::test]
async fn only_photos_and_assets_are_served_and_nothing_is_changed_here() {
    let (origin, edge, _folder) = world().await;
    let elsewhere = edge.get("/api/products").await;
    assert_eq!(elsewhere.status, 404);
    assert_eq!(elsewhere.header("content-type"), "application/problem+json");
    let problem: serde_json::Value = serde_json::from_slice(&elsewhere.body).unwrap();
    assert_eq!(problem["request_id"], elsewhere.header("x-request-id"));
    let changed = edge.request(Method::DELETE, PHOTO, &[]).await;
    assert_eq!((changed.status, changed.header("allow")), (405, "GET, HEAD"));
    assert_eq!(edge.get("/photos/%2e%2e/api").await.status, 400);
    assert_eq!(
        edge.get_with(PHOTO, &[("cache-control", "only-if-cached")])
            .await
            .status,
        504
    );
    assert_eq!(origin.count(), 0);
}

#[tokio::test]
async fn the_origin_learns_nothing_about_the_visitor_but_their_trace() {
    let (origin, edge, _folder) = world().await;
    origin.page(PHOTO, Page::new(FOREVER, "x"));
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers = [
        ("cookie", "zillion_session=1"),
        ("traceparent", trace),
        ("x-request-id", "r-1"),
        ("user-agent", "k6"),
    ];
    edge.get_with(&format!("{PHOTO}?utm=1"), &headers).await;
    let seen = origin.seen().remove(0);
    assert_eq!(seen.path, PHOTO);
    assert!(!seen.headers.contains_key("cookie"));
    assert!(!seen.headers.contains_key("user-agent"));
    assert_eq!(seen.headers["x-request-id"], "r-1");
    assert_eq!(seen.headers["via"], "1.1 edge-1");
    assert!(
        seen.headers["traceparent"]
            .to_str()
            .unwrap()
            .contains("4bf92f3577b34da6a3ce929d0e0e4736")
    );
}
