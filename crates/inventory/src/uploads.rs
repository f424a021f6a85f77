//! Taking a photo in. Row, object, acceptance, in this order: whatever is cut off between two of them leaves something
//! that the sweep finds, and never a photo without its original.

pub mod memory;

use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use shop_db::Position;
use shop_queue::messages::{PhotoEdits, PhotoProcess};
use shop_web::consistency::Consistency;
use shop_web::idempotency::IdempotencyKey;
use sqlx::{Connection as _, PgConnection};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::info;

use crate::catalogue;
use crate::domain::original::{self, Original};
use crate::domain::photo::Purpose;
use crate::error::{Error, Result};
use crate::queries;
use crate::queries::photos::{Accepted, NewPhoto, Started};
use crate::state::{AppState, CATALOGUE};

/// Headers that are looked at at a time.
const INSPECTIONS_MAX: usize = 2;
/// How long a file waits for its turn to be looked at.
const INSPECTION_WAIT: Duration = Duration::from_secs(3);

/// What came with a request.
#[derive(Debug)]
pub struct Upload {
    pub owner_id: i64,
    /// Sent again under the same key, it is the same photo.
    pub key: IdempotencyKey,
    pub purpose: Purpose,
    pub product_id: Option<i64>,
    pub alt: String,
    pub file: Bytes,
}

impl Upload {
    /// Of everything but the key. Every part has a length of its own or is the last, so that parts can't run together.
    async fn hash(&self) -> Result<[u8; 32]> {
        let mut hash = Sha256::new();
        hash.update(self.purpose.as_str());
        hash.update([0]);
        hash.update(self.product_id.unwrap_or(0).to_be_bytes());
        hash.update((self.alt.len() as u64).to_be_bytes());
        hash.update(&self.alt);
        let file = self.file.clone();
        // A large file takes longer than a thread that serves others may be kept.
        let hashing = tokio::task::spawn_blocking(move || hash.chain_update(&file).finalize().into());
        // It fails only where the process is stopping.
        hashing.await.map_err(|_| Error::UploadsBusy)
    }
}

/// Headers may be large, and are looked at few at a time, where that keeps nobody from being served.
async fn inspect(file: &Bytes) -> Result<Original> {
    static INSPECTIONS: Semaphore = Semaphore::const_new(INSPECTIONS_MAX);
    let Ok(Ok(turn)) = timeout(INSPECTION_WAIT, INSPECTIONS.acquire()).await else {
        return Err(Error::UploadsBusy);
    };
    let file = file.clone();
    let inspecting = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        original::inspect(&file)
    });
    // It fails only where the process is stopping.
    Ok(inspecting.await.map_err(|_| Error::UploadsBusy)??)
}

/// Stores an upload and has it processed. Returns the photo's id. All of it can be done again, and is where a database host
/// is lost: the key finds the photo.
pub async fn take(app: &AppState, consistency: &Consistency, upload: Upload) -> Result<i64> {
    let original = inspect(&upload.file).await?;
    let hash = upload.hash().await?;
    let photo = NewPhoto {
        owner_id: upload.owner_id,
        key: &upload.key,
        hash: &hash,
        purpose: upload.purpose,
        product_id: upload.product_id,
        alt: &upload.alt,
        original,
        bytes: i64::try_from(upload.file.len()).unwrap_or(i64::MAX),
    };
    let (id, is_stored) = match start(app, &photo).await? {
        Started::Uploading(id) => (id, false),
        Started::Accepted(id) => (id, true),
        Started::Different(id) => return Err(Error::KeyReused(id)),
        Started::Swept => return Err(Error::UploadSwept),
    };
    if !is_stored {
        let key = original_key(id);
        app.objects.put(&key, upload.file, original.content_type).await?;
    }
    let (accepted, position) = accept(app, id).await?;
    match accepted {
        Accepted::Swept => return Err(Error::UploadSwept),
        Accepted::Before => info!(photo.id = id, "Accepted a photo before"),
        Accepted::Now => {
            metrics::counter!("photos_total", "result" => "accepted").increment(1);
            info!(
                photo.id = id,
                purpose = upload.purpose.as_str(),
                width = original.width,
                height = original.height,
                "Accepted a photo"
            );
        }
    }
    // Whoever accepted it before may not have come so far.
    if let Some(product_id) = upload.product_id {
        catalogue::product_changed(app, &[product_id], position).await;
    }
    consistency.wrote(CATALOGUE, position);
    app.relay.notify_one();
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

async fn start(app: &AppState, photo: &NewPhoto<'_>) -> Result<Started> {
    let started = app
        .db
        .writing_idempotent(async |mut conn| Ok(queries::photos::start_upload(&mut conn, photo).await?));
    match started.await {
        Err(refusal) if refusal.constraint() == Some("photos_product_id_fkey") => {
            Err(Error::UnknownProduct(photo.product_id.unwrap_or(0)))
        }
        started => Ok(started?),
    }
}

async fn accept(app: &AppState, id: i64) -> Result<(Accepted, Position)> {
    let message = PhotoProcess {
        photo_id: id,
        version: 1,
        original_key: original_key(id),
        edits: PhotoEdits::default(),
    };
    let accepted = app.db.writing_idempotent(async |mut conn| {
        let mut tx = conn.begin().await?;
        let accepted = queries::photos::accept(&mut tx, id).await?;
        if accepted == Accepted::Now {
            enqueue(&mut tx, &message).await?;
        }
        tx.commit().await?;
        Ok((accepted, conn.position().await?))
    });
    Ok(accepted.await?)
}

/// Puts a message into the outbox, with the trace of this request.
async fn enqueue(tx: &mut PgConnection, message: &PhotoProcess) -> sqlx::Result<()> {
    let headers = shop_telemetry::propagation::inject();
    let traceparent = headers
        .iter()
        .find(|(name, _)| name == "traceparent")
        .map(|(_, value)| value.as_str());
    queries::outbox::add(tx, message, traceparent).await?;
    Ok(())
}
