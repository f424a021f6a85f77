//! A photo's way: accepted, queued, processed, and shown; or dead-lettered, and shown as such.

use std::{io::Cursor, time::Duration};

use anyhow::{Context, Result, ensure};
use image::{ImageFormat, RgbImage};
use reqwest::{Response, StatusCode, multipart};
use serde_json::Value;
use system_tests::{customer::Customer, stack::Stack, wait_until};

async fn shopkeeper(stack: &Stack) -> Result<Customer> {
    let mut shopkeeper = Customer::guest(&stack.shop);
    shopkeeper.email = "shopkeeper@zillion.example".to_owned();
    shopkeeper.log_in(&stack.shopkeeper_password).await?;
    Ok(shopkeeper)
}

pub(crate) fn picture(width: u32, height: u32, format: ImageFormat) -> Result<Vec<u8>> {
    let picture = RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([(x % 251) as u8, (y % 241) as u8, ((x ^ y) % 239) as u8])
    });
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format)?;
    Ok(bytes.into_inner())
}

pub(crate) async fn upload(customer: &Customer, purpose: &'static str, bytes: Vec<u8>) -> Result<Response> {
    let file = multipart::Part::bytes(bytes)
        .file_name("print")
        .mime_str("application/octet-stream")?;
    let form = multipart::Form::new().text("purpose", purpose).part("file", file);
    Ok(customer
        .http
        .post(customer.url("/api/photos"))
        .multipart(form)
        .send()
        .await?)
}

/// The photo's id, from the answer to an upload that was accepted.
pub(crate) async fn accepted_id(response: Response) -> Result<i64> {
    let (status, text) = (response.status(), response.text().await?);
    ensure!(status == StatusCode::ACCEPTED, "{status}: {text}");
    let accepted: Value = serde_json::from_str(&text)?;
    accepted["id"].as_i64().context("id")
}

pub(crate) async fn wait_for_status(customer: &Customer, id: i64, wanted: &str) -> Result<Value> {
    let path = format!("/api/photos/{id}");
    wait_until(&format!("photo {id} is {wanted}"), Duration::from_secs(90), || async {
        let photo = customer.get(&path).await.map_err(|error| error.to_string())?;
        if photo["status"] == wanted {
            Ok(())
        } else {
            Err(photo.to_string())
        }
    })
    .await?;
    customer.get(&path).await
}

#[tokio::test]
async fn an_uploaded_photo_goes_through_the_queue_and_comes_out_in_every_size() -> Result<()> {
    let stack = Stack::from_env()?;
    let shopkeeper = shopkeeper(&stack).await?;
    let id = accepted_id(upload(&shopkeeper, "product", picture(1500, 1000, ImageFormat::Jpeg)?).await?).await?;
    let photo = wait_for_status(&shopkeeper, id, "ready").await?;
    ensure!(
        (photo["width"].as_i64(), photo["height"].as_i64()) == (Some(1500), Some(1000)),
        "{photo}"
    );
    let version = photo["version"].as_i64().context("version")?;
    for (name, width) in [("w320.webp", 320), ("w320.jpg", 320), ("w1280.webp", 1280)] {
        let url = format!("{}/photos/{id}/{version}/{name}", stack.edge);
        let bytes = shopkeeper
            .http
            .get(&url)
            .send()
            .await?
            .error_for_status()?
            .bytes()
            .await?;
        let picture = image::load_from_memory(&bytes)?;
        ensure!(picture.width() == width, "{name} is {} wide", picture.width());
    }
    Ok(())
}

#[tokio::test]
async fn a_photo_that_cannot_be_decoded_ends_as_failed() -> Result<()> {
    let stack = Stack::from_env()?;
    let shopkeeper = shopkeeper(&stack).await?;
    let mut bytes = picture(800, 600, ImageFormat::Png)?;
    // The header stays whole, so that only the worker finds out.
    bytes.truncate(bytes.len() / 3);
    let id = accepted_id(upload(&shopkeeper, "product", bytes).await?).await?;
    wait_for_status(&shopkeeper, id, "failed").await?;
    Ok(())
}

#[tokio::test]
async fn what_is_no_picture_is_refused_at_the_door() -> Result<()> {
    let stack = Stack::from_env()?;
    let shopkeeper = shopkeeper(&stack).await?;
    let response = upload(&shopkeeper, "product", b"#!/bin/sh\necho I am no picture\n".to_vec()).await?;
    ensure!(
        matches!(response.status().as_u16(), 400 | 415 | 422),
        "{}",
        response.status()
    );
    let stranger = Customer::registered(&stack.shop).await?;
    let response = upload(&stranger, "product", picture(100, 100, ImageFormat::Jpeg)?).await?;
    ensure!(response.status() == StatusCode::FORBIDDEN, "{}", response.status());
    Ok(())
}
