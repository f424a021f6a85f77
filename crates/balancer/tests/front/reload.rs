//! The routes file changes while customers are served.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::support::{Backend, Client, Front, eventually, get, limits, metric, routes, status};

#[tokio::test(flavor = "multi_thread")]
async fn routes_are_replaced_under_load_and_no_request_fails() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("routes.toml");
    let (inventory, user) = (Backend::start("inventory-1").await, Backend::start("user-1").await);
    let gallery = Backend::start("gallery-1").await;
    let before = routes(&[&inventory], &[&user]);
    std::fs::write(&path, &before).expect("written");
    let mut front = Front::start(&before, limits(), 2).await;
    front.balancer.watch_routes(path.clone(), before.clone());

    let (public, admin) = (front.public, front.admin);
    let (answered, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = ["/products/7", "/cart", "/gallery/1", "/products/8"]
        .into_iter()
        .map(|path| {
            let (answered, is_over) = (answered.clone(), is_over.clone());
            tokio::spawn(async move {
                let mut client = Client::new(public);
                while !is_over.load(Relaxed) {
                    assert!(client.connect().await);
                    let response = client.get(path).await.expect("an answer");
                    assert_eq!(response.status(), 200, "{path}");
                    answered.fetch_add(1, Relaxed);
                }
            })
        })
        .collect();
    eventually("load", || async { answered.load(Relaxed) > 100 }).await;
    assert!(metric(admin, "balancer_requests_total{route=\"/cart\"").await > 0);

    // A service that nobody has asked for anything yet, and one that has moved.
    let moved = Backend::start("user-2").await;
    let gallery_routes = format!(
        "[[service]]\nname = \"gallery\"\naddresses = [\"{}\"]\n\
         [[route]]\nprefix = \"/gallery\"\nservice = \"gallery\"\n{}",
        gallery.address,
        routes(&[&inventory], &[&moved])
    );
    let carts_before = metric(admin, "balancer_requests_total{route=\"/cart\"").await;
    std::fs::write(&path, &gallery_routes).expect("written");
    eventually("the new service is asked", || async { gallery.count() > 100 }).await;
    eventually("the moved one too", || async { moved.count() > 100 }).await;
    assert_eq!(metric(admin, "balancer_routes_reloads_total").await, 1);
    let carts = metric(admin, "balancer_requests_total{route=\"/cart\"").await;
    assert!(carts > carts_before, "a route that stays keeps its counters");

    std::fs::write(
        &path,
        format!("{gallery_routes}\n[[route]]\nprefix = \"nonsense\"\nservice = \"user\"\n"),
    )
    .expect("written");
    eventually("the bad file is refused", || async {
        metric(admin, "balancer_routes_refused").await == 1
    })
    .await;
    let ready = get(admin, "/readyz").await;
    assert!(
        status(&ready) == 200 && ready.contains("routes file refused: line "),
        "{ready}"
    );
    assert!(get(admin, "/backends").await.contains("route prefix \\\"nonsense\\\""));
    let so_far = gallery.count();
    eventually("the old routes go on", || async { gallery.count() > so_far + 100 }).await;

    std::fs::remove_file(&path).expect("removed");
    eventually("a file that is gone is refused as well", || async {
        metric(admin, "balancer_routes_refusals_total").await == 2
    })
    .await;
    std::fs::write(&path, &before).expect("written");
    eventually("a good one is taken again", || async {
        metric(admin, "balancer_routes_refused").await == 0 && metric(admin, "balancer_routes_reloads_total").await == 2
    })
    .await;
    let so_far = user.count();
    eventually("the first routes are back", || async { user.count() > so_far + 100 }).await;

    is_over.store(true, Relaxed);
    for client in clients {
        client.await.expect("no request failed");
    }
}
