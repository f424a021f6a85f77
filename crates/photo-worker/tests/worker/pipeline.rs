//! Messages in, pictures and reports out.

use std::fs;

use shop_queue::messages::{Crop, PhotoEdits};
use shop_testkit::wait_until;
use sqlx::PgPool;

use crate::stage::{PATIENCE, Stage, picture};

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn an_upload_becomes_pictures_on_the_wall(pool: PgPool) {
    let stage = Stage::set(pool).await;
    let worker = stage.worker(None);
    let id = stage.upload(picture(700, 500)).await;
    stage.publish(id).await;
    stage.wait_for(id, 1, "ready").await;

    let mut conn = stage.pool.acquire().await.expect("a connection");
    let photo = inventory::queries::photos::shown(&mut conn, &[id])
        .await
        .expect("photos")
        .remove(&id)
        .expect("the photo");
    assert_eq!((photo.width, photo.height), (700, 500));
    assert!(photo.placeholder.is_some_and(|uri| uri.starts_with("data:image/webp")));
    assert_eq!(photo.variants.len(), 4, "two widths in two formats");
    for variant in &photo.variants {
        let key = format!("variants/{id}/1/w{}.{}", variant.width, variant.format.extension());
        let object = stage.objects.get(&key).await.expect("an answer").expect("the picture");
        let decoded = image::load_from_memory(&object).expect("a picture");
        assert_eq!((decoded.width(), decoded.height()), (variant.width, variant.height));
    }
    worker.stop().await;
    stage.strike().await;
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn a_message_that_comes_twice_makes_the_same_pictures(pool: PgPool) {
    let stage = Stage::set(pool).await;
    let id = stage.upload(picture(340, 300)).await;
    stage.publish(id).await;
    stage.publish(id).await;
    let worker = stage.worker(None);
    let other = stage.worker(None);
    stage.wait_for(id, 1, "ready").await;
    wait_until("both messages are done", PATIENCE, async || {
        stage
            .app
            .queue
            .depth("photo.process")
            .await
            .is_ok_and(|depth| depth == 0)
    })
    .await;
    worker.stop().await;
    other.stop().await;
    assert_eq!(stage.status(id, 1).await, "ready");
    stage.strike().await;
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn an_edit_is_made_from_the_original_under_a_new_address(pool: PgPool) {
    let stage = Stage::set(pool).await;
    let worker = stage.worker(None);
    let id = stage.upload(picture(800, 400)).await;
    stage.publish(id).await;
    stage.wait_for(id, 1, "ready").await;
    let half = PhotoEdits {
        crop: Some(Crop {
            x: 0.5,
            y: 0.0,
            width: 0.5,
            height: 1.0,
        }),
        sharpen: 0.3,
        blur: 0.1,
    };
    assert_eq!(stage.edit(id, half).await, 2);
    stage.wait_for(id, 2, "ready").await;
    let cropped = stage.objects.get(&format!("variants/{id}/2/w320.jpg")).await;
    let cropped = cropped.expect("an answer").expect("the picture");
    let decoded = image::load_from_memory(&cropped).expect("a picture");
    assert_eq!((decoded.width(), decoded.height()), (320, 320));
    let before = stage.objects.get(&format!("variants/{id}/1/w320.jpg")).await;
    assert!(before.expect("an answer").is_some(), "the old address still works");
    worker.stop().await;
    stage.strike().await;
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn what_can_not_be_decoded_is_marked_as_failed_and_holds_nobody_up(pool: PgPool) {
    let stage = Stage::set(pool).await;
    let worker = stage.worker(None);
    let whole = picture(300, 300);
    let broken = stage.upload(whole[..whole.len() / 2].to_vec()).await;
    let nonsense = stage.upload(b"not a picture".to_vec()).await;
    let good = stage.upload(whole).await;
    for id in [broken, nonsense, good] {
        stage.publish(id).await;
    }
    stage.wait_for(good, 1, "ready").await;
    stage.wait_for(broken, 1, "failed").await;
    stage.wait_for(nonsense, 1, "failed").await;
    let (reason,): (String,) = sqlx::query_as("select reason from photo_versions where photo_id = $1")
        .bind(nonsense)
        .fetch_one(&stage.pool)
        .await
        .expect("a reason");
    assert!(reason.contains("can't be decoded"), "{reason}");
    worker.stop().await;
    stage.strike().await;
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn a_message_is_held_while_the_object_store_is_away(pool: PgPool) {
    let stage = Stage::set(pool).await;
    let worker = stage.worker(None);
    let id = stage.upload(picture(340, 300)).await;
    // A file where the folder of variants should be: nothing can be stored below it.
    let blocked = stage.folder().join("variants");
    fs::write(&blocked, "in the way").expect("a file");
    stage.publish(id).await;
    wait_until("a worker has the message", PATIENCE, async || {
        stage
            .app
            .queue
            .depth("photo.process")
            .await
            .is_ok_and(|depth| depth == 0)
    })
    .await;
    assert_eq!(stage.status(id, 1).await, "accepted");
    fs::remove_file(&blocked).expect("a way that is free");
    stage.wait_for(id, 1, "ready").await;
    worker.stop().await;
    stage.strike().await;
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn a_worker_that_stops_leaves_its_message_to_another(pool: PgPool) {
    let stage = Stage::set(pool).await;
    // Nobody listens there, so this worker holds the message at its report.
    let stuck = stage.worker(Some("http://127.0.0.1:1"));
    let id = stage.upload(picture(340, 300)).await;
    stage.publish(id).await;
    wait_until("the pictures are made", PATIENCE, async || {
        let made = stage.objects.get(&format!("variants/{id}/1/w320.jpg")).await;
        made.is_ok_and(|object| object.is_some())
    })
    .await;
    assert_eq!(stage.status(id, 1).await, "accepted");
    stuck.stop().await;
    let worker = stage.worker(None);
    stage.wait_for(id, 1, "ready").await;
    worker.stop().await;
    stage.strike().await;
}
