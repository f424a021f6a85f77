//! Taking a photo in. Row, object, acceptance, in this order: whatever is cut off between two of them leaves something
//! that the sweep finds, and never a photo without its original.

pub mod memory;

use bytes::Bytes;
use shop_queue::messages::{PhotoEdits, PhotoProcess};
use shop_web::consistency::Consistency;
use sqlx::{Connection as _, PgConnection};
use tracing::info;

use crate::catalogue;
use crate::domain::original;
use crate::domain::photo::Purpose;
use crate::error::{Error, Result};
use crate::queries;
use crate::queries::photos::NewPhoto;
use crate::state::{AppState, CATALOGUE};

/// What came with a request.
#[derive(Debug)]
pub struct Upload {
    pub owner_id: i64,
    pub purpose: Purpose,
    pub product_id: Option<i64>,
    pub alt: String,
    pub file: Bytes,
}

/// Stores an upload and has it processed. Returns the photo's id.
pub async fn take(app: &AppState, consistency: &Consistency, upload: Upload) -> Result<i64> {
    let original = original::inspect(&upload.file)?;
    let photo = NewPhoto {
        owner_id: upload.owner_id,
        purpose: upload.purpose,
        product_id: upload.product_id,
        alt: &upload.alt,
        original,
        bytes: i64::try_from(upload.file.len()).unwrap_or(i64::MAX),
    };
    let id = start(app, &photo).await?;
    app.objects
        .put(&original_key(id), upload.file, original.content_type)
        .await?;
    accept(app, consistency, id, upload.product_id).await?;
    metrics::counter!("photos_total", "result" => "accepted").increment(1);
    info!(
        photo.id = id,
        purpose = upload.purpose.as_str(),
        width = original.width,
        height = original.height,
        "Accepted a photo"
    );
    Ok(id)
}

/// Has a photo made anew with other edits. Returns the new version.
pub async fn edit(app: &AppState, consistency: &Consistency, id: i64, edits: PhotoEdits) -> Result<i32> {
    let mut conn = app.db.write().await?;
    let mut tx = conn.begin().await?;
    let Some(version) = queries::photos::add_version(&mut tx, id, edits.clone()).await? else {
        tx.rollback().await?;
        return Err(Error::UnknownPhoto(id));
    };
    let message = PhotoProcess {
        photo_id: id,
        version,
        original_key: original_key(id),
        edits,
    };
    enqueue(&mut tx, &message).await?;
    tx.commit().await?;
    consistency.wrote(CATALOGUE, conn.position().await?);
    app.relay.notify_one();
    info!(photo.id = id, version, "Asked for a new version of a photo");
    Ok(version)
}

/// Where an original lies in the object store.
pub fn original_key(id: i64) -> String {
    format!("originals/{id}")
}

async fn start(app: &AppState, photo: &NewPhoto<'_>) -> Result<i64> {
    let mut conn = app.db.write().await?;
    match queries::photos::start_upload(&mut conn, photo).await {
        Err(sqlx::Error::Database(refusal)) if refusal.constraint() == Some("photos_product_id_fkey") => {
            Err(Error::UnknownProduct(photo.product_id.unwrap_or(0)))
        }
        other => Ok(other?),
    }
}

async fn accept(app: &AppState, consistency: &Consistency, id: i64, product_id: Option<i64>) -> Result<()> {
    let mut conn = app.db.write().await?;
    let mut tx = conn.begin().await?;
    if !queries::photos::accept(&mut tx, id).await? {
        tx.rollback().await?;
        return Err(Error::UploadSwept);
    }
    let message = PhotoProcess {
        photo_id: id,
        version: 1,
        original_key: original_key(id),
        edits: PhotoEdits::default(),
    };
    enqueue(&mut tx, &message).await?;
    tx.commit().await?;
    let position = conn.position().await?;
    if let Some(product_id) = product_id {
        catalogue::product_changed(app, &[product_id], position).await;
    }
    consistency.wrote(CATALOGUE, position);
    app.relay.notify_one();
    Ok(())
}

/// Puts a message into the outbox, with the trace of this request.
async fn enqueue(tx: &mut PgConnection, message: &PhotoProcess) -> Result<()> {
    let headers = shop_telemetry::propagation::inject();
    let traceparent = headers
        .iter()
        .find(|(name, _)| name == "traceparent")
        .map(|(_, value)| value.as_str());
    queries::outbox::add(tx, message, traceparent).await?;
    Ok(())
}
