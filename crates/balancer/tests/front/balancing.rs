//! Who gets which request: algorithms, ejection, limits and hedges.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use balancer::BackendLimits;

use crate::support::{Backend, Front, eventually, get, limits, metric, raw, routes, status};

/// The routes, with these lines added to the one for "/".
fn routes_with(backends: &[&Backend], lines: &str) -> String {
    let fallback = "prefix = \"/\"\n        service = \"inventory\"\n";
    let table = routes(backends, &[]);
    assert!(table.contains(fallback));
    table.replacen(fallback, &format!("{fallback}{lines}\n"), 1)
}

fn served_by(answer: &str) -> String {
    let line = answer
        .lines()
        .find_map(|line| line.strip_prefix("x-served-by: balancer-1, "));
    line.unwrap_or_else(|| panic!("served by nobody: {answer}"))
        .trim()
        .to_owned()
}

async fn three_backends() -> [Backend; 3] {
    [
        Backend::start("inventory-1").await,
        Backend::start("inventory-2").await,
        Backend::start("inventory-3").await,
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_sticks_to_its_backend_and_others_go_elsewhere() {
    let backends = three_backends().await;
    let all = backends.each_ref();
    let front = Front::start(
        &routes_with(&all, "balance = { consistent-hash = \"path\" }"),
        limits(),
        3,
    )
    .await;
    let mut seen = HashSet::new();
    for product in 0..100 {
        let path = format!("/products/{product}");
        let first = served_by(&get(front.public, &path).await);
        for query in 0..2 {
            assert_eq!(served_by(&get(front.public, &format!("{path}?q={query}")).await), first);
        }
        seen.insert(first);
    }
    assert_eq!(seen.len(), 3, "all have a share");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_sticks_and_when_its_backend_dies_only_its_sessions_move() {
    let backends = three_backends().await;
    let table = routes_with(
        &backends.each_ref(),
        "balance = { consistent-hash = { cookie = \"id\" } }",
    );
    let front = Front::start(&table, limits(), 3).await;
    let public = front.public;
    let of_session = |session: u32| async move {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: a=b; id={session}\r\nConnection: close\r\n\r\n");
        let answer = raw(public, &request).await;
        assert_eq!(status(&answer), 200, "{answer}");
        served_by(&answer)
    };
    let mut before = Vec::new();
    for session in 0..30 {
        before.push(of_session(session).await);
    }
    let [dying, _second, _third] = backends;
    dying.kill().await;
    for (session, home) in (0..30).zip(before) {
        let now = of_session(session).await;
        assert_ne!(now, "inventory-1");
        assert!(
            home == "inventory-1" || home == now,
            "{home} was well, but now it is {now}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_least_loaded_gets_the_next_one() {
    let backends = three_backends().await;
    let front = Front::start(
        &routes_with(&backends.each_ref(), "balance = \"least-loaded\""),
        limits(),
        3,
    )
    .await;
    let public = front.public;
    let holders: Vec<_> = (0..3)
        .map(|_| tokio::spawn(async move { served_by(&get(public, "/slow/1500").await) }))
        .collect();
    let mut seen = HashSet::new();
    for holder in holders {
        seen.insert(holder.await.expect("ran"));
    }
    // Three at once may choose before they see each other, but hardly all the same.
    assert!(seen.len() >= 2, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_fails_too_often_is_taken_out_and_the_last_half_never() {
    let (flaky, sound) = (
        Backend::start_flaky("inventory-1").await,
        Backend::start("inventory-2").await,
    );
    // By key, since by cost it would get so few requests that nothing could be said of its rate.
    let front = Front::start(
        &routes_with(&[&flaky, &sound], "balance = { consistent-hash = \"path\" }"),
        limits(),
        2,
    )
    .await;
    let ejected = || async { get(front.admin, "/backends").await.contains("\"ejected\":true") };
    let mut product = 0;
    while !ejected().await {
        for _ in 0..20 {
            product += 1;
            let answer = get(front.public, &format!("/products/{product}")).await;
            assert!([200, 500].contains(&status(&answer)), "{answer}");
        }
        assert!(product < 2000, "never taken out");
    }
    let before = flaky.count();
    for number in 0..20 {
        assert_eq!(status(&get(front.public, &format!("/products/{number}")).await), 200);
    }
    assert_eq!(flaky.count(), before, "it is out");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_of_the_backends_always_stay_in() {
    let (first, second) = (
        Backend::start_broken("inventory-1").await,
        Backend::start_broken("inventory-2").await,
    );
    let front = Front::start(&routes(&[&first, &second], &[]), limits(), 2).await;
    for _ in 0..20 {
        assert!(status(&get(front.public, "/products/7").await) >= 500);
    }
    let backends = get(front.admin, "/backends").await;
    assert_eq!(backends.matches("\"ejected\":true").count(), 1, "{backends}");
    assert!(metric(front.admin, "balancer_ejections_denied_total").await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_for_the_backends_waits_and_then_is_refused() {
    let backend = Backend::start("inventory-1").await;
    let narrow = balancer::Limits {
        backend: BackendLimits {
            in_flight_max: 2,
            waiting_max: 3,
            wait_max: Duration::from_secs(10),
        },
        ..limits()
    };
    let front = Front::start(&routes(&[&backend], &[]), narrow, 1).await;
    let (public, admin) = (front.public, front.admin);
    let slow = || tokio::spawn(async move { get(public, "/slow/1000").await });
    let mut holders = vec![slow(), slow()];
    eventually("both places taken", || async { backend.count() == 2 }).await;
    holders.extend([slow(), slow(), slow()]);
    eventually("the queue is full", || async move {
        metric(admin, "balancer_queue_waiting{service=\"inventory\"}").await == 3
    })
    .await;
    let refused = get(public, "/products/7").await;
    assert_eq!(status(&refused), 503, "{refused}");
    assert!(
        refused.contains("retry-after: 1") && refused.contains("/problems/overloaded"),
        "{refused}"
    );
    for holder in holders {
        assert_eq!(status(&holder.await.expect("ran")), 200, "whoever waited was served");
    }
    assert_eq!(backend.in_flight_peak(), 2, "never more than allowed, over all threads");
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_has_an_end() {
    let backend = Backend::start("inventory-1").await;
    let narrow = balancer::Limits {
        backend: BackendLimits {
            in_flight_max: 1,
            waiting_max: 3,
            wait_max: Duration::from_millis(200),
        },
        ..limits()
    };
    let front = Front::start(&routes(&[&backend], &[]), narrow, 1).await;
    let public = front.public;
    let holder = tokio::spawn(async move { get(public, "/slow/3000").await });
    eventually("the place is taken", || async { backend.count() == 1 }).await;
    let began = Instant::now();
    assert_eq!(status(&get(public, "/products/7").await), 503);
    assert!(began.elapsed() >= Duration::from_millis(200) && began.elapsed() < Duration::from_secs(2));
    assert_eq!(metric(front.admin, "outcome=\"expired\"").await, 1);
    assert_eq!(status(&holder.await.expect("ran")), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_get_is_asked_of_another_backend_too_and_the_first_answer_wins() {
    let (slow, quick) = (
        Backend::start_slow("inventory-1", Duration::from_millis(1500)).await,
        Backend::start("inventory-2").await,
    );
    let front = Front::start(&routes_with(&[&slow, &quick], "hedge_after_ms = 100"), limits(), 2).await;
    let mut products = 0;
    while metric(front.admin, "balancer_hedges_won_total").await == 0 {
        products += 1;
        assert!(products < 100, "the slow one was never chosen first");
        let began = Instant::now();
        let answer = get(front.public, &format!("/products/{products}")).await;
        assert_eq!(served_by(&answer), "inventory-2");
        assert!(began.elapsed() < Duration::from_millis(1400), "{:?}", began.elapsed());
    }
    assert!(metric(front.admin, "balancer_hedges_total").await > 0 && slow.count() > 0);
    eventually("the place of the slow one is free", || async {
        metric(front.admin, "balancer_backend_in_flight").await == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hedge_is_for_gets_only() {
    let (first, second) = (Backend::start("inventory-1").await, Backend::start("inventory-2").await);
    let front = Front::start(&routes_with(&[&first, &second], "hedge_after_ms = 20"), limits(), 2).await;
    let post = "POST /slow/300 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";
    assert_eq!(status(&raw(front.public, post).await), 200);
    assert_eq!(first.count() + second.count(), 1);
    assert_eq!(metric(front.admin, "balancer_hedges_total").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn backends_are_told_how_long_they_have_and_customers_have_no_say_in_it() {
    let backend = Backend::start("inventory-1").await;
    let front = Front::start(&routes(&[&backend], &[]), limits(), 1).await;
    let said = |answer: &str| -> u64 {
        let mut lines = answer
            .lines()
            .filter_map(|line| line.strip_prefix("x-envoy-expected-rq-timeout-ms: "));
        let said = lines.next().expect("told").trim().parse().expect("a number");
        assert_eq!(lines.next(), None);
        said
    };
    let hurried = |path: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-Envoy-Expected-Rq-Timeout-Ms: 2000\r\nConnection: close\r\n\r\n")
    };
    let public = raw(front.public, &hurried("/products/7")).await;
    assert!((2_001..=15_000).contains(&said(&public)), "{public}");
    let private = raw(front.private, &hurried("/internal/products/7")).await;
    assert!((1..=2_000).contains(&said(&private)), "{private}");
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_have_a_page_of_it() {
    let backend = Backend::start("inventory-1").await;
    let front = Front::start(&routes_with(&[&backend], "balance = \"least-loaded\""), limits(), 1).await;
    let page = get(front.admin, "/").await;
    assert_eq!(status(&page), 200);
    assert!(page.contains("content-security-policy: default-src 'none'"), "{page}");
    let answer = get(front.admin, "/backends").await;
    let body = answer.split("\r\n\r\n").nth(1).expect("a body");
    let view: serde_json::Value = serde_json::from_str(body).expect("JSON");
    let fallback = view["routes"]
        .as_array()
        .expect("routes")
        .iter()
        .find(|route| route["prefix"] == "/");
    assert_eq!(fallback.expect("the fallback")["balance"], "least-loaded");
    let shown = &view["services"][0]["backends"][0];
    assert_eq!(shown["health"], "up");
    assert!(
        shown["weight"]
            .as_f64()
            .is_some_and(|weight| weight > 0.0 && weight <= 1.0)
    );
    for key in ["ejected_for_ms", "in_flight", "latency_ms", "failure_rate"] {
        assert!(shown.get(key).is_some() && page.contains(key), "{key}");
    }
}
