//! A balancer that reaches nobody leaves the customers to the others, if there are any.

use std::time::{Duration, Instant};

use shop_net::handover::follow;
use tokio::net::TcpListener;

use crate::support::{Backend, Front, eventually, get, limits, metric, routes, start_gateway, status};

/// Routes to an address where nobody listens.
async fn routes_to_nowhere() -> String {
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let address = closed.local_addr().expect("an address");
    drop(closed);
    routes(&[], &[]).replacen("addresses = []", &format!("addresses = [\"{address}\"]"), 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn customers_of_an_isolated_balancer_are_served_by_the_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("gateway.sock");
    let backend = Backend::start("inventory-1").await;
    let (public, _gateway) = start_gateway(&path, 0).await;
    let nowhere = routes_to_nowhere().await;
    let isolated = Front::start_on(follow(path.clone()), public, "balancer-1", &nowhere, limits(), 0).await;
    let sound = Front::start_on(
        follow(path),
        public,
        "balancer-2",
        &routes(&[&backend], &[]),
        limits(),
        1,
    )
    .await;
    eventually("the sound one is ready", || async {
        status(&get(sound.admin, "/readyz").await) == 200
    })
    .await;
    let readyz = get(isolated.admin, "/readyz").await;
    assert_eq!(status(&readyz), 503);
    assert!(readyz.contains("no backend can be reached"), "{readyz}");
    let clients: Vec<_> = (0..4)
        .map(|_| {
            tokio::spawn(async move {
                for _ in 0..150 {
                    let answer = get(public, "/products/7").await;
                    assert_eq!(status(&answer), 200, "{answer}");
                }
            })
        })
        .collect();
    for client in clients {
        client.await.expect("no failed request");
    }
    assert_eq!(metric(isolated.admin, "balancer_connections_accepted_total").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_alone_says_honestly_that_it_reaches_nobody_and_goes_on_when_it_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("gateway.sock");
    let backend = Backend::start("inventory-1").await;
    let address = backend.address;
    let (public, _gateway) = start_gateway(&path, 0).await;
    let front = Front::start_on(
        follow(path),
        public,
        "balancer-1",
        &routes(&[&backend], &[]),
        limits(),
        1,
    )
    .await;
    eventually("ready", || async { status(&get(front.admin, "/readyz").await) == 200 }).await;
    backend.kill().await;
    eventually("not ready any more", || async {
        status(&get(front.admin, "/readyz").await) == 503
    })
    .await;
    let began = Instant::now();
    let answer = get(public, "/products/7").await;
    assert_eq!(status(&answer), 503, "{answer}");
    assert!(answer.contains("retry-after: 3"), "{answer}");
    assert!(began.elapsed() >= Duration::from_millis(150), "others had their time");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());

    let _backend = Backend::start_at(address, "inventory-1").await;
    eventually("ready again", || async {
        status(&get(front.admin, "/readyz").await) == 200
    })
    .await;
    assert_eq!(status(&get(public, "/products/7").await), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_a_connection_to_an_isolated_balancer_is_asked_to_go() {
    let front = Front::start(&routes_to_nowhere().await, limits(), 0).await;
    eventually("isolated", || async {
        metric(front.admin, "balancer_isolated").await == 1
    })
    .await;
    let answer = crate::support::raw(front.public, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(status(&answer), 503);
    assert!(answer.contains("connection: close"), "{answer}");
}
