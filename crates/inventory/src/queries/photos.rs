//! Photos, their versions and variants. States move by compare-and-set, so that a repeat or a late message is harmless.

use std::collections::HashMap;

use shop_queue::messages::PhotoEdits;
use shop_web::idempotency::IdempotencyKey;
use shop_web::photo::{Photo, Variant};
use sqlx::PgConnection;
use sqlx::types::Json;

use crate::domain::original::Original;
use crate::domain::photo::{Made, Purpose};

/// A photo about to be uploaded.
pub struct NewPhoto<'a> {
    pub owner_id: i64,
    pub key: &'a IdempotencyKey,
    /// Of all that was sent under the key.
    pub hash: &'a [u8],
    pub purpose: Purpose,
    pub product_id: Option<i64>,
    pub alt: &'a str,
    pub original: Original,
    pub bytes: i64,
}

/// What an upload's key stands for.
#[derive(Debug, PartialEq, Eq)]
pub enum Started {
    /// A photo whose object may not be stored yet: a new one, or one whose upload is sent again.
    Uploading(i64),
    /// A photo that is there.
    Accepted(i64),
    /// Something else was sent under this key.
    Different(i64),
    /// A stale upload that is being removed.
    Swept,
}

/// What became of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    Now,
    /// The same upload was accepted before.
    Before,
    /// The sweep was faster.
    Swept,
}

/// What became of a worker's report.
#[derive(Debug, PartialEq, Eq)]
pub enum Reported {
    /// It changed what is shown, on these products.
    Shown { product_ids: Vec<i64> },
    /// It is a repeat, or something newer is shown already.
    Ignored,
    /// There is no such photo or version.
    Unknown,
}

/// Notes an upload before its object is stored, so that a sweep can find what a crash leaves behind.
pub async fn start_upload(conn: &mut PgConnection, photo: &NewPhoto<'_>) -> sqlx::Result<Started> {
    let new = sqlx::query_scalar!(
        "
        insert into photos
            (owner_id, purpose, product_id, alt, content_type, bytes, width, height, upload_key, upload_hash)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        on conflict (owner_id, upload_key) do nothing returning id
        ",
        photo.owner_id,
        photo.purpose.as_str(),
        photo.product_id,
        photo.alt,
        photo.original.content_type,
        photo.bytes,
        i32::try_from(photo.original.width).unwrap_or(i32::MAX),
        i32::try_from(photo.original.height).unwrap_or(i32::MAX),
        photo.key.as_str(),
        photo.hash,
    )
    .fetch_optional(&mut *conn)
    .await?;
    if let Some(id) = new {
        return Ok(Started::Uploading(id));
    }
    // It is being uploaded from now on, for the sweep as well.
    sqlx::query!(
        "update photos set created_at = now() where owner_id = $1 and upload_key = $2 and state = 'uploading'",
        photo.owner_id,
        photo.key.as_str(),
    )
    .execute(&mut *conn)
    .await?;
    let known = sqlx::query!(
        r#"select id, state, upload_hash = $3 as "is_same!" from photos where owner_id = $1 and upload_key = $2"#,
        photo.owner_id,
        photo.key.as_str(),
        photo.hash,
    )
    .fetch_optional(conn)
    .await?;
    Ok(match known {
        None => Started::Swept,
        Some(known) if !known.is_same => Started::Different(known.id),
        Some(known) => match known.state.as_str() {
            "uploading" => Started::Uploading(known.id),
            "accepted" => Started::Accepted(known.id),
            _ => Started::Swept,
        },
    })
}

/// Takes an upload whose object is stored, and hangs it on its product.
pub async fn accept(conn: &mut PgConnection, id: i64) -> sqlx::Result<Accepted> {
    let accepted = sqlx::query!(
        "update photos set state = 'accepted', updated_at = now() where id = $1 and state = 'uploading'",
        id,
    )
    .execute(&mut *conn)
    .await?
    .rows_affected();
    if accepted == 0 {
        // Written once more, because what another connection committed may be seen here before a second host has it.
        let before = sqlx::query!(
            "update photos set updated_at = now() where id = $1 and state = 'accepted'",
            id,
        );
        return Ok(match before.execute(conn).await?.rows_affected() {
            0 => Accepted::Swept,
            _ => Accepted::Before,
        });
    }
    sqlx::query!(
        "insert into photo_versions (photo_id, version, edits) values ($1, 1, $2)",
        id,
        Json(PhotoEdits::default()) as _,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "
        update products p set photo_id = ph.id, updated_at = now()
        from photos ph where ph.id = $1 and p.id = ph.product_id
        ",
        id,
    )
    .execute(&mut *conn)
    .await?;
    Ok(Accepted::Now)
}

/// Asks for a new version of a photo. None if there is no such photo.
pub async fn add_version(conn: &mut PgConnection, id: i64, edits: PhotoEdits) -> sqlx::Result<Option<i32>> {
    let version = sqlx::query_scalar!(
        "
        update photos set version = version + 1, updated_at = now()
        where id = $1 and state = 'accepted' returning version
        ",
        id,
    )
    .fetch_optional(&mut *conn)
    .await?;
    if let Some(version) = version {
        sqlx::query!(
            "insert into photo_versions (photo_id, version, edits) values ($1, $2, $3)",
            id,
            version,
            Json(edits) as _,
        )
        .execute(conn)
        .await?;
    }
    Ok(version)
}

/// A worker has made all variants of a version.
pub async fn ready(conn: &mut PgConnection, id: i64, version: i32, made: &Made) -> sqlx::Result<Reported> {
    let Some(photo) = sqlx::query!(
        "select version, ready_version from photos where id = $1 and state = 'accepted' for update",
        id,
    )
    .fetch_optional(&mut *conn)
    .await?
    else {
        return Ok(Reported::Unknown);
    };
    if version > photo.version {
        return Ok(Reported::Unknown);
    }
    if photo.ready_version.is_some_and(|shown| shown >= version) {
        return Ok(Reported::Ignored);
    }
    let column =
        |pick: fn(&crate::domain::photo::MadeVariant) -> i32| -> Vec<i32> { made.variants.iter().map(pick).collect() };
    let names: Vec<String> = made.variants.iter().map(|v| v.name.clone()).collect();
    let formats: Vec<String> = made.variants.iter().map(|v| v.format.clone()).collect();
    let bytes: Vec<i64> = made.variants.iter().map(|v| v.bytes).collect();
    sqlx::query!(
        "
        insert into photo_variants (photo_id, version, name, width, height, format, bytes)
        select $1, $2, v.name, v.width, v.height, v.format, v.bytes
        from unnest($3::text[], $4::integer[], $5::integer[], $6::text[], $7::bigint[])
            as v (name, width, height, format, bytes)
        on conflict (photo_id, version, name) do nothing
        ",
        id,
        version,
        &names,
        &column(|v| v.width),
        &column(|v| v.height),
        &formats,
        &bytes,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "
        update photo_versions
        set status = 'ready', width = $3, height = $4, placeholder = $5, reason = null, updated_at = now()
        where photo_id = $1 and version = $2
        ",
        id,
        version,
        made.width,
        made.height,
        made.placeholder,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "update photos set ready_version = $2, updated_at = now() where id = $1",
        id,
        version,
    )
    .execute(&mut *conn)
    .await?;
    Ok(Reported::Shown {
        product_ids: shown_on(conn, id).await?,
    })
}

/// A version can't be made. One that is ready stays so: the message was a repeat.
pub async fn failed(conn: &mut PgConnection, id: i64, version: i32, reason: &str) -> sqlx::Result<Reported> {
    let marked = sqlx::query!(
        "
        update photo_versions set status = 'failed', reason = left($3, 500), updated_at = now()
        where photo_id = $1 and version = $2 and status = 'accepted'
        ",
        id,
        version,
        reason,
    )
    .execute(&mut *conn)
    .await?
    .rows_affected();
    if marked == 1 {
        return Ok(Reported::Shown {
            product_ids: shown_on(conn, id).await?,
        });
    }
    let known = sqlx::query_scalar!(
        r#"select exists (select from photo_versions where photo_id = $1 and version = $2) as "exists!""#,
        id,
        version,
    )
    .fetch_one(conn)
    .await?;
    Ok(if known { Reported::Ignored } else { Reported::Unknown })
}

/// Photos as pages show them: the newest version that is ready, else the state of the first. Uploads that were never
/// accepted are nobody's business.
pub async fn shown(conn: &mut PgConnection, ids: &[i64]) -> sqlx::Result<HashMap<i64, Photo>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query!(
        r#"
        select ph.id, v.version, v.status, coalesce(v.width, ph.width) as "width!",
               coalesce(v.height, ph.height) as "height!", v.placeholder,
               coalesce((
                   select jsonb_agg(jsonb_build_object('width', a.width, 'height', a.height, 'format', a.format)
                                    order by a.width, a.format)
                   from photo_variants a where a.photo_id = v.photo_id and a.version = v.version
               ), '[]') as "variants!: Json<Vec<Variant>>"
        from photos ph
        join photo_versions v on v.photo_id = ph.id and v.version = coalesce(ph.ready_version, ph.version)
        where ph.id = any($1) and ph.state = 'accepted'
        "#,
        ids,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let photo = Photo {
                id: row.id,
                version: row.version,
                width: u32::try_from(row.width).unwrap_or(0),
                height: u32::try_from(row.height).unwrap_or(0),
                placeholder: row.placeholder,
                status: row.status,
                variants: row.variants.0,
            };
            (row.id, photo)
        })
        .collect())
}

/// The newest version of a photo, whether it can be shown or not.
#[derive(Debug)]
pub struct LatestVersion {
    pub version: i32,
    pub status: String,
    pub edits: Json<PhotoEdits>,
    /// Why it failed.
    pub reason: Option<String>,
}

/// What was asked of a photo last; none if there is no such photo.
pub async fn latest_version(conn: &mut PgConnection, id: i64) -> sqlx::Result<Option<LatestVersion>> {
    sqlx::query_as!(
        LatestVersion,
        r#"
        select version, status, edits as "edits: Json<PhotoEdits>", reason
        from photo_versions where photo_id = $1 order by version desc limit 1
        "#,
        id,
    )
    .fetch_optional(conn)
    .await
}

/// Takes stale uploads for removal: those whose client went away between row and object, and those that a sweep before
/// this one left half removed.
pub async fn take_stale(conn: &mut PgConnection, older_than_seconds: f64, limit: i64) -> sqlx::Result<Vec<i64>> {
    sqlx::query_scalar!(
        "
        update photos set state = 'sweeping', updated_at = now()
        where id in (
            select id from photos
            where state in ('uploading', 'sweeping') and created_at < now() - make_interval(secs => $1)
            order by created_at limit $2 for update skip locked
        )
        returning id
        ",
        older_than_seconds,
        limit,
    )
    .fetch_all(conn)
    .await
}

/// Forgets an upload whose object is gone.
pub async fn forget(conn: &mut PgConnection, id: i64) -> sqlx::Result<()> {
    sqlx::query!("delete from photos where id = $1 and state = 'sweeping'", id)
        .execute(conn)
        .await?;
    Ok(())
}

async fn shown_on(conn: &mut PgConnection, id: i64) -> sqlx::Result<Vec<i64>> {
    sqlx::query_scalar!("select id from products where photo_id = $1", id)
        .fetch_all(conn)
        .await
}
