//! Buying, over the API: what is promised when everybody is well but in a hurry.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::future::{join_all, try_join_all};
use reqwest::StatusCode;
use serde_json::json;
use system_tests::{
    customer::{Answer, CARD_ANSWERS_LATE, CARD_DECLINES, CARD_PAYS, Customer},
    stack::Stack,
    wait_until,
};
use uuid::Uuid;

const DEADLINE: Duration = Duration::from_secs(60);

/// An edition of exactly ten copies: the id of a product whose counters were set so.
async fn edition_of_ten(stack: &Stack, product: i64) -> Result<()> {
    stack
        .sql(
            "inventory",
            &format!("update stock set available = 10, initial = 10 + reserved + sold where product_id = {product}"),
        )
        .await?;
    Ok(())
}

#[tokio::test]
async fn fifty_buyers_of_ten_copies_get_exactly_ten() -> Result<()> {
    let stack = Stack::from_env()?;
    let product = 7;
    edition_of_ten(&stack, product).await?;
    let buyers = try_join_all((0..50).map(|_| Customer::registered(&stack.shop))).await?;
    try_join_all(buyers.iter().map(|buyer| buyer.put_in_cart(product, 1))).await?;
    let answers = join_all(buyers.iter().map(|buyer| async {
        buyer
            .order_until_answered(&Uuid::new_v4().to_string(), CARD_PAYS, DEADLINE)
            .await
    }))
    .await;
    let confirmed = answers.iter().filter(|a| matches!(a, Answer::Confirmed(_))).count();
    let sold_out = answers.iter().filter(|a| **a == Answer::SoldOut).count();
    ensure!(
        (confirmed, sold_out) == (10, 40),
        "{confirmed} confirmed, {sold_out} sold out: {answers:?}"
    );
    let counters = format!("select available, reserved from stock where product_id = {product}");
    let left = stack.sql("inventory", &counters).await?;
    ensure!(left == "0|0", "copies are left over or held: {left}");
    stack.audit().await?;
    Ok(())
}

#[tokio::test]
async fn a_repeated_key_is_one_order_and_another_body_is_refused() -> Result<()> {
    let stack = Stack::from_env()?;
    let customer = Customer::registered(&stack.shop).await?;
    customer.put_in_cart(4, 1).await?;
    let key = Uuid::new_v4().to_string();
    let clicks = join_all((0..4).map(|_| customer.order_until_answered(&key, CARD_PAYS, DEADLINE))).await;
    ensure!(matches!(clicks[0], Answer::Confirmed(_)), "{clicks:?}");
    ensure!(clicks.iter().all(|answer| *answer == clicks[0]), "{clicks:?}");
    let orders = customer.get("/api/orders").await?;
    ensure!(orders["orders"].as_array().map(Vec::len) == Some(1), "{orders}");
    let other = customer.order(&key, CARD_DECLINES).await;
    ensure!(matches!(other, Answer::Unexpected(422, _)), "{other:?}");
    Ok(())
}

#[tokio::test]
async fn a_declined_card_gives_the_copies_back() -> Result<()> {
    let stack = Stack::from_env()?;
    let product = 8;
    edition_of_ten(&stack, product).await?;
    let customer = Customer::registered(&stack.shop).await?;
    customer.put_in_cart(product, 3).await?;
    let answer = customer
        .order_until_answered(&Uuid::new_v4().to_string(), CARD_DECLINES, DEADLINE)
        .await;
    ensure!(answer == Answer::Declined, "{answer:?}");
    wait_until("the copies are back", Duration::from_secs(30), || async {
        let counters = format!("select available, reserved from stock where product_id = {product}");
        match stack.sql("inventory", &counters).await {
            Ok(left) if left == "10|0" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    let cart = customer.get("/api/cart").await?;
    ensure!(
        cart["lines"].as_array().map(Vec::len) == Some(1),
        "the cart was emptied without an order: {cart}"
    );
    Ok(())
}

#[tokio::test]
async fn a_card_that_answers_late_is_waited_for_and_the_cart_is_emptied() -> Result<()> {
    let stack = Stack::from_env()?;
    let customer = Customer::registered(&stack.shop).await?;
    customer.put_in_cart(4, 1).await?;
    let answer = customer
        .order_until_answered(&Uuid::new_v4().to_string(), CARD_ANSWERS_LATE, DEADLINE)
        .await;
    ensure!(matches!(answer, Answer::Confirmed(_)), "{answer:?}");
    wait_until("the cart is empty", Duration::from_secs(20), || async {
        let cart = customer.get("/api/cart").await.map_err(|error| error.to_string())?;
        if cart["lines"] == json!([]) {
            Ok(())
        } else {
            Err(cart.to_string())
        }
    })
    .await
}

#[tokio::test]
async fn an_order_belongs_to_its_customer_alone() -> Result<()> {
    let stack = Stack::from_env()?;
    let customer = Customer::registered(&stack.shop).await?;
    customer.put_in_cart(4, 1).await?;
    let answer = customer
        .order_until_answered(&Uuid::new_v4().to_string(), CARD_PAYS, DEADLINE)
        .await;
    let Answer::Confirmed(order) = answer else {
        anyhow::bail!("{answer:?}")
    };
    let other = Customer::registered(&stack.shop).await?;
    let response = other
        .http
        .get(other.url(&format!("/api/orders/{order}")))
        .send()
        .await?;
    ensure!(response.status() == StatusCode::NOT_FOUND, "{}", response.status());
    Ok(())
}
