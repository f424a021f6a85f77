//! Filling the shop: categories, prints, accounts, then the pictures.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use reqwest::StatusCode;
use shop_db::{Cluster, DbError, Shards};
use sqlx::Connection as _;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tracing::info;

use crate::config::Access;
use crate::prints::{self, Print};
use crate::queries;
use crate::shop::{Login, Shop, ShopError, persistently};

/// The demo customer, whom everybody may be.
pub const CUSTOMER: Login<'static> = Login {
    email: "demo@zillion.example",
    password: "gallery-demo",
};

/// Who hangs the prints.
pub const SHOPKEEPER_EMAIL: &str = "shopkeeper@zillion.example";

/// The size in which a print is uploaded.
const LONG_SIDE_PX: u32 = 1800;

/// Prints drawn and uploaded at once: one processor draws while the other's upload is on its way.
const AT_ONCE: usize = 2;

/// How long databases may take to have a primary.
const PATIENCE: Duration = Duration::from_secs(120);

/// Fills the shop, and goes on where an earlier start was cut off. Returns the demo customer's id.
pub async fn run(access: &Access, inventory: &Cluster, users: &Shards) -> Result<i64> {
    let catalogue: Vec<Print> = prints::catalogue().collect();
    patiently(|| write_catalogue(inventory, &catalogue))
        .await
        .context("writing the catalogue")?;
    info!(products = catalogue.len(), "The catalogue is written");

    let customer_id = open_account(access)
        .await
        .context("opening the demo customer's account")?;
    let shop = shopkeeper(access, users)
        .await
        .context("opening the shopkeeper's account")?;
    hang_pictures(access, &shop, inventory, &catalogue).await?;
    info!(products = catalogue.len(), "All prints hang");
    Ok(customer_id)
}

/// Repeats a piece of work on a database that may still be starting, or failing over.
async fn patiently<T, F, Fut>(mut work: F) -> Result<T, DbError>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, DbError>>,
{
    let end = Instant::now() + PATIENCE;
    loop {
        match work().await {
            Err(error) if error.is_unavailable() && Instant::now() < end => {
                info!(error = &error as &dyn std::error::Error, "Waiting for the database");
                sleep(Duration::from_secs(1)).await;
            }
            other => return other,
        }
    }
}

/// Categories, products and stock; what exists stays as it is.
pub async fn write_catalogue(inventory: &Cluster, catalogue: &[Print]) -> Result<(), DbError> {
    let mut conn = inventory.write().await?;
    let last = i64::from(prints::PRINT_COUNT);
    let missing = last - queries::products::count_up_to(&mut conn, last).await?;
    if missing > 0 {
        // Products that the shopkeeper adds get numbers after ours.
        queries::products::reserve_ids(&mut conn, last).await?;
    }
    let mut tx = conn.begin().await?;
    queries::categories::add(&mut tx).await?;
    queries::products::add(&mut tx, catalogue).await?;
    tx.commit().await?;
    Ok(())
}

async fn open_account(access: &Access) -> Result<i64, ShopError> {
    let shop = Shop::new(&access.shop_url)?;
    shop.register(CUSTOMER, "Demo Customer").await?;
    shop.log_in(CUSTOMER).await
}

/// Registers the shopkeeper if need be, and logs in as them. The role is given only to who knows the
/// password: somebody else may have taken the address.
async fn shopkeeper(access: &Access, users: &Shards) -> Result<Shop> {
    let login = shopkeeper_login(access);
    let shop = Shop::new(&access.shop_url)?;
    shop.register(login, "Shopkeeper").await?;
    let user_id = shop.log_in(login).await?;
    let promoted = patiently(|| async {
        let mut conn = users.for_id(user_id).write().await?;
        Ok(queries::accounts::promote(&mut conn, user_id).await?)
    })
    .await?;
    if promoted {
        // A session keeps the role that its owner had at the login.
        shop.log_in(login).await?;
        info!(user.id = user_id, "The shopkeeper has the keys");
    }
    Ok(shop)
}

fn shopkeeper_login(access: &Access) -> Login<'_> {
    Login {
        email: SHOPKEEPER_EMAIL,
        password: access.shopkeeper_password.expose(),
    }
}

/// Draws and uploads what has no picture yet.
async fn hang_pictures(access: &Access, shop: &Shop, inventory: &Cluster, catalogue: &[Print]) -> Result<()> {
    let last = i64::from(prints::PRINT_COUNT);
    let bare = patiently(|| async {
        let mut conn = inventory.write().await?;
        Ok(queries::products::without_photo(&mut conn, last).await?)
    })
    .await?;
    let total = catalogue.len();
    let mut done = total - bare.len();
    info!(done, total, "Drawing the prints that have no picture yet");
    let wanted = catalogue.iter().filter(|print| bare.contains(&i64::from(print.number)));
    let mut hung = futures::stream::iter(wanted)
        .map(|print| hang(access, shop, inventory, print))
        .buffer_unordered(AT_ONCE);
    while let Some(()) = hung.try_next().await? {
        done += 1;
        if done.is_multiple_of(10) || done == total {
            info!(done, total, "Hung {done} of {total} prints");
        }
    }
    Ok(())
}

async fn hang(access: &Access, shop: &Shop, inventory: &Cluster, print: &Print) -> Result<()> {
    let number = print.number;
    let drawing = tokio::task::spawn_blocking(move || prints::to_jpeg(&prints::draw(number, LONG_SIDE_PX)));
    let jpeg = Bytes::from(drawing.await.context("drawing")?.context("encoding")?);
    let product_id = i64::from(number);
    let alt = format!(
        "{} by {}, {}",
        print.title,
        print.artist,
        print.technique.to_lowercase()
    );
    let mut first = true;
    persistently("upload a print", || {
        let again = !std::mem::take(&mut first);
        let (alt, jpeg) = (&alt, jpeg.clone());
        async move {
            // The answer may have been lost on its way, and the picture hang already.
            if again && has_photo(inventory, product_id).await {
                return Ok(());
            }
            match shop.upload(product_id, alt, jpeg.clone()).await {
                Err(error) if error.status() == Some(StatusCode::UNAUTHORIZED) => {
                    shop.log_in(shopkeeper_login(access)).await?;
                    shop.upload(product_id, alt, jpeg).await.map(drop)
                }
                other => other.map(drop),
            }
        }
    })
    .await
    .with_context(|| format!("uploading print {number}"))
}

/// Whether the product has a photo by now; unknown counts as no, since an upload more does no harm.
async fn has_photo(inventory: &Cluster, product_id: i64) -> bool {
    let Ok(mut conn) = inventory.write().await else {
        return false;
    };
    queries::products::has_photo(&mut conn, product_id)
        .await
        .unwrap_or(false)
}
