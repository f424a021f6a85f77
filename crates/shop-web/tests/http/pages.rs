//! Pages and what belongs to them.

use http::{StatusCode, header};

use crate::support::Shop;

#[tokio::test]
async fn a_page_is_sent_again_only_if_it_changed() {
    let shop = Shop::open().await;
    let first = shop.get("/hello", &[]).await;
    let etag = first.headers()[header::ETAG]
        .to_str()
        .expect("tags are ASCII")
        .to_owned();
    assert_eq!(first.headers()[header::CACHE_CONTROL], "private, no-cache");
    let policy = first.headers()[header::CONTENT_SECURITY_POLICY]
        .to_str()
        .expect("policies are ASCII")
        .to_owned();
    assert!(
        policy.contains("default-src 'none'") && policy.contains("http://127.0.0.1:8081") && !policy.contains("unsafe")
    );
    assert_eq!(
        shop.get("/hello", &[("if-none-match", &etag)]).await.status(),
        StatusCode::NOT_MODIFIED
    );
    assert_eq!(
        shop.get("/hello", &[("if-none-match", "W/\"other\"")]).await.status(),
        StatusCode::OK
    );
    // The page names the edge by the host that the browser asked, so for another host it is another page.
    let elsewhere = shop
        .get(
            "/hello",
            &[("if-none-match", &etag), ("x-forwarded-host", "gallery.example")],
        )
        .await;
    assert_eq!(elsewhere.status(), StatusCode::OK);
}

#[tokio::test]
async fn every_asset_of_a_page_is_served_for_ever_and_to_any_origin() {
    let shop = Shop::open().await;
    let html = shop.get("/hello", &[]).await.text().await.expect("a page is text");
    let paths: Vec<&str> = html
        .split('"')
        .filter_map(|part| Some(&part[part.find("/assets/")?..]))
        .collect();
    assert!(paths.len() >= 5, "{paths:?}");
    for path in paths {
        let response = shop.get(path, &[]).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(
            response.headers()[header::CACHE_CONTROL],
            "public, max-age=31536000, immutable"
        );
        assert_eq!(response.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    }
}

#[tokio::test]
async fn an_answer_says_who_gave_it_and_in_which_trace() {
    let shop = Shop::open().await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let traceparent = format!("00-{trace}-b7ad6b7169203331-01");
    let response = shop.get("/hello", &[("traceparent", &traceparent)]).await;
    assert_eq!(response.headers()["x-served-by"], "test-1");
    let timing = response.headers()["server-timing"].to_str().expect("timings are ASCII");
    assert!(timing.starts_with("test;desc=\"test-1\";dur="), "{timing}");
    assert!(timing.contains(&format!("trace;desc=\"{trace}\"")), "{timing}");
}
