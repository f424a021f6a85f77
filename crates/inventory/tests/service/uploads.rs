//! Photos over HTTP, from the upload to the wall, with the real broker.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shop_queue::messages::PhotoProcess;
use shop_queue::{Delivered, Outcome, QueueArgs};
use shop_testkit::{FaultyProxy, wait_until};
use sqlx::{AssertSqlSafe, PgPool};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::shop::{PATIENCE, Shop, host_of, picture, print, upload_form};

async fn outbox_length(pool: &PgPool) -> i64 {
    let (length,): (i64,) = sqlx::query_as("select count(*) from photo_outbox")
        .fetch_one(pool)
        .await
        .expect("a count");
    length
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn an_upload_is_accepted_published_and_shown_as_being_framed(pool: PgPool) {
    let product = print(&pool, "Harbour", 3).await;
    let shop = Shop::open(pool).await;
    let page = format!("/products/{product}");
    assert!(shop.page(&page).await.contains("Being hung"));
    let id = shop.upload(product, picture(300, 200)).await;

    let photo = shop.json(&format!("/api/photos/{id}")).await;
    assert_eq!(photo["status"], "accepted");
    assert_eq!((&photo["width"], &photo["height"]), (&json!(300), &json!(200)));
    assert!(shop.page(&page).await.contains("Being framed"));
    let original = shop.app.objects.get(&format!("originals/{id}")).await;
    let original = original.expect("an answer").expect("the original");
    assert_eq!(original, picture(300, 200));
    wait_until("the message is in the queue", PATIENCE, async || {
        shop.app
            .queue
            .depth("photo.process")
            .await
            .is_ok_and(|depth| depth == 1)
    })
    .await;
    wait_until("the outbox is empty", PATIENCE, async || {
        outbox_length(&shop.pool).await == 0
    })
    .await;
    shop.close().await;
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn an_upload_that_is_sent_again_under_its_key_is_one_photo(pool: PgPool) {
    let product = print(&pool, "Harbour", 3).await;
    let shop = Shop::open(pool).await;
    let form = |width| upload_form(picture(width, 30)).text("product_id", product.to_string());
    let send = async |key: &str, form: reqwest::multipart::Form| {
        let request = shop.post("/api/photos", Some(&shop.shopkeeper)).multipart(form);
        let answer = request.header("idempotency-key", key).send().await.expect("an answer");
        let status = answer.status();
        let body: Value = answer.json().await.expect("JSON");
        (status, body)
    };
    let both = tokio::join!(send("one", form(40)), send("one", form(40)));
    assert_eq!(both.0.0, StatusCode::ACCEPTED);
    assert_eq!(both.0, both.1);
    assert_eq!(send("one", form(40)).await, both.0);

    let (status, problem) = send("one", form(41)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(problem["type"], "/problems/idempotency-key-reused");
    assert_eq!(problem["photo_id"], both.0.1["id"]);
    assert_eq!(send("no key", form(40)).await.0, StatusCode::BAD_REQUEST);

    let in_form = || form(40).text("idempotency_key", "two");
    let page = format!("/admin/products/{product}/photo");
    for _ in 0..2 {
        let request = shop.post(&page, Some(&shop.shopkeeper)).multipart(in_form());
        assert_eq!(request.send().await.expect("an answer").status(), StatusCode::SEE_OTHER);
    }
    let (photos, versions): (i64, i64) =
        sqlx::query_as("select (select count(*) from photos), (select count(*) from photo_versions)")
            .fetch_one(&shop.pool)
            .await
            .expect("counts");
    assert_eq!((photos, versions), (2, 2));
    shop.close().await;
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn an_upload_is_accepted_once_although_the_database_s_host_dies_at_any_step_of_it(pool: PgPool) {
    let product = print(&pool, "Harbour", 3).await;
    let hosts = [
        FaultyProxy::start(&host_of(&pool)).await,
        FaultyProxy::start(&host_of(&pool)).await,
    ];
    let shop = Shop::open_behind(pool, &hosts).await;
    let waiting = async || -> i64 {
        sqlx::query_scalar(
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()",
        )
        .fetch_one(&shop.pool)
        .await
        .expect("a count")
    };
    for table in ["photos", "photo_versions"] {
        wait_until("all hosts are known", PATIENCE, async || {
            shop.app.db.status().iter().all(|host| host.up)
        })
        .await;
        let writes_on = shop.app.db.write().await.expect("a primary").host().to_owned();
        let host = hosts.iter().find(|host| host.addr().to_string() == writes_on);
        let host = host.expect("one of the hosts");
        let mut lock = shop.pool.begin().await.expect("a transaction");
        let statement = format!("lock table {table} in share mode");
        sqlx::query(AssertSqlSafe(statement))
            .execute(&mut *lock)
            .await
            .expect("the lock");
        let form = upload_form(picture(40, 30)).text("product_id", product.to_string());
        let uploading = tokio::spawn(shop.post("/api/photos", Some(&shop.shopkeeper)).multipart(form).send());
        wait_until("it is being written", PATIENCE, async || waiting().await == 1).await;
        host.cut();
        wait_until("it is written again", PATIENCE, async || waiting().await == 2).await;
        lock.rollback().await.expect("the lock's end");
        let answer = uploading.await.expect("a request that ends").expect("an answer");
        assert_eq!(answer.status(), StatusCode::ACCEPTED, "{table}");
        host.thaw();
    }
    let (photos,): (i64,) = sqlx::query_as("select count(*) from photos")
        .fetch_one(&shop.pool)
        .await
        .expect("a count");
    assert_eq!(photos, 2);
    shop.close().await;
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn what_is_no_picture_of_ours_is_refused_and_leaves_nothing(pool: PgPool) {
    let product = print(&pool, "Harbour", 3).await;
    let shop = Shop::open(pool).await;
    let send = async |form: reqwest::multipart::Form, session: Option<&str>| {
        let request = shop.post("/api/photos", session).multipart(form);
        request.send().await.expect("an answer").status().as_u16()
    };
    let keeper = Some(shop.shopkeeper.as_str());
    let customer = Some(shop.customer.as_str());
    let good = || upload_form(picture(40, 30));

    assert_eq!(send(good(), None).await, 401);
    assert_eq!(
        send(good().text("product_id", product.to_string()), customer).await,
        403
    );
    assert_eq!(send(good().text("purpose", "product"), customer).await, 403);
    assert_eq!(send(good().text("purpose", "poster"), keeper).await, 400);
    assert_eq!(send(good().text("product_id", "999"), keeper).await, 404);
    assert_eq!(send(good().text("product_id", "-1"), keeper).await, 400);
    assert_eq!(send(good().text("alt", "x".repeat(501)), keeper).await, 400);
    assert_eq!(send(upload_form(Vec::new()), keeper).await, 400);
    assert_eq!(
        send(reqwest::multipart::Form::new().text("alt", "x"), keeper).await,
        400
    );
    assert_eq!(send(upload_form(b"<svg onload=alert(1)>".to_vec()), keeper).await, 422);
    assert_eq!(send(upload_form(bomb()), keeper).await, 422);
    assert_eq!(send(upload_form(vec![0; 21 * 1024 * 1024]), keeper).await, 413);
    let no_form = shop.post("/api/photos", keeper).json(&json!({})).send().await;
    assert!(no_form.expect("an answer").status().is_client_error());

    let (photos,): (i64,) = sqlx::query_as("select count(*) from photos")
        .fetch_one(&shop.pool)
        .await
        .expect("a count");
    assert_eq!(photos, 0);
    // A customer's picture of themselves is welcome.
    assert_eq!(send(good().text("purpose", "profile"), customer).await, 202);
    shop.close().await;
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn slow_senders_keep_nobody_from_uploading(pool: PgPool) {
    let product = print(&pool, "Harbour", 3).await;
    let shop = Shop::open(pool).await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut sender = TcpStream::connect(shop.server.addr()).await.expect("a connection");
        let head = format!(
            "POST /api/photos HTTP/1.1\r\nhost: shop\r\ncookie: {}\r\nexpect: 100-continue\r\n\
             content-type: multipart/form-data; boundary=b\r\ncontent-length: 1000000\r\n\r\n",
            shop.customer
        );
        sender.write_all(head.as_bytes()).await.expect("a head that is read");
        // The service says so when it begins to read the body.
        let mut answer = [0; "HTTP/1.1 100".len()];
        sender.read_exact(&mut answer).await.expect("a word to go on");
        assert_eq!(&answer, b"HTTP/1.1 100");
        let body = "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nso far";
        sender
            .write_all(body.as_bytes())
            .await
            .expect("the beginning of a body");
        slow.push(sender);
    }
    shop.upload(product, picture(40, 30)).await;
    drop(slow);
    shop.close().await;
}

/// A small file that says it is a picture of 268 megapixels.
fn bomb() -> Vec<u8> {
    // A lossless WebP's header: 14 bits for each side.
    let mut bytes = b"RIFF\x20\0\0\0WEBPVP8L\x14\0\0\0\x2f".to_vec();
    let (width, height) = (16_383_u32 - 1, 16_383_u32 - 1);
    bytes.extend_from_slice(&(width | (height << 14)).to_le_bytes());
    bytes.extend_from_slice(&[0; 16]);
    bytes
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn a_dead_broker_refuses_no_upload(pool: PgPool) {
    let product = print(&pool, "Harbour", 3).await;
    let nowhere = QueueArgs::for_url("amqp://shop:test@127.0.0.1:1").expect("a URL");
    let shop = Shop::open_with_broker(pool, nowhere).await;
    let id = shop.upload(product, picture(40, 30)).await;
    assert_eq!(shop.json(&format!("/api/photos/{id}")).await["status"], "accepted");
    assert_eq!(outbox_length(&shop.pool).await, 1);
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn a_workers_report_hangs_the_picture(pool: PgPool) {
    let product = print(&pool, "Harbour", 3).await;
    let shop = Shop::open(pool).await;
    let page = format!("/products/{product}");
    let id = shop.upload(product, picture(400, 200)).await;
    assert!(shop.page(&page).await.contains("Being framed"));
    let variant = picture(40, 20);
    for name in ["w320.webp", "w320.jpg"] {
        let key = format!("variants/{id}/1/{name}");
        let stored = shop.app.objects.put(&key, variant.clone().into(), "image/webp").await;
        stored.expect("a variant");
    }
    let made = json!({
        "width": 400, "height": 200, "placeholder": "data:image/webp;base64,AA==",
        "variants": [
            {"name": "w320.webp", "width": 320, "height": 160, "format": "webp", "bytes": variant.len()},
            {"name": "w320.jpg", "width": 320, "height": 160, "format": "jpeg", "bytes": variant.len()},
        ],
    });
    let report = format!("/internal/photos/{id}/versions/1");
    for _ in 0..2 {
        let (status, _) = shop.internal(Method::PUT, &report, Some(made.clone())).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
    }
    let html = shop.page(&page).await;
    assert!(html.contains(&format!(":8081/photos/{id}/1/w320.webp 320w")));
    assert!(html.contains("data:image/webp;base64,AA=="));

    let url = format!("/photos/{id}/1/w320.webp");
    let hung = shop.get(&url).await;
    assert_eq!(hung.status(), StatusCode::OK);
    assert_eq!(hung.headers()["content-type"], "image/webp");
    assert_eq!(hung.headers()["cache-control"], "public, max-age=31536000, immutable");
    assert_eq!(hung.headers()["cache-tag"], format!("photo-{id}").as_str());
    let etag = hung.headers()["etag"].clone();
    assert_eq!(hung.bytes().await.expect("a picture"), variant);
    let request = shop
        .server
        .client
        .get(shop.server.url(&url))
        .header("if-none-match", etag);
    let again = request.send().await.expect("an answer");
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    assert!(again.headers().contains_key("etag"));

    let (status, _) = shop
        .internal(Method::PUT, "/internal/photos/999/versions/1", Some(made))
        .await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (status, _) = shop
        .internal(
            Method::PUT,
            &report,
            Some(json!({"width": 1, "height": 1, "placeholder": "x", "variants": []})),
        )
        .await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    shop.close().await;
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn a_dead_letter_marks_its_photo_as_failed(pool: PgPool) {
    let product = print(&pool, "Harbour", 3).await;
    let shop = Shop::open(pool).await;
    let id = shop.upload(product, picture(400, 200)).await;
    let stop = CancellationToken::new();
    let queue = shop.app.queue.clone();
    let killer = tokio::spawn({
        let stop = stop.clone();
        async move {
            queue
                .consume("photo.process", 1, stop, |_: Delivered<PhotoProcess>| async {
                    Outcome::Dead
                })
                .await;
        }
    });
    wait_until("the photo has failed", PATIENCE, async || {
        shop.json(&format!("/api/photos/{id}")).await["status"] == "failed"
    })
    .await;
    stop.cancel();
    killer.await.expect("an end");
    wait_until("the page says so", PATIENCE, async || {
        let page = shop.page(&format!("/products/{product}")).await;
        page.contains("This picture could not be made")
    })
    .await;
    shop.close().await;
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn an_edit_makes_a_new_version_from_the_original(pool: PgPool) {
    let product = print(&pool, "Harbour", 3).await;
    let shop = Shop::open(pool).await;
    let id = shop.upload(product, picture(400, 200)).await;
    let path = format!("/api/photos/{id}/versions");
    let edits = json!({"crop": {"x": 0.1, "y": 0.0, "width": 0.5, "height": 1.0}, "sharpen": 0.5, "blur": 0.0});
    let edited = shop.post(&path, Some(&shop.shopkeeper)).json(&edits).send().await;
    let edited = edited.expect("an answer");
    assert_eq!(edited.status(), StatusCode::ACCEPTED);
    let body: Value = edited.json().await.expect("JSON");
    assert_eq!(body["version"], 2);
    let by_form = shop
        .post(
            &format!("/admin/products/{product}/photo/edits"),
            Some(&shop.shopkeeper),
        )
        .form(&[
            ("left", "10"),
            ("right", "40"),
            ("top", "0"),
            ("bottom", "0"),
            ("sharpen", "0"),
            ("blur", "20"),
        ]);
    assert_eq!(by_form.send().await.expect("an answer").status(), StatusCode::SEE_OTHER);
    let (messages,): (i64,) = sqlx::query_as("select max(version)::bigint from photo_versions where photo_id = $1")
        .bind(id)
        .fetch_one(&shop.pool)
        .await
        .expect("versions");
    assert_eq!(messages, 3);

    for (edits, session, status) in [
        (edits.clone(), &shop.customer, 403),
        (json!({"sharpen": 2.0}), &shop.shopkeeper, 422),
        (
            json!({"crop": {"x": 0.9, "y": 0.0, "width": 0.5, "height": 1.0}}),
            &shop.shopkeeper,
            422,
        ),
        (json!({"sharpen": "much"}), &shop.shopkeeper, 400),
    ] {
        let request = shop.post(&path, Some(session)).json(&edits);
        assert_eq!(
            request.send().await.expect("an answer").status().as_u16(),
            status,
            "{edits}"
        );
    }
    let unknown = shop
        .post("/api/photos/999/versions", Some(&shop.shopkeeper))
        .json(&edits);
    assert_eq!(unknown.send().await.expect("an answer").status(), StatusCode::NOT_FOUND);
    shop.close().await;
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn a_sweep_removes_what_an_upload_left_half_done(pool: PgPool) {
    let product = print(&pool, "Harbour", 3).await;
    let shop = Shop::open(pool).await;
    let hung = shop.upload(product, picture(40, 30)).await;
    let (stale,): (i64,) = sqlx::query_as(
        "
        insert into photos (owner_id, purpose, content_type, bytes, width, height, created_at)
        values (1, 'product', 'image/png', 10, 40, 30, now() - interval '1 hour') returning id
        ",
    )
    .fetch_one(&shop.pool)
    .await
    .expect("a stale upload");
    let key = format!("originals/{stale}");
    let stored = shop.app.objects.put(&key, picture(40, 30).into(), "image/png").await;
    stored.expect("an object");

    let swept = inventory::tasks::sweep::sweep(&shop.app, 900.0).await;
    assert_eq!(swept.expect("a sweep"), 1);
    assert!(shop.app.objects.get(&key).await.expect("an answer").is_none());
    let kept = shop.app.objects.get(&format!("originals/{hung}")).await;
    assert!(kept.expect("an answer").is_some());
    let (left,): (i64,) = sqlx::query_as("select count(*) from photos")
        .fetch_one(&shop.pool)
        .await
        .expect("a count");
    assert_eq!(left, 1);
    shop.close().await;
}
