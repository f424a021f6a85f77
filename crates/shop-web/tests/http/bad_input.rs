//! What clients get wrong, and what goes wrong here.

use http::{StatusCode, header};

use crate::support::{Shop, assert_problem, client};

#[tokio::test]
async fn what_does_not_exist_is_a_problem_and_never_an_error_of_ours() {
    let shop = Shop::open().await;
    assert_problem(shop.get("/nowhere", &[]).await, StatusCode::NOT_FOUND, "not-found").await;
    assert_problem(shop.get("/things/none", &[]).await, StatusCode::NOT_FOUND, "not-found").await;
    assert_problem(
        shop.get("/things/99999999999999999999", &[]).await,
        StatusCode::NOT_FOUND,
        "not-found",
    )
    .await;
    assert_problem(
        shop.get("/things?quantity=-1", &[]).await,
        StatusCode::BAD_REQUEST,
        "invalid-query",
    )
    .await;
    assert_problem(
        shop.get("/form", &[]).await,
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
    )
    .await;
    assert_problem(
        shop.get("/assets/shop.css", &[]).await,
        StatusCode::NOT_FOUND,
        "not-found",
    )
    .await;
}

#[tokio::test]
async fn a_body_that_cannot_be_used_is_a_problem_with_its_reason() {
    let shop = Shop::open().await;
    let post = |body: String, kind: &'static str| {
        client()
            .post(shop.url("/api/things"))
            .header("content-type", kind)
            .body(body)
            .send()
    };
    for body in ["{", "[]", "{\"quantity\":\"x\"}", "{\"quantity\":-1}", ""] {
        let response = post(body.to_owned(), "application/json")
            .await
            .expect("the shop answers");
        let problem = assert_problem(response, StatusCode::BAD_REQUEST, "invalid-json").await;
        assert!(
            problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()),
            "{body}"
        );
    }
    let response = post("quantity=1".to_owned(), "text/plain")
        .await
        .expect("the shop answers");
    assert_problem(response, StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type").await;
    let response = post(format!("\"{}\"", "x".repeat(2_000_000)), "application/json")
        .await
        .expect("the shop answers");
    assert_problem(response, StatusCode::PAYLOAD_TOO_LARGE, "too-large").await;
    let form = client()
        .post(shop.url("/form"))
        .form(&[("quantity", "many")])
        .send()
        .await
        .expect("the shop answers");
    assert_problem(form, StatusCode::BAD_REQUEST, "invalid-form").await;
}

#[tokio::test]
async fn a_form_posted_from_another_site_is_refused() {
    let shop = Shop::open().await;
    let post = |name: &'static str, value: String| {
        client()
            .post(shop.url("/form"))
            .header(name, value)
            .form(&[("quantity", "1")])
            .send()
    };
    let response = post("sec-fetch-site", "cross-site".to_owned())
        .await
        .expect("the shop answers");
    assert_problem(response, StatusCode::FORBIDDEN, "cross-site").await;
    let response = post("origin", "https://elsewhere.example".to_owned())
        .await
        .expect("the shop answers");
    assert_problem(response, StatusCode::FORBIDDEN, "cross-site").await;
    let response = post("origin", format!("http://{}", shop.addr))
        .await
        .expect("the shop answers");
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_panic_and_a_handler_that_hangs_are_answered() {
    let shop = Shop::open().await;
    let problem = assert_problem(
        shop.get("/panic", &[]).await,
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
    )
    .await;
    assert!(!problem.to_string().contains("on purpose"));
    let response = shop.get("/slow", &[]).await;
    assert!(response.headers().contains_key(header::RETRY_AFTER));
    assert_problem(response, StatusCode::SERVICE_UNAVAILABLE, "unavailable").await;
}

#[tokio::test]
async fn who_is_asked_to_come_back_is_told_when_whoever_made_the_answer() {
    let shop = Shop::open().await;
    let browser = ("accept", "text/html");
    for (path, headers, seconds) in [
        ("/busy", &[][..], "10"),
        ("/busy", &[browser][..], "10"),
        ("/busy-form", &[browser][..], "10"),
        ("/busy-for-a-minute", &[][..], "60"),
        ("/busy-for-a-minute", &[browser][..], "60"),
        ("/busy-form-for-a-minute", &[browser][..], "60"),
    ] {
        let response = shop.get(path, headers).await;
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS, "{path}");
        assert_eq!(response.headers()[header::RETRY_AFTER], seconds, "{path}");
        let is_page = response.headers()[header::CONTENT_TYPE] != "application/problem+json";
        assert_eq!(is_page, !headers.is_empty(), "{path}");
    }
    let response = shop.get("/busy-form", &[browser]).await;
    let page = response.text().await.expect("a page is text");
    assert!(page.contains("Hello"), "the handler's own page stays: {page}");
}

#[tokio::test]
async fn a_browser_gets_a_page_for_a_problem_and_a_program_does_not() {
    let shop = Shop::open().await;
    let browser = ("accept", "text/html,application/xhtml+xml");
    let response = shop.get("/nowhere", &[browser, ("x-request-id", "abc-1")]).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    let html = response.text().await.expect("a page is text");
    assert!(html.contains("Nothing hangs here") && html.contains("abc-1"));
    let response = shop.get("/api/nowhere", &[browser]).await;
    assert_problem(response, StatusCode::NOT_FOUND, "not-found").await;
}
