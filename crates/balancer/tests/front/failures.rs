//! Backends die, hang and break; customers see as little of it as can be.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Backend, Client, Front, eventually, get, limits, metric, raw, routes, status};

/// How often backends were blamed for being late.
const TIMEOUTS: &str = "kind=\"timeout\"";

#[tokio::test(flavor = "multi_thread")]
async fn killing_a_backend_under_load_loses_no_get() {
    let (dying, staying) = (Backend::start("inventory-1").await, Backend::start("inventory-2").await);
    let front = Front::start(&routes(&[&dying, &staying], &[]), limits(), 2).await;
    let answered = Arc::new(AtomicU64::new(0));
    let is_over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..16)
        .map(|_| {
            let (answered, is_over) = (answered.clone(), is_over.clone());
            tokio::spawn(async move {
                let mut client = Client::new(front.public);
                let mut failures = Vec::new();
                while !is_over.load(Relaxed) {
                    assert!(client.connect().await);
                    match client.get("/products/7").await {
                        Ok(response) if response.status() == 200 => {}
                        Ok(response) => failures.push(response.status().to_string()),
                        Err(error) => failures.push(error.to_string()),
                    }
                    answered.fetch_add(1, Relaxed);
                }
                failures
            })
        })
        .collect();
    let reached = |count: u64| {
        let answered = answered.clone();
        async move { answered.load(Relaxed) >= count }
    };
    eventually("load before the kill", || reached(500)).await;
    assert!(dying.count() > 0, "both have work before");
    dying.kill().await;
    let at_kill = answered.load(Relaxed);
    eventually("load after the kill", || reached(at_kill + 500)).await;
    is_over.store(true, Relaxed);
    for client in clients {
        assert_eq!(client.await.expect("ran"), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_goes_to_a_backend_that_was_not_tried() {
    let (broken, sound) = (
        Backend::start_broken("inventory-1").await,
        Backend::start("inventory-2").await,
    );
    let front = Front::start(&routes(&[&broken, &sound], &[]), limits(), 2).await;
    let mut retried = 0;
    for _ in 0..20 {
        let before = broken.count();
        let answer = get(front.public, "/products/7").await;
        assert_eq!(status(&answer), 200, "{answer}");
        let tries_there = broken.count() - before;
        assert!(tries_there <= 1, "the broken one was tried again for the same request");
        if tries_there == 1 {
            assert!(answer.contains("failover;desc="), "{answer}");
            retried += 1;
        }
    }
    assert!(
        retried > 0,
        "the broken one was never chosen, so this has shown nothing"
    );
    assert!(
        broken.count() < 15,
        "failures must make a backend dear: {}",
        broken.count()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_been_done_is_not_sent_twice() {
    let (broken, other) = (
        Backend::start_broken("inventory-1").await,
        Backend::start_broken("inventory-2").await,
    );
    let front = Front::start(&routes(&[&broken, &other], &[]), limits(), 2).await;
    let post = "POST /api HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";
    let answer = raw(front.public, post).await;
    assert_eq!(status(&answer), 502, "{answer}");
    assert!(answer.contains("/problems/no-answer"));
    assert_eq!(broken.count() + other.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_lets_a_small_body_be_sent_twice() {
    let (broken, sound) = (
        Backend::start_broken("inventory-1").await,
        Backend::start("inventory-2").await,
    );
    let front = Front::start(&routes(&[&broken, &sound], &[]), limits(), 2).await;
    for number in 0..20 {
        let answer = raw(
            front.public,
            &format!(
                "POST /api/orders HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k{number}\r\nContent-Length: 5\r\n\
                 Connection: close\r\n\r\nhello"
            ),
        )
        .await;
        assert_eq!(status(&answer), 200, "{answer}");
        assert!(answer.contains("\n\nhello"), "{answer}");
    }
    assert!(
        broken.count() > 0,
        "the broken one was never chosen, so this has shown nothing"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_the_same_effect_twice_is_sent_twice_with_a_small_body() {
    for start in [
        "PUT /api/anything",
        "DELETE /api/anything",
        "POST /sets",
        "POST /logins",
    ] {
        let (broken, sound) = (
            Backend::start_broken("inventory-1").await,
            Backend::start("inventory-2").await,
        );
        let front = Front::start(&routes(&[&broken, &sound], &[]), limits(), 2).await;
        for _ in 0..20 {
            let request = format!("{start} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello");
            let answer = raw(front.public, &request).await;
            assert_eq!(status(&answer), 200, "{answer}");
            assert!(answer.contains("\n\nhello"), "{answer}");
        }
        assert!(broken.count() > 0, "{start}: the broken one was never chosen");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_means_nothing_where_the_service_does_not_honour_it() {
    let (broken, other) = (
        Backend::start_broken("inventory-1").await,
        Backend::start_broken("inventory-2").await,
    );
    let front = Front::start(&routes(&[&broken, &other], &[]), limits(), 2).await;
    let post = "POST /api/photos HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\nContent-Length: 2\r\n\
                Connection: close\r\n\r\nhi";
    let answer = raw(front.public, post).await;
    assert_eq!(status(&answer), 502, "{answer}");
    assert_eq!(broken.count() + other.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_waits_is_neither_sent_twice_nor_held_against_its_backend() {
    let (first, second) = (Backend::start("inventory-1").await, Backend::start("inventory-2").await);
    let front = Front::start(&routes(&[&first, &second], &[]), limits(), 2).await;
    let post = "POST /api/orders/slow/2500 HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\nContent-Length: 2\r\n\
                Connection: close\r\n\r\nhi";
    let answer = raw(front.public, post).await;
    assert_eq!(status(&answer), 200, "{answer}");
    assert_eq!(first.count() + second.count(), 1);
    assert_eq!(metric(front.admin, TIMEOUTS).await, 0);
}

/// A backend that wakes up late would undo what its client asked for since.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_without_a_key_is_not_sent_to_another_while_its_backend_is_silent() {
    let (first, second) = (Backend::start("inventory-1").await, Backend::start("inventory-2").await);
    let front = Front::start(&routes(&[&first, &second], &[]), limits(), 2).await;
    let put = "PUT /api/cart/slow/8500 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";
    let answer = raw(front.public, put).await;
    assert_eq!(status(&answer), 200, "{answer}");
    assert_eq!(first.count() + second.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_its_service_knows_again_is_sent_to_another_while_its_backend_is_silent() {
    let (first, second) = (Backend::start("inventory-1").await, Backend::start("inventory-2").await);
    let front = Front::start(&routes(&[&first, &second], &[]), limits(), 2).await;
    let post = "POST /logins/slow/60000 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";
    let asking = tokio::spawn(raw(front.public, post));
    eventually("both are asked", || async { (first.count(), second.count()) == (1, 1) }).await;
    asking.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_is_not_its_backend_s_fault() {
    let backend = Backend::start("inventory-1").await;
    let front = Front::start(&routes(&[&backend], &[]), limits(), 1).await;
    let unfinished = "POST /hasty HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello";
    let answer = raw(front.public, unfinished).await;
    assert_eq!(status(&answer), 408, "{answer}");
    assert_eq!(metric(front.admin, TIMEOUTS).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_its_backend_no_time_is_not_its_fault() {
    let backend = Backend::start("inventory-1").await;
    let front = Front::start(&routes(&[&backend], &[]), limits(), 1).await;
    let mut client = TcpStream::connect(front.public).await.expect("connected");
    let head = "POST /hasty/slow/60000 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    client.write_all(head.as_bytes()).await.expect("sent");
    // The deadline is at 300 ms.
    tokio::time::sleep(Duration::from_millis(250)).await;
    client.write_all(b"0\r\n\r\n").await.expect("sent");
    let mut answer = [0; 12];
    client.read_exact(&mut answer).await.expect("an answer");
    assert!(
        answer.starts_with(b"HTTP/1.1 50") || answer.ends_with(b"408"),
        "{answer:?}"
    );
    assert_eq!(metric(front.admin, TIMEOUTS).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_uploads_are_not_taken_for_a_slow_service() {
    let backend = Backend::start("inventory-1").await;
    let front = Front::start(&routes(&[&backend], &[]), limits(), 1).await;
    let limit = || metric(front.admin, "balancer_concurrency_limit{service=\"inventory\"}");
    let before = limit().await;
    let began = Instant::now();
    let slow_readers = (0..60).map(async |_| {
        while began.elapsed() < Duration::from_secs(4) {
            let mut client = TcpStream::connect(front.public).await.expect("connected");
            let head = "GET /products/7 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\nh";
            client.write_all(head.as_bytes()).await.expect("sent");
            tokio::time::sleep(Duration::from_millis(600)).await;
            client.write_all(b"i").await.expect("sent");
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.expect("an answer");
            assert_eq!(status(&answer), 200, "{answer}");
        }
    });
    futures::future::join_all(slow_readers).await;
    assert_eq!(limit().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_never_left_goes_elsewhere_whatever_its_method() {
    let (dead, alive) = (Backend::start("inventory-1").await, Backend::start("inventory-2").await);
    let front = Front::start(&routes(&[&dead, &alive], &[]), limits(), 2).await;
    dead.kill().await;
    for _ in 0..10 {
        let post = "POST /cart-free HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";
        let answer = raw(front.public, post).await;
        assert_eq!(status(&answer), 200, "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_gone_is_said_to_be_and_the_other_goes_on() {
    let (inventory, user) = (Backend::start("inventory-1").await, Backend::start("user-1").await);
    let front = Front::start(&routes(&[&inventory], &[&user]), limits(), 2).await;
    user.kill().await;
    let problem = get(front.public, "/cart").await;
    assert_eq!(status(&problem), 503);
    assert!(
        problem.contains("retry-after: 3") && problem.contains("application/problem+json"),
        "{problem}"
    );
    let page = raw(
        front.public,
        "GET /cart HTTP/1.1\r\nHost: a\r\nAccept: text/html,*/*\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(status(&page), 503);
    assert!(page.contains("The gallery itself is open."), "{page}");
    assert_eq!(status(&get(front.public, "/products/7").await), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_in_504() {
    let backend = Backend::start("inventory-1").await;
    let front = Front::start(&routes(&[&backend], &[]), limits(), 1).await;
    let answer = get(front.public, "/hasty/slow/60000").await;
    assert_eq!(status(&answer), 504, "{answer}");
    assert_eq!(metric(front.admin, TIMEOUTS).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_hangs_is_left_for_another_in_time() {
    let (first, second) = (Backend::start("inventory-1").await, Backend::start("inventory-2").await);
    let hanging = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let address = hanging.local_addr().expect("an address");
    // Answers checks only: everything else waits without end.
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = hanging.accept().await.expect("accepted");
            tokio::spawn(async move {
                use tokio::io::{AsyncReadExt, AsyncWriteExt};
                let mut head = [0; 4096];
                let length = stream.read(&mut head).await.unwrap_or(0);
                if head[..length].starts_with(b"GET /readyz ") {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
                } else {
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    let routes = routes(&[&first, &second], &[]);
    let with_hanging = routes.replacen("addresses = [", &format!("addresses = [\"{address}\", "), 1);
    let front = Front::start(&with_hanging, limits(), 3).await;
    let mut clients: Vec<_> = (0..12).map(|_| Client::new(front.public)).collect();
    for client in &mut clients {
        assert!(client.connect().await);
        assert_eq!(client.get("/products/7").await.expect("an answer").status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_is_shed_at_once() {
    let backend = Backend::start("inventory-1").await;
    let other = Backend::start("user-1").await;
    let small = balancer::Limits {
        in_flight_max: 8,
        ..limits()
    };
    let front = Front::start(&routes(&[&backend], &[&other]), small, 2).await;
    let public = front.public;
    // Six fill the service's share; the other still has room.
    let holders: Vec<_> = (0..6)
        .map(|_| tokio::spawn(async move { get(public, "/slow/3000").await }))
        .collect();
    eventually("six at work", || async { backend.count() == 6 }).await;
    let shed = get(public, "/products/7").await;
    assert_eq!(status(&shed), 503, "{shed}");
    assert!(
        shed.contains("/problems/overloaded") && shed.contains("retry-after: 1"),
        "{shed}"
    );
    assert_eq!(status(&get(public, "/cart").await), 200);
    for holder in holders {
        assert_eq!(status(&holder.await.expect("ran")), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_place_of_all_is_for_a_checkout() {
    let (inventory, user) = (Backend::start("inventory-1").await, Backend::start("user-1").await);
    let small = balancer::Limits {
        in_flight_max: 8,
        ..limits()
    };
    let front = Front::start(&routes(&[&inventory], &[&user]), small, 2).await;
    let public = front.public;
    // Neither service has its share, and seven eighths are taken.
    let paths = ["/slow/3000", "/cart/slow/3000"].into_iter().cycle().take(7);
    let holders: Vec<_> = paths
        .map(|path| tokio::spawn(async move { get(public, path).await }))
        .collect();
    eventually("seven at work", || async { inventory.count() + user.count() == 7 }).await;
    for path in ["/products/7", "/cart"] {
        assert_eq!(status(&get(public, path).await), 503, "{path}");
    }
    assert_eq!(status(&get(public, "/checkout").await), 200);
    for holder in holders {
        assert_eq!(status(&holder.await.expect("ran")), 200);
    }
    assert_eq!(status(&get(public, "/cart").await), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_stays_slow_is_asked_for_less_at_a_time() {
    let backend = Backend::start("inventory-1").await;
    let front = Front::start(&routes(&[&backend], &[]), limits(), 1).await;
    let limit = || metric(front.admin, "balancer_concurrency_limit{service=\"inventory\"}");
    let before = limit().await;
    let public = front.public;
    let is_over = Arc::new(AtomicBool::new(false));
    // What is usual has to be known first.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        assert_eq!(status(&get(public, "/products/7").await), 200);
    }
    let readers: Vec<_> = (0..50)
        .map(|_| {
            let is_over = is_over.clone();
            tokio::spawn(async move {
                while !is_over.load(Relaxed) {
                    get(public, "/slow/800").await;
                }
            })
        })
        .collect();
    eventually("a lower limit", || async { limit().await < before }).await;
    is_over.store(true, Relaxed);
    futures::future::join_all(readers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_everything_fails_the_budget_bounds_how_often_it_is_tried() {
    let (first, second) = (
        Backend::start_broken("inventory-1").await,
        Backend::start_broken("inventory-2").await,
    );
    let front = Front::start(&routes(&[&first, &second], &[]), limits(), 2).await;
    let denied = || metric(front.admin, "balancer_retries_denied_total");
    let mut requests = 0;
    while denied().await == 0 {
        assert!(requests < 20_000, "every retry was paid for");
        for _ in 0..50 {
            let answer = get(front.public, "/products/7").await;
            assert!(status(&answer) >= 500, "{answer}");
        }
        requests += 50;
    }
    // A hundred that it begins with, and a fifth.
    let tries = first.count() + second.count();
    assert!(tries <= requests + 100 + requests / 5, "{tries} for {requests}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_posts_over_one_connection_all_arrive_once() {
    let (first, second) = (Backend::start("inventory-1").await, Backend::start("inventory-2").await);
    let front = Front::start(&routes(&[&first, &second], &[]), limits(), 2).await;
    let mut client = Client::new(front.public);
    for number in 0..200 {
        assert!(client.connect().await);
        let body = Full::new(Bytes::from(format!("body {number}")));
        let request = Request::post("/echo")
            .header("host", "a")
            .body(body)
            .expect("a request");
        let response = client.send(request).await.expect("an answer");
        assert!(response.body().ends_with(format!("\n\nbody {number}").as_bytes()));
    }
    assert_eq!(first.count() + second.count(), 200);
}
