//! `/internal/reservations/{order_id}`: what orders do to the stock.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use shop_db::{Position, WriteConn};
use shop_web::consistency::Consistency;
use shop_web::extract::{Internal, Json, Path};
use sqlx::{Connection as _, PgConnection};
use tracing::{info, warn};

use crate::catalogue;
use crate::domain::reservation::{Lines, Release, Reserve, Sell};
use crate::error::{Error, Result};
use crate::queries::reservations;
use crate::state::{AppState, INVENTORY};

/// How often a step is tried when the primary goes away under it. Every step is idempotent by order id, so a try whose
/// outcome is unknown may be repeated.
const TRIES_MAX: u32 = 3;

/// What is asked of an order's reservation.
enum Step {
    Reserve(Lines),
    Sell,
    Release,
}

/// Where the reservation stands then.
#[derive(Debug, Serialize)]
pub struct Answer {
    state: &'static str,
}

/// What a step did besides.
struct Done {
    state: &'static str,
    /// Products that have just sold out, or have just come back.
    turned: Vec<i64>,
    position: Position,
}

/// Body of a reserve.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReserveBody {
    lines: Lines,
}

/// `PUT /internal/reservations/{order_id}`
pub async fn reserve(
    State(app): State<AppState>,
    _: Internal,
    consistency: Consistency,
    Path(order_id): Path<i64>,
    Json(body): Json<ReserveBody>,
) -> Result<Json<Answer>> {
    run(&app, &consistency, order_id, &Step::Reserve(body.lines)).await
}

/// `POST /internal/reservations/{order_id}/sell`
pub async fn sell(
    State(app): State<AppState>,
    _: Internal,
    consistency: Consistency,
    Path(order_id): Path<i64>,
) -> Result<Json<Answer>> {
    run(&app, &consistency, order_id, &Step::Sell).await
}

/// `POST /internal/reservations/{order_id}/release`
pub async fn release(
    State(app): State<AppState>,
    _: Internal,
    consistency: Consistency,
    Path(order_id): Path<i64>,
) -> Result<Json<Answer>> {
    run(&app, &consistency, order_id, &Step::Release).await
}

async fn run(app: &AppState, consistency: &Consistency, order_id: i64, step: &Step) -> Result<Json<Answer>> {
    let mut tries = 1;
    let done = loop {
        match transact(app, order_id, step).await {
            Err(error) if error.is_unavailable() && tries < TRIES_MAX => {
                warn!(
                    order.id = order_id,
                    tries,
                    error = &error as &dyn std::error::Error,
                    "Trying a reservation again"
                );
                tries += 1;
            }
            Err(error) => {
                step.count(error.result());
                return Err(error);
            }
            Ok(done) => break done,
        }
    };
    step.count(done.state);
    info!(order.id = order_id, state = done.state, "Moved a reservation");
    if !done.turned.is_empty() {
        if matches!(step, Step::Reserve(_)) {
            metrics::counter!("stock_outs_total").increment(done.turned.len() as u64);
        }
        catalogue::stock_turned(app, &done.turned, done.position).await;
    }
    consistency.wrote(INVENTORY, done.position);
    Ok(Json(Answer { state: done.state }))
}

/// One try, in one transaction.
async fn transact(app: &AppState, order_id: i64, step: &Step) -> Result<Done> {
    let transacted = app.db.writing(async |conn| Ok(transact_on(conn, order_id, step).await));
    transacted.await?
}

async fn transact_on(mut conn: WriteConn, order_id: i64, step: &Step) -> Result<Done> {
    let mut tx = conn.begin().await?;
    let (state, turned) = match step.apply(&mut tx, order_id).await {
        Ok(moved) => moved,
        Err(refusal) => {
            // Not left to the drop: the locks are to go now.
            tx.rollback().await?;
            return Err(refusal);
        }
    };
    tx.commit().await?;
    let position = conn.position().await?;
    Ok(Done {
        state,
        turned,
        position,
    })
}

impl Step {
    /// The new state, and the products that sold out or came back.
    async fn apply(&self, tx: &mut PgConnection, order_id: i64) -> Result<(&'static str, Vec<i64>)> {
        match self {
            Self::Reserve(lines) => match reservations::reserve(tx, order_id, lines).await? {
                Reserve::Reserved { emptied } => Ok(("reserved", emptied)),
                Reserve::SoldOut(shortages) => Err(Error::SoldOut(shortages)),
                Reserve::Released => Err(Error::Released),
                Reserve::Different => Err(Error::Different),
            },
            Self::Sell => match reservations::sell(tx, order_id).await? {
                Sell::Sold => Ok(("sold", Vec::new())),
                Sell::NotReserved => Err(Error::NotReserved),
            },
            Self::Release => match reservations::release(tx, order_id).await? {
                Release::Released { refilled } => Ok(("released", refilled)),
                Release::AlreadySold => Err(Error::AlreadySold),
            },
        }
    }

    fn count(&self, result: &'static str) {
        let step = match self {
            Self::Reserve(_) => "reserve",
            Self::Sell => "sell",
            Self::Release => "release",
        };
        metrics::counter!("reservations_total", "step" => step, "result" => result).increment(1);
    }
}
