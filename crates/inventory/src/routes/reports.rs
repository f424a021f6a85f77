//! `/internal/photos/...`: what workers report. A report may come twice, or late; both change nothing.

use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use shop_web::consistency::Consistency;
use shop_web::extract::{Internal, Json, Path};
use sqlx::Connection as _;
use tracing::info;

use crate::catalogue;
use crate::domain::photo::Made;
use crate::error::{Error, Result};
use crate::queries::photos::{self, Reported};
use crate::state::{AppState, CATALOGUE};

/// Why a version can't be made.
#[derive(Debug, Deserialize)]
pub struct FailedBody {
    reason: String,
}

/// `PUT /internal/photos/{id}/versions/{version}`
pub async fn ready(
    State(app): State<AppState>,
    _: Internal,
    consistency: Consistency,
    Path((id, version)): Path<(i64, i32)>,
    Json(made): Json<Made>,
) -> Result<StatusCode> {
    made.check()?;
    let mut conn = app.db.write().await?;
    let mut tx = conn.begin().await?;
    let reported = photos::ready(&mut tx, id, version, &made).await?;
    tx.commit().await?;
    match reported {
        Reported::Shown { product_ids } => {
            let position = conn.position().await?;
            catalogue::product_changed(&app, &product_ids, position).await;
            consistency.wrote(CATALOGUE, position);
            metrics::counter!("photos_total", "result" => "ready").increment(1);
            info!(photo.id = id, version, "Photo is ready");
            Ok(StatusCode::NO_CONTENT)
        }
        Reported::Ignored => Ok(StatusCode::NO_CONTENT),
        Reported::Unknown => Err(Error::UnknownPhoto(id)),
    }
}

/// `POST /internal/photos/{id}/versions/{version}/failed`
pub async fn failed(
    State(app): State<AppState>,
    _: Internal,
    consistency: Consistency,
    Path((id, version)): Path<(i64, i32)>,
    Json(body): Json<FailedBody>,
) -> Result<StatusCode> {
    match fail(&app, &consistency, id, version, &body.reason).await? {
        Reported::Unknown => Err(Error::UnknownPhoto(id)),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}

/// Marks a version as failed, for a worker's report or for a dead letter.
pub async fn fail(app: &AppState, consistency: &Consistency, id: i64, version: i32, reason: &str) -> Result<Reported> {
    let failed = app.db.writing(async |mut conn| {
        let mut tx = conn.begin().await?;
        let reported = photos::failed(&mut tx, id, version, reason).await?;
        tx.commit().await?;
        Ok((reported, conn.position().await?))
    });
    let (reported, position) = failed.await?;
    if let Reported::Shown { product_ids } = &reported {
        catalogue::product_changed(app, product_ids, position).await;
        consistency.wrote(CATALOGUE, position);
        metrics::counter!("photos_total", "result" => "failed").increment(1);
        info!(photo.id = id, version, "Photo has failed");
    }
    Ok(reported)
}
