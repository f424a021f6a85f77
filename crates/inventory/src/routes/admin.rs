//! `/admin/products`: what the shopkeeper changes. Read from the primary's position of the shopkeeper's last write, and
//! past the cache: these pages show counters, not impressions.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use shop_db::Freshness;
use shop_queue::messages::{Crop, PhotoEdits};
use shop_web::consistency::Consistency;
use shop_web::extract::{Form, Path, Query, Shopkeeper};
use shop_web::idempotency::IdempotencyKey;
use shop_web::page::{Html, Page};

use crate::catalogue;
use crate::domain::cursor::Cursor;
use crate::domain::edit;
use crate::domain::photo::Purpose;
use crate::domain::product::{Counts, Product};
use crate::error::{Error, Result};
use crate::queries;
use crate::queries::photos::LatestVersion;
use crate::routes::list_query::ListQuery;
use crate::routes::photos::{UploadBody, read_form};
use crate::state::{AppState, CATALOGUE, INVENTORY};
use crate::uploads;

const ROWS: i64 = 50;

#[derive(Template)]
#[template(path = "admin/products.html")]
struct ListPage {
    page: Page,
    rows: Vec<(Product, Counts)>,
    more: Option<String>,
}

#[derive(Template)]
#[template(path = "admin/product.html")]
struct EditPage {
    page: Page,
    product: Product,
    counts: Counts,
    price: String,
    latest: Option<LatestVersion>,
    /// Made with the page, so that a picture that is sent twice is one photo.
    upload_key: IdempotencyKey,
}

/// Title and price.
#[derive(Debug, Deserialize)]
pub struct EditForm {
    title: String,
    price: String,
}

/// Copies that come in, or are taken out.
#[derive(Debug, Deserialize)]
pub struct StockForm {
    copies: i64,
    /// How many there were in all when the form was shown: whoever sends it again changes nothing a second time.
    initial: Option<i64>,
}

/// Crop in per cent of the picture, sharpen and blur in per cent of their strength: whole numbers, as sliders give them.
#[derive(Debug, Deserialize)]
pub struct EditsForm {
    left: u8,
    top: u8,
    right: u8,
    bottom: u8,
    sharpen: u8,
    blur: u8,
}

/// `GET /admin/products`
pub async fn list(
    State(app): State<AppState>,
    _: Shopkeeper,
    consistency: Consistency,
    page: Page,
    Query(query): Query<ListQuery>,
) -> Result<Response> {
    let after = match query.parse()?.cursor {
        Some(Cursor::After { product_id }) => product_id,
        Some(Cursor::Ranked { .. }) => return Err(Error::InvalidCursor),
        None => 0,
    };
    let rows = app.db.reading(freshness(&consistency), async |mut conn| {
        Ok(queries::products::page_with_counts(&mut conn, after, ROWS + 1).await?)
    });
    let mut rows = rows.await?;
    let rows_shown = usize::try_from(ROWS).unwrap_or(usize::MAX);
    let has_more = rows.len() > rows_shown;
    rows.truncate(rows_shown);
    let more = rows.last().filter(|_| has_more).map(|(product, _)| {
        let cursor = Cursor::After { product_id: product.id };
        format!("/admin/products?cursor={cursor}")
    });
    Ok(Html(ListPage { page, rows, more }).into_response())
}

/// `GET /admin/products/{id}`
pub async fn show(
    State(app): State<AppState>,
    _: Shopkeeper,
    consistency: Consistency,
    page: Page,
    Path(id): Path<i64>,
) -> Result<Response> {
    let found = app.db.reading(freshness(&consistency), async |mut conn| {
        let product = queries::products::find(&mut conn, id).await?;
        let counts = queries::stock::counts(&mut conn, id).await?;
        let photo = product.as_ref().and_then(|product| product.photo.as_ref());
        let latest = match photo {
            Some(photo) => queries::photos::latest_version(&mut conn, photo.id).await?,
            None => None,
        };
        Ok((product, counts, latest))
    });
    let (Some(product), Some(counts), latest) = found.await? else {
        return Err(Error::UnknownProduct(id));
    };
    Ok(Html(EditPage {
        page,
        price: format!("{}.{:02}", product.price_cents / 100, product.price_cents % 100),
        product,
        counts,
        latest,
        upload_key: IdempotencyKey::random(),
    })
    .into_response())
}

/// `POST /admin/products/{id}`
pub async fn edit(
    State(app): State<AppState>,
    _: Shopkeeper,
    consistency: Consistency,
    Path(id): Path<i64>,
    Form(form): Form<EditForm>,
) -> Result<Redirect> {
    let title = edit::title(&form.title)?;
    let price_cents = edit::price_cents(&form.price)?;
    let mut conn = app.db.write().await?;
    if !queries::products::edit(&mut conn, id, title, price_cents).await? {
        return Err(Error::UnknownProduct(id));
    }
    let position = conn.position().await?;
    catalogue::product_changed(&app, &[id], position).await;
    consistency.wrote(CATALOGUE, position);
    Ok(back_to(id))
}

/// `POST /admin/products/{id}/stock`
pub async fn restock(
    State(app): State<AppState>,
    _: Shopkeeper,
    consistency: Consistency,
    Path(id): Path<i64>,
    Form(form): Form<StockForm>,
) -> Result<Redirect> {
    let copies = edit::copies(form.copies)?;
    let mut conn = app.db.write().await?;
    match queries::stock::add(&mut conn, id, copies, form.initial).await {
        Ok(Some(_)) => {}
        Ok(None) if queries::stock::counts(&mut conn, id).await?.is_some() => return Err(Error::StockChanged),
        Ok(None) => return Err(Error::UnknownProduct(id)),
        Err(sqlx::Error::Database(refusal)) if refusal.is_check_violation() => {
            return Err(Error::NotThatMany);
        }
        Err(error) => return Err(error.into()),
    }
    let position = conn.position().await?;
    catalogue::stock_turned(&app, &[id], position).await;
    consistency.wrote(INVENTORY, position);
    Ok(back_to(id))
}

/// `POST /admin/products/{id}/photo`
pub async fn upload(
    State(app): State<AppState>,
    Shopkeeper(user): Shopkeeper,
    consistency: Consistency,
    Path(id): Path<i64>,
    form: UploadBody,
) -> Result<Redirect> {
    let mut form = read_form(form, &app.upload_memory).await?;
    form.purpose = Some(Purpose::Product);
    form.product_id = Some(id);
    uploads::take(&app, &consistency, form.into_upload(&user)?).await?;
    Ok(back_to(id))
}

/// `POST /admin/products/{id}/photo/edits`
pub async fn edit_photo(
    State(app): State<AppState>,
    _: Shopkeeper,
    consistency: Consistency,
    Path(id): Path<i64>,
    Form(form): Form<EditsForm>,
) -> Result<Redirect> {
    let edits = edit::photo(form.into_edits())?;
    let product = catalogue::product(&app, id, catalogue::newest(&consistency)).await?;
    let photo = product.photo.ok_or(Error::UnknownPhoto(0))?;
    uploads::edit(&app, &consistency, photo.id, edits).await?;
    Ok(back_to(id))
}

fn back_to(id: i64) -> Redirect {
    Redirect::to(&format!("/admin/products/{id}"))
}

/// The shopkeeper sees both kinds of their own writes.
fn freshness(consistency: &Consistency) -> Freshness {
    Freshness::from(catalogue::newest(consistency))
}

impl EditsForm {
    /// The sliders' places for edits that were made before.
    fn of(edits: &PhotoEdits) -> Self {
        // A cast from float saturates.
        let percent = |part: f32| (part * 100.0).round() as u8;
        let whole = Crop {
            x: 0.0,
            y: 0.0,
            width: 1.0,
            height: 1.0,
        };
        let crop = edits.crop.as_ref().unwrap_or(&whole);
        Self {
            left: percent(crop.x),
            top: percent(crop.y),
            right: percent(1.0 - crop.x - crop.width),
            bottom: percent(1.0 - crop.y - crop.height),
            sharpen: percent(edits.sharpen),
            blur: percent(edits.blur),
        }
    }

    fn into_edits(self) -> PhotoEdits {
        let part = |percent: u8| f32::from(percent) / 100.0;
        let (left, top) = (part(self.left), part(self.top));
        let crop = Crop {
            x: left,
            y: top,
            width: 1.0 - left - part(self.right),
            height: 1.0 - top - part(self.bottom),
        };
        let is_whole = self.left == 0 && self.top == 0 && self.right == 0 && self.bottom == 0;
        PhotoEdits {
            crop: (!is_whole).then_some(crop),
            sharpen: part(self.sharpen),
            blur: part(self.blur),
        }
    }
}
