//! Millions of rows for load tests, by COPY.
//!
//! Each chunk is one transaction, so that a run that was cut off goes on at the first chunk that is missing. What is there
//! of a chunk, from a run that was asked for less, stays as it is.

use anyhow::{Context as _, Result};
use shop_db::{Cluster, SLOTS, Shards, slot_of_key};
use sqlx::Connection as _;
use tracing::info;

use crate::prints::{self, OPEN_COPIES, PRINT_COUNT};
use crate::queries;
use crate::queries::copy::{AccountRow, ProductRow};

/// Rows in one transaction.
const CHUNK: i64 = 5000;

/// Progress is told every so many chunks.
const CHUNKS_PER_REPORT: i64 = 20;

/// Makes the catalogue `count` products large. The ones beyond the prints are proofs of the prints, and share their
/// pictures.
pub async fn products(inventory: &Cluster, count: i64) -> Result<()> {
    let mut conn = inventory.write().await?;
    let mut next = queries::products::last_up_to(&mut conn, count).await? + 1;
    if next > count {
        info!(count, "The catalogue is large enough");
        return Ok(());
    }
    queries::products::reserve_ids(&mut conn, count).await?;
    let photos = queries::products::photos(&mut conn, i64::from(PRINT_COUNT)).await?;
    drop(conn);
    let mut chunks = 0;
    while next <= count {
        let end = (next + CHUNK - 1).min(count);
        let rows: Vec<ProductRow> = (next..=end)
            .map(|id| {
                let number = ((id - 1) % i64::from(PRINT_COUNT)) as u32 + 1;
                let print = prints::print(number);
                let proof = (id - 1) / i64::from(PRINT_COUNT) + 1;
                let photo_id = photos.get(&i64::from(number)).copied();
                ProductRow {
                    id,
                    title: format!("{}, proof {proof}", print.title),
                    print,
                    photo_id,
                }
            })
            .collect();
        let mut conn = inventory.write().await?;
        let mut tx = conn.begin().await?;
        queries::copy::products(&mut tx, &rows, OPEN_COPIES)
            .await
            .context("copying products")?;
        tx.commit().await?;
        next = end + 1;
        chunks += 1;
        if chunks % CHUNKS_PER_REPORT == 0 || next > count {
            info!(done = end, total = count, "Products: {end} of {count}");
        }
    }
    Ok(())
}

/// Opens accounts for `count` customers, `customer1@load.zillion.example` and so on, with the demo customer's password.
pub async fn users(users: &Shards, demo_id: i64, count: i64) -> Result<()> {
    let mut conn = users.for_id(demo_id).write().await?;
    let hash = queries::accounts::password_hash(&mut conn, demo_id)
        .await?
        .context("there is no demo customer")?;
    drop(conn);
    let (mut next, mut chunks) = (1, 0);
    while next <= count {
        let end = (next + CHUNK - 1).min(count);
        for cluster in users.clusters() {
            let emails: Vec<String> = (next..=end)
                .map(email)
                .filter(|email| users.for_slot(slot_of_key(email.as_bytes())).name() == cluster.name())
                .collect();
            open(cluster, &emails, &hash).await?;
        }
        next = end + 1;
        chunks += 1;
        if chunks % CHUNKS_PER_REPORT == 0 || next > count {
            info!(done = end, total = count, "Customers: {end} of {count}");
        }
    }
    Ok(())
}

fn email(number: i64) -> String {
    format!("customer{number}@load.zillion.example")
}

/// Opens accounts whose addresses lie in this cluster, as far as they aren't there. An account gets the slot of its address, so that both lie here
/// and one transaction writes them.
async fn open(cluster: &Cluster, emails: &[String], password_hash: &str) -> Result<()> {
    let mut conn = cluster.write().await?;
    let known = queries::accounts::known_emails(&mut conn, emails).await?;
    let missing: Vec<&String> = emails.iter().filter(|email| !known.contains(*email)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut tx = conn.begin().await?;
    let numbers = queries::accounts::next_numbers(&mut tx, missing.len() as i64).await?;
    let rows: Vec<AccountRow<'_>> = missing
        .into_iter()
        .zip(numbers)
        .map(|(email, number)| AccountRow {
            user_id: number * i64::from(SLOTS) + i64::from(slot_of_key(email.as_bytes())),
            email,
        })
        .collect();
    queries::copy::accounts(&mut tx, &rows, password_hash)
        .await
        .context("copying accounts")?;
    tx.commit().await?;
    Ok(())
}
