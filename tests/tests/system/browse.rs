//! The catalogue, over HTTP.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::{StatusCode, header};
use system_tests::{customer::Customer, stack::Stack, wait_until};

#[tokio::test]
async fn the_catalogue_pages_through_every_print_once() -> Result<()> {
    let stack = Stack::from_env()?;
    let customer = Customer::guest(&stack.shop);
    let mut ids = Vec::new();
    let mut path = "/api/products?limit=50".to_owned();
    loop {
        let page = customer.get(&path).await?;
        ids.extend(
            page["products"]
                .as_array()
                .context("products")?
                .iter()
                .filter_map(|p| p["id"].as_i64()),
        );
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/api/products?limit=50&cursor={cursor}"),
            None => break,
        }
        ensure!(ids.len() <= 1000, "the cursor never ends");
    }
    let listed = ids.len();
    ids.sort_unstable();
    ids.dedup();
    ensure!(ids.len() == listed, "a print is listed twice");
    ensure!(listed >= 120, "{listed} prints");
    Ok(())
}

#[tokio::test]
async fn a_print_is_found_by_its_artist_and_in_its_category() -> Result<()> {
    let stack = Stack::from_env()?;
    let customer = Customer::guest(&stack.shop);
    let print = customer.get("/api/products/1").await?;
    let artist = print["artist"].as_str().context("artist")?;
    let category = print["category"].as_str().context("category")?;
    let query = [("q", artist), ("limit", "100")];
    let found = customer
        .http
        .get(customer.url("/api/products"))
        .query(&query)
        .send()
        .await?;
    let found: serde_json::Value = serde_json::from_str(&found.error_for_status()?.text().await?)?;
    let ids: Vec<_> = found["products"]
        .as_array()
        .context("products")?
        .iter()
        .map(|p| p["id"].as_i64())
        .collect();
    ensure!(ids.contains(&Some(1)), "searching {artist} found {ids:?}");
    for path in [
        format!("/categories/{category}"),
        "/".to_owned(),
        "/products/1".to_owned(),
    ] {
        let response = customer.http.get(customer.url(&path)).send().await?;
        ensure!(response.status() == StatusCode::OK, "{path}: {}", response.status());
    }
    Ok(())
}

#[tokio::test]
async fn an_unchanged_page_is_not_sent_twice() -> Result<()> {
    let stack = Stack::from_env()?;
    let customer = Customer::guest(&stack.shop);
    let url = customer.url("/products/2");
    wait_until(
        "a page with the same ETag is answered 304",
        Duration::from_secs(10),
        || async {
            let first = customer
                .http
                .get(&url)
                .send()
                .await
                .map_err(|error| error.to_string())?;
            let etag = first.headers().get(header::ETAG).cloned().ok_or("no ETag")?;
            let again = customer.http.get(&url).header(header::IF_NONE_MATCH, etag).send().await;
            match again {
                Ok(response) if response.status() == StatusCode::NOT_MODIFIED => Ok(()),
                other => Err(format!("{other:?}")),
            }
        },
    )
    .await
}

#[tokio::test]
async fn a_picture_comes_from_the_edge_and_is_kept_there() -> Result<()> {
    let stack = Stack::from_env()?;
    let customer = Customer::guest(&stack.shop);
    let print = customer.get("/api/products/1").await?;
    let photo = &print["photo"];
    let (id, version) = (
        photo["id"].as_i64().context("photo id")?,
        photo["version"].as_i64().context("version")?,
    );
    let url = format!("{}/photos/{id}/{version}/w320.webp", stack.edge);
    let picture = customer.http.get(&url).send().await?.error_for_status()?;
    ensure!(picture.headers()[header::CONTENT_TYPE] == "image/webp");
    ensure!(picture.headers()[header::CACHE_CONTROL].to_str()?.contains("immutable"));
    let size = picture.bytes().await?.len();
    ensure!(size > 500, "{size} bytes");
    // Either edge may answer, so the second miss is legitimate; a hit has to come.
    wait_until("an edge answers from its cache", Duration::from_secs(10), || async {
        let again = customer
            .http
            .get(&url)
            .send()
            .await
            .map_err(|error| error.to_string())?;
        let status = again
            .headers()
            .get("cache-status")
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        if status.contains("; hit") { Ok(()) } else { Err(status) }
    })
    .await?;
    let part = customer
        .http
        .get(&url)
        .header(header::RANGE, "bytes=0-99")
        .send()
        .await?;
    ensure!(part.status() == StatusCode::PARTIAL_CONTENT, "{}", part.status());
    ensure!(part.bytes().await?.len() == 100);
    Ok(())
}
