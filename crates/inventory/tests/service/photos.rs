//! Photos in the database: every report repeated, late, or about nothing.

use inventory::domain::original::Original;
use inventory::domain::photo::{Made, MadeVariant, Purpose};
use inventory::queries::photos::{self, Accepted, NewPhoto, Reported, Started};
use inventory::queries::{outbox, products};
use shop_queue::messages::{PhotoEdits, PhotoProcess};
use shop_web::idempotency::IdempotencyKey;
use sqlx::PgPool;

use crate::shop::print;

async fn upload(pool: &PgPool, product_id: Option<i64>) -> i64 {
    match start(pool, product_id, 7, &IdempotencyKey::random(), 1).await {
        Started::Uploading(id) => id,
        other => panic!("{other:?}"),
    }
}

async fn start(pool: &PgPool, product_id: Option<i64>, owner_id: i64, key: &IdempotencyKey, hash: u8) -> Started {
    let mut conn = pool.acquire().await.expect("a connection");
    let photo = NewPhoto {
        owner_id,
        key,
        hash: &[hash; 32],
        purpose: Purpose::Product,
        product_id,
        alt: "",
        original: Original {
            content_type: "image/png",
            width: 1800,
            height: 1200,
        },
        bytes: 1000,
    };
    photos::start_upload(&mut conn, &photo).await.expect("a photo")
}

async fn accept(pool: &PgPool, id: i64) -> bool {
    let mut conn = pool.acquire().await.expect("a connection");
    photos::accept(&mut conn, id).await.expect("an answer") == Accepted::Now
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn a_key_stands_for_one_upload_of_its_owner(pool: PgPool) {
    let key = IdempotencyKey::random();
    let Started::Uploading(id) = start(&pool, None, 7, &key, 1).await else {
        panic!("a new key")
    };
    assert_eq!(start(&pool, None, 7, &key, 1).await, Started::Uploading(id));
    assert_eq!(start(&pool, None, 7, &key, 2).await, Started::Different(id));
    assert!(matches!(start(&pool, None, 8, &key, 1).await, Started::Uploading(other) if other != id));
    let mut conn = pool.acquire().await.expect("a connection");
    let mut accept = async |id| photos::accept(&mut conn, id).await.expect("an answer");
    assert_eq!(accept(id).await, Accepted::Now);
    assert_eq!(accept(id).await, Accepted::Before);
    assert_eq!(start(&pool, None, 7, &key, 1).await, Started::Accepted(id));
    assert_eq!(start(&pool, None, 7, &key, 2).await, Started::Different(id));
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn a_key_whose_upload_is_swept_away_is_free_again(pool: PgPool) {
    let key = IdempotencyKey::random();
    let Started::Uploading(id) = start(&pool, None, 7, &key, 1).await else {
        panic!("a new key")
    };
    let mut conn = pool.acquire().await.expect("a connection");
    let taken = photos::take_stale(&mut conn, 0.0, 10).await.expect("an answer");
    assert_eq!(taken, [id]);
    assert_eq!(start(&pool, None, 7, &key, 1).await, Started::Swept);
    assert_eq!(photos::accept(&mut conn, id).await.expect("an answer"), Accepted::Swept);
    photos::forget(&mut conn, id).await.expect("an answer");
    assert!(matches!(start(&pool, None, 7, &key, 1).await, Started::Uploading(new) if new != id));
}

async fn accepted(pool: &PgPool, product_id: Option<i64>) -> i64 {
    let id = upload(pool, product_id).await;
    assert!(accept(pool, id).await);
    id
}

fn made(width: i32) -> Made {
    Made {
        width,
        height: width / 2,
        placeholder: "data:image/webp;base64,AA==".to_owned(),
        variants: ["webp", "jpeg"]
            .into_iter()
            .map(|format| MadeVariant {
                name: format!("w320.{}", if format == "webp" { "webp" } else { "jpg" }),
                width: 320,
                height: 160,
                format: format.to_owned(),
                bytes: 100,
            })
            .collect(),
    }
}

async fn ready(pool: &PgPool, id: i64, version: i32, made: &Made) -> Reported {
    let mut tx = pool.begin().await.expect("a transaction");
    let reported = photos::ready(&mut tx, id, version, made).await.expect("an answer");
    tx.commit().await.expect("a commit");
    reported
}

async fn failed(pool: &PgPool, id: i64, version: i32) -> Reported {
    let mut conn = pool.acquire().await.expect("a connection");
    photos::failed(&mut conn, id, version, "damaged")
        .await
        .expect("an answer")
}

async fn edit(pool: &PgPool, id: i64) -> i32 {
    let mut conn = pool.acquire().await.expect("a connection");
    photos::add_version(&mut conn, id, PhotoEdits::default())
        .await
        .expect("an answer")
        .expect("a version")
}

async fn shown(pool: &PgPool, id: i64) -> Option<(i32, String, usize)> {
    let mut conn = pool.acquire().await.expect("a connection");
    let photo = photos::shown(&mut conn, &[id]).await.expect("photos").remove(&id)?;
    Some((photo.version, photo.status, photo.variants.len()))
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn an_upload_shows_once_it_is_accepted_and_in_full_once_it_is_ready(pool: PgPool) {
    let product = print(&pool, "Harbour", 10).await;
    let id = upload(&pool, Some(product)).await;
    assert_eq!(shown(&pool, id).await, None);
    assert!(accept(&pool, id).await);
    assert_eq!(shown(&pool, id).await, Some((1, "accepted".to_owned(), 0)));

    let report = ready(&pool, id, 1, &made(1800)).await;
    assert_eq!(
        report,
        Reported::Shown {
            product_ids: vec![product]
        }
    );
    assert_eq!(shown(&pool, id).await, Some((1, "ready".to_owned(), 2)));
    let mut conn = pool.acquire().await.expect("a connection");
    let hung = products::find(&mut conn, product)
        .await
        .expect("an answer")
        .expect("the product");
    let photo = hung.photo.expect("its photo");
    assert_eq!((photo.id, photo.width, photo.height), (id, 1800, 900));
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn a_report_that_comes_twice_changes_nothing(pool: PgPool) {
    let id = accepted(&pool, None).await;
    assert!(matches!(ready(&pool, id, 1, &made(1800)).await, Reported::Shown { .. }));
    assert_eq!(ready(&pool, id, 1, &made(999)).await, Reported::Ignored);
    assert_eq!(failed(&pool, id, 1).await, Reported::Ignored);
    assert_eq!(shown(&pool, id).await, Some((1, "ready".to_owned(), 2)));
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn an_older_version_never_replaces_a_newer_one(pool: PgPool) {
    let id = accepted(&pool, None).await;
    assert_eq!(edit(&pool, id).await, 2);
    assert!(matches!(ready(&pool, id, 2, &made(900)).await, Reported::Shown { .. }));
    assert_eq!(ready(&pool, id, 1, &made(1800)).await, Reported::Ignored);
    assert_eq!(shown(&pool, id).await, Some((2, "ready".to_owned(), 2)));
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn the_old_version_stays_on_the_wall_until_the_new_one_is_ready(pool: PgPool) {
    let id = accepted(&pool, None).await;
    ready(&pool, id, 1, &made(1800)).await;
    assert_eq!(edit(&pool, id).await, 2);
    assert_eq!(shown(&pool, id).await, Some((1, "ready".to_owned(), 2)));
    assert!(matches!(failed(&pool, id, 2).await, Reported::Shown { .. }));
    assert_eq!(shown(&pool, id).await, Some((1, "ready".to_owned(), 2)));
    // A copy of the message that another worker finishes after all still counts.
    assert!(matches!(ready(&pool, id, 2, &made(900)).await, Reported::Shown { .. }));
    assert_eq!(shown(&pool, id).await, Some((2, "ready".to_owned(), 2)));
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn a_report_about_nothing_is_told_so(pool: PgPool) {
    let id = accepted(&pool, None).await;
    let uploading = upload(&pool, None).await;
    assert_eq!(ready(&pool, 999, 1, &made(900)).await, Reported::Unknown);
    assert_eq!(ready(&pool, id, 2, &made(900)).await, Reported::Unknown);
    assert_eq!(ready(&pool, uploading, 1, &made(900)).await, Reported::Unknown);
    assert_eq!(failed(&pool, id, 2).await, Reported::Unknown);
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn a_sweep_takes_stale_uploads_and_nothing_else(pool: PgPool) {
    let stale = upload(&pool, None).await;
    let fresh = upload(&pool, None).await;
    let hung = accepted(&pool, None).await;
    sqlx::query("update photos set created_at = now() - interval '1 hour' where id <> $1")
        .bind(fresh)
        .execute(&pool)
        .await
        .expect("an older photo");
    let mut conn = pool.acquire().await.expect("a connection");
    let taken = photos::take_stale(&mut conn, 900.0, 10).await.expect("a sweep");
    assert_eq!(taken, [stale]);
    // From here on the upload has lost, however late its object arrives.
    assert!(!accept(&pool, stale).await);
    // A sweep that died after taking it is continued by the next.
    let again = photos::take_stale(&mut conn, 900.0, 10).await.expect("a sweep");
    assert_eq!(again, [stale]);
    photos::forget(&mut conn, stale).await.expect("a removal");
    photos::forget(&mut conn, hung).await.expect("no removal");
    let (left,): (i64,) = sqlx::query_as("select count(*) from photos")
        .fetch_one(&pool)
        .await
        .expect("a count");
    assert_eq!(left, 2);
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn a_message_is_claimed_by_one_relay_and_returns_when_its_claim_is_over(pool: PgPool) {
    let id = accepted(&pool, None).await;
    let message = PhotoProcess {
        photo_id: id,
        version: 1,
        original_key: format!("originals/{id}"),
        edits: PhotoEdits::default(),
    };
    let mut conn = pool.acquire().await.expect("a connection");
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let message_id = outbox::add(&mut conn, &message, Some(traceparent))
        .await
        .expect("a message");
    assert_eq!(outbox::backlog(&mut conn).await.expect("a count").0, 1);

    let first = outbox::claim(&mut conn, 60.0, 10).await.expect("a claim");
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].id, message_id);
    assert_eq!(first[0].message.photo_id, id);
    assert_eq!(first[0].traceparent.as_deref(), Some(traceparent));
    let second = outbox::claim(&mut conn, 60.0, 10).await.expect("no claim");
    assert!(second.is_empty());

    outbox::unclaim(&mut conn, &[message_id])
        .await
        .expect("an end of the claim");
    let third = outbox::claim(&mut conn, -1.0, 10).await.expect("a claim");
    assert_eq!(third.len(), 1);
    let after_expiry = outbox::claim(&mut conn, 60.0, 10).await.expect("a claim");
    assert_eq!(after_expiry.len(), 1, "a claim that is over holds nobody off");

    outbox::remove(&mut conn, &[message_id]).await.expect("a removal");
    assert_eq!(outbox::backlog(&mut conn).await.expect("a count").0, 0);
}
