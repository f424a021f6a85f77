//! Who may ask what, and what is said of the answer.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;

use crate::support::{Backend, Client, Front, get, limits, raw, routes, status};

async fn front() -> (Front, Backend, Backend) {
    let (inventory, user) = (Backend::start("inventory-1").await, Backend::start("user-1").await);
    let front = Front::start(&routes(&[&inventory], &[&user]), limits(), 2).await;
    (front, inventory, user)
}

#[tokio::test(flavor = "multi_thread")]
async fn internal_paths_are_for_the_private_side_alone() {
    let (front, inventory, _user) = front().await;
    for path in [
        "/internal/products",
        "/internal",
        "//internal/products",
        "/%69nternal/products",
        "/internal%2Fproducts",
        "/x/../internal/products",
        "/x/%2e%2e/internal/products",
        "/./internal/products",
    ] {
        for address in [front.public, front.origin] {
            let answer = get(address, path).await;
            assert!(matches!(status(&answer), 400 | 404), "{path}: {answer}");
        }
    }
    let absolute = "GET http://a/internal/products HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&raw(front.public, absolute).await), 404);
    assert_eq!(inventory.count(), 0);
    assert_eq!(status(&get(front.private, "/internal/products").await), 200);
    assert_eq!(status(&get(front.private, "/products/7").await), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_reach_their_services_and_the_answer_says_which_way_it_came() {
    let (front, inventory, user) = front().await;
    let answer = get(front.public, "/cart/items/7?x=1").await;
    assert_eq!(user.count(), 1);
    assert!(answer.contains("x-served-by: balancer-1, user-1"), "{answer}");
    assert!(
        answer.contains("server-timing: balancer;desc=\"balancer-1\";dur="),
        "{answer}"
    );
    assert!(answer.contains(", user-1;dur=1.0"), "{answer}");
    assert!(answer.contains("x-content-type-options: nosniff"), "{answer}");
    get(front.public, "/carton").await;
    assert_eq!(inventory.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_goes_through_and_back() {
    let (front, _inventory, _user) = front().await;
    let kept = "GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine-1\r\nConnection: close\r\n\r\n";
    let answer = raw(front.public, kept).await;
    assert_eq!(
        answer.matches("x-request-id: mine-1").count(),
        2,
        "once in the echo, once in the head: {answer}"
    );
    let answer = get(front.public, "/products/7").await;
    assert!(
        answer.contains("\ntraceparent: 00-") && answer.contains("\nx-forwarded-for: 127.0.0.1"),
        "{answer}"
    );
    assert!(answer.contains("\nvia: 1.1 balancer-1"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keep_alive_pipelining_and_head_work_as_they_should() {
    let (front, _inventory, _user) = front().await;
    let pipelined = "GET /one HTTP/1.1\r\nHost: a\r\n\r\nHEAD /two HTTP/1.1\r\nHost: a\r\n\r\n\
                     GET /three HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = raw(front.public, pipelined).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3, "{answer}");
    assert!(
        answer.contains("GET /one\n") && answer.contains("GET /three\n"),
        "{answer}"
    );
    assert!(
        !answer.contains("HEAD /two\n"),
        "an answer to HEAD has no body: {answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_stream_through_in_both_directions() {
    let (front, _inventory, _user) = front().await;
    let body = Bytes::from(vec![b'x'; 900_000]);
    let mut client = Client::new(front.public);
    assert!(client.connect().await);
    let request = Request::post("/echo")
        .header("host", "a")
        .body(Full::new(body.clone()))
        .expect("a request");
    let response = client.send(request).await.expect("an answer");
    assert!(response.body().ends_with(&body));
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_backends_and_metrics() {
    let (front, _inventory, _user) = front().await;
    get(front.public, "/cart").await;
    assert_eq!(status(&get(front.admin, "/livez").await), 200);
    assert_eq!(status(&get(front.admin, "/readyz").await), 200);
    let backends = get(front.admin, "/backends").await;
    assert!(backends.contains("\"name\":\"user-1\""), "{backends}");
    let metrics = get(front.admin, "/metrics").await;
    assert!(
        metrics.contains("balancer_requests_total{route=\"/cart\",service=\"user\",status=\"2xx\"} 1"),
        "{metrics}"
    );
    assert!(metrics.contains("balancer_request_duration_seconds_count{route=\"/cart\",service=\"user\"} 1"));
}
