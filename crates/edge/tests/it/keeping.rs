//! Room, restarts, damage, purges, and shutting down.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::world::{Edge, Origin, Page, eventually, world};

const FOREVER: &str = "public, max-age=31536000, immutable";

fn photo(number: usize) -> String {
    format!("/photos/{number}/1/w320.webp")
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found
}

#[tokio::test]
async fn the_disk_stays_within_its_bound_and_what_is_wanted_stays_on_it() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start().await;
    let edge = Edge::with(origin.address, folder.path(), &["--cache-bytes-max", "200000"]).await;
    for number in 0..40 {
        origin.page(&photo(number), Page::new(FOREVER, vec![0; 10_000]));
        edge.get(&photo(number)).await;
        let known = (number + 1).min(5);
        eventually("it is stored", || async { edge.app.store.usage().objects >= known }).await;
        edge.get(&photo(0)).await;
        assert!(edge.app.store.usage().disk_bytes <= 200_000);
    }
    let times = origin.seen().iter().filter(|seen| seen.path == photo(0)).count();
    assert_eq!(times, 1, "the popular one was never evicted");
    eventually("evicted files are deleted", || async {
        files(folder.path(), "body").len() == edge.app.store.usage().objects
    })
    .await;
}

#[tokio::test]
async fn a_restart_keeps_the_cache_and_drops_what_is_damaged() {
    let (origin, edge, folder) = world().await;
    for number in 0..3 {
        origin.page(
            &photo(number),
            Page::new(FOREVER, format!("picture {number}")).with("etag", "\"v1\""),
        );
        edge.get(&photo(number)).await;
    }
    edge.stored(3).await;
    edge.stop().await;
    let bodies = files(folder.path(), "body");
    let body_of = |text: &str| {
        bodies
            .iter()
            .find(|file| std::fs::read_to_string(file).unwrap() == text)
            .unwrap()
    };
    std::fs::write(body_of("picture 1"), "torn").unwrap();
    std::fs::write(body_of("picture 2"), "pixture 2").unwrap();

    let edge = Edge::start(origin.address, folder.path()).await;
    assert_eq!(
        edge.app.store.usage().objects,
        2,
        "the torn one is dropped at the start"
    );
    let hit = edge.get(&photo(0)).await;
    assert_eq!(hit.body, "picture 0");
    assert!(hit.cache().contains("; hit"), "{}", hit.cache());
    assert_eq!(origin.count(), 3);
    for number in [1, 2] {
        let again = edge.get(&photo(number)).await;
        assert_eq!(again.body, format!("picture {number}"), "damage is never served");
        assert!(again.cache().contains("fwd=uri-miss"), "{}", again.cache());
    }
    edge.stored(3).await;
}

#[tokio::test]
async fn what_can_not_be_read_just_now_is_not_thrown_away() {
    let (origin, edge, folder) = world().await;
    origin.page(&photo(1), Page::new(FOREVER, "picture"));
    edge.get(&photo(1)).await;
    edge.stored(1).await;
    let body = files(folder.path(), "body").remove(0);
    let aside = body.with_extension("aside");
    std::fs::rename(&body, &aside).unwrap();
    // A link to itself can't be opened, and isn't missing either: like any file when too many are open.
    std::os::unix::fs::symlink(&body, &body).unwrap();
    let passed = edge.get(&photo(1)).await;
    assert_eq!((passed.status, &passed.body[..]), (200, &b"picture"[..]));
    assert_eq!(origin.count(), 2);
    std::fs::rename(&aside, &body).unwrap();
    let hit = edge.get(&photo(1)).await;
    assert!(hit.cache().contains("; hit"), "{}", hit.cache());
    assert_eq!(origin.count(), 2);
}

#[tokio::test]
async fn two_edges_on_one_volume_do_not_get_in_each_other_s_way() {
    let (origin, first, folder) = world().await;
    let second = Edge::start(origin.address, folder.path()).await;
    origin.page(&photo(1), Page::new(FOREVER, "picture"));
    for edge in [&first, &second] {
        edge.get(&photo(1)).await;
        edge.stored(1).await;
        edge.admin("PURGE", &photo(1)).await;
        edge.get(&photo(1)).await;
        edge.stored(1).await;
        assert!(edge.get(&photo(1)).await.cache().contains("; hit"));
    }
    assert_eq!(files(folder.path(), "body").len(), 2);
}

#[tokio::test]
async fn a_purged_url_or_tag_is_gone_also_after_a_restart() {
    let (origin, edge, folder) = world().await;
    for (number, tag) in [(1, "photo-1"), (2, "photo-2, wall"), (3, "wall")] {
        origin.page(&photo(number), Page::new(FOREVER, "x").with("cache-tag", tag));
        let got = edge.get(&photo(number)).await;
        assert_eq!(got.header("cache-tag"), "", "tags are between the origin and the edge");
    }
    edge.stored(3).await;
    let purged = edge.admin("PURGE", &photo(1)).await;
    assert_eq!((purged.status, &purged.body[..]), (200, &b"{\"purged\":1}"[..]));
    assert_eq!(edge.app.fetcher.purge_tag("wall").await, 2);
    assert_eq!(files(folder.path(), "record").len(), 0);
    edge.stop().await;
    let edge = Edge::start(origin.address, folder.path()).await;
    assert_eq!(edge.app.store.usage().objects, 0);
}

#[tokio::test]
async fn what_is_purged_while_it_arrives_is_delivered_and_not_kept() {
    let (origin, edge, _folder) = world().await;
    origin.page(&photo(1), Page::new(FOREVER, "old"));
    origin.hold();
    let edge = Arc::new(edge);
    let early = {
        let edge = Arc::clone(&edge);
        tokio::spawn(async move { edge.get(&photo(1)).await })
    };
    eventually("the origin is asked", || async { origin.count() == 1 }).await;
    edge.admin("PURGE", &photo(1)).await;
    origin.open();
    assert_eq!(early.await.unwrap().body, "old");
    origin.page(&photo(1), Page::new(FOREVER, "new"));
    assert_eq!(edge.get(&photo(1)).await.body, "new");
    edge.stored(1).await;
    assert_eq!(edge.get(&photo(1)).await.body, "new");
}

#[tokio::test]
async fn a_request_under_way_is_finished_before_the_process_ends() {
    let (origin, edge, _folder) = world().await;
    origin.page(&photo(1), Page::new(FOREVER, "picture"));
    origin.hold();
    let address = edge.address;
    let asking = tokio::spawn(async move {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {} HTTP/1.1\r\nhost: x\r\n\r\n", photo(1));
        tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes())
            .await
            .unwrap();
        let mut answer = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer)
            .await
            .unwrap();
        answer
    });
    eventually("the origin is asked", || async { origin.count() == 1 }).await;
    let stopping = tokio::spawn(edge.stop());
    eventually("the port is closed", || async {
        tokio::net::TcpStream::connect(address).await.is_err()
    })
    .await;
    origin.open();
    let answer = asking.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.ends_with("picture"), "{answer}");
    stopping.await.unwrap();
}

#[tokio::test]
async fn whoever_asks_again_while_the_process_ends_is_answered_and_told_to_go() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start().await;
    let edge = Edge::start(origin.address, folder.path()).await;
    origin.page(&photo(1), Page::new(FOREVER, "picture"));
    let mut stream = tokio::net::TcpStream::connect(edge.address).await.unwrap();
    let request = format!("GET {} HTTP/1.1\r\nhost: x\r\n\r\n", photo(1));
    let mut answer = vec![0; 4096];
    stream.write_all(request.as_bytes()).await.unwrap();
    assert!(stream.read(&mut answer).await.unwrap() > 0);
    edge.stored(1).await;
    let front = edge.front.clone();
    let stopping = tokio::spawn(edge.stop());
    eventually("it drains", || async { front.is_draining() }).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert!(answer.ends_with("picture"), "{answer}");
    stopping.await.unwrap();
}

#[tokio::test]
async fn the_admin_port_says_whether_the_process_is_ready() {
    let (_origin, edge, _folder) = world().await;
    assert_eq!(edge.admin("GET", "/readyz").await.status, 200);
    assert_eq!(edge.admin("GET", "/livez").await.status, 200);
    assert_eq!(edge.admin("GET", "/metrics").await.status, 200);
    assert_eq!(edge.admin("GET", "/photos/1").await.status, 404);
}
