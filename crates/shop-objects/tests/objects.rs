//! Objects in a folder, and on nodes of which some are broken.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use bytes::Bytes;
use shop_objects::{ObjectArgs, ObjectError, Objects};
use shop_telemetry::startup::SecretFile;

fn in_folder() -> (Objects, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (Objects::connect(&ObjectArgs::in_folder(folder.path())).unwrap(), folder)
}

/// A handle to nodes at these addresses.
fn on_nodes(endpoints: Vec<String>) -> Objects {
    let args = ObjectArgs {
        objects_endpoints: endpoints,
        s3_access_key_file: Some(SecretFile::from_value("key")),
        s3_secret_key_file: Some(SecretFile::from_value("secret")),
        objects_dir: None,
        ..ObjectArgs::in_folder("")
    };
    Objects::connect(&args).unwrap()
}

/// A node that answers every request like this, and counts them.
async fn node(status: StatusCode, body: &'static str) -> (String, Arc<AtomicUsize>) {
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&requests);
    let answer = move || async move {
        counter.fetch_add(1, Ordering::Relaxed);
        let headers = [
            ("content-type", "image/jpeg"),
            ("etag", "\"e\""),
            ("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT"),
        ];
        (status, headers, body)
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/{*path}", get(answer.clone()).put(answer.clone()).delete(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (endpoint, requests)
}

#[tokio::test]
async fn what_was_stored_comes_back_until_it_is_deleted() {
    let (objects, _folder) = in_folder();
    let jpeg = Bytes::from_static(&[0xff, 0xd8, 0xff, 0xe0]);
    objects
        .put("variants/7/1/w320.jpg", jpeg.clone(), "image/jpeg")
        .await
        .unwrap();
    assert_eq!(objects.get("variants/7/1/w320.jpg").await.unwrap(), Some(jpeg));
    objects.delete("variants/7/1/w320.jpg").await.unwrap();
    assert!(objects.get("variants/7/1/w320.jpg").await.unwrap().is_none());
    objects.delete("variants/7/1/w320.jpg").await.unwrap();
}

#[tokio::test]
async fn a_key_can_not_leave_its_store() {
    let (objects, _folder) = in_folder();
    for key in ["", "../secrets", "a/../../b", "a//b", "."] {
        assert!(
            matches!(objects.get(key).await, Err(ObjectError::InvalidKey(_))),
            "{key:?}"
        );
    }
}

#[tokio::test]
async fn the_next_node_answers_for_one_that_fails() {
    let (broken, asked) = node(StatusCode::SERVICE_UNAVAILABLE, "").await;
    let (works, _) = node(StatusCode::OK, "picture").await;
    let objects = on_nodes(vec![broken, "http://127.0.0.1:1".to_owned(), works]);
    for _ in 0..12 {
        assert_eq!(objects.get("originals/1").await.unwrap().unwrap(), "picture");
        objects
            .put("originals/1", Bytes::from_static(b"picture"), "image/jpeg")
            .await
            .unwrap();
    }
    assert!(
        asked.load(Ordering::Relaxed) <= 3,
        "a node that failed is left alone for a while"
    );
}

#[tokio::test]
async fn what_is_missing_on_one_node_is_not_looked_for_on_the_others() {
    let (empty, asked) = node(StatusCode::NOT_FOUND, "").await;
    let (other, asked_other) = node(StatusCode::NOT_FOUND, "").await;
    let objects = on_nodes(vec![empty, other]);
    assert!(objects.get("originals/1").await.unwrap().is_none());
    assert_eq!(asked.load(Ordering::Relaxed) + asked_other.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn with_all_nodes_down_the_store_is_unavailable() {
    let objects = on_nodes(vec!["http://127.0.0.1:1".to_owned(), "http://127.0.0.1:2".to_owned()]);
    let error = objects.get("originals/1").await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
}

#[test]
fn an_endpoint_that_is_no_address_is_refused_by_name() {
    let args = ObjectArgs {
        objects_endpoints: vec!["objects-1:3900".to_owned()],
        objects_dir: None,
        ..ObjectArgs::in_folder("")
    };
    let error = Objects::connect(&args).unwrap_err();
    assert!(error.to_string().starts_with("OBJECTS_ENDPOINTS"), "{error}");
}
