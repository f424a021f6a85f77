//! Putting stock back, so that a sold-out shop can be bought from again.

use anyhow::Result;
use shop_db::Cluster;
use tracing::info;

use crate::prints::OPEN_COPIES;
use crate::queries;

/// Products in one statement: few enough to stay far below its time limit.
const CHUNK: i64 = 20_000;

/// Brings every product back to as many copies as its edition has. What was sold stays sold, so stock at start
/// grows by what is added.
pub async fn run(inventory: &Cluster) -> Result<()> {
    let last = queries::stock::last_product(&mut *inventory.write().await?).await?;
    let (mut from, mut filled) = (1, 0);
    while from <= last {
        let mut conn = inventory.write().await?;
        filled += queries::stock::refill(&mut conn, from, from + CHUNK, OPEN_COPIES).await?;
        from += CHUNK;
    }
    info!(products = filled, "Put stock back");
    Ok(())
}
