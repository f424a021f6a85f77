//! The shop in a browser while the Postgres primary is dead.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use system_tests::{browser::Browser, poll_until, stack::Stack};

use crate::browser::{BUY, fill_cart, fill_checkout, open_edition, register_to_check_out};

const DEADLINE: Duration = Duration::from_secs(90);

/// Where a checkout may have brought the customer: the order as it rests, the form, or a page that says to try again.
const CONFIRMED: &str = "[data-order-state=confirmed]";
const TRY_AGAIN: &str = "main.notice a[href^='/checkout'], main.notice a[href^='/orders/']";

#[tokio::test]
async fn a_checkout_begun_during_a_failover_is_completed_while_others_browse() -> Result<()> {
    let stack = Stack::from_env()?;
    stack.heal().await?;
    let (buyer, visitor) = (
        Browser::open(1280, 900, false).await?,
        Browser::open(1280, 900, false).await?,
    );
    let outcome = buy_while_the_primary_dies(&stack, &buyer, &visitor).await;
    if outcome.is_err() {
        buyer.screenshot("failed-failover-buyer").await?;
        visitor.screenshot("failed-failover-visitor").await?;
    }
    buyer.close().await?;
    visitor.close().await?;
    stack.heal().await?;
    outcome?;
    stack.audit().await.map(drop)
}

async fn buy_while_the_primary_dies(stack: &Stack, buyer: &Browser, visitor: &Browser) -> Result<()> {
    let product = open_edition(stack).await?;
    let title = fill_cart(stack, buyer, &product).await?;
    let email = register_to_check_out(buyer).await?;
    fill_checkout(buyer).await?;
    // The first page takes longer, for everything that pages share.
    look_at(stack, visitor, 1).await?;

    let old = stack.postgres_primary().await?;
    stack.kill(&old).await?;
    let killed_at = Instant::now();

    let is_over = Cell::new(false);
    let buying = async {
        // Nobody can have been promoted yet: the watchers take their time to believe it.
        let bought = async {
            buyer.find(BUY).await?.click().await?;
            follow_to_the_end(buyer).await
        };
        let bought = bought.await;
        is_over.set(true);
        bought
    };
    let browsing = async {
        let mut pages = 0;
        while !is_over.get() || pages == 0 {
            pages += 1;
            look_at(stack, visitor, pages).await?;
        }
        anyhow::Ok(pages)
    };
    let (bought, browsed) = tokio::join!(buying, browsing);
    println!(
        "{browsed:?} pages, and the order was confirmed {:?} after the kill",
        killed_at.elapsed()
    );
    bought?;
    browsed.context("browsing failed while there was no primary")?;

    buyer.screenshot("order-in-failover").await?;
    ensure!(
        buyer.find("main").await?.text().await?.contains(&title),
        "the order does not name {title}"
    );
    ensure!(stack.postgres_primary().await? != old, "nobody was promoted");
    let orders = format!(
        "select string_agg(state, ',') from orders where user_id = (select user_id from accounts where email = '{email}')"
    );
    let orders = stack.sql("users", &orders).await?;
    ensure!(orders == "confirmed", "the orders of this customer: {orders}");
    Ok(())
}

#[tokio::test]
async fn without_any_edge_a_page_has_its_style_and_pictures_from_the_shop() -> Result<()> {
    let stack = Stack::from_env()?;
    stack.heal().await?;
    stack.kill("edge").await?;
    stack.kill("edge").await?;
    let visitor = Browser::open(1280, 900, false).await?;
    let outcome = async {
        visitor.window.goto(&stack.shop).await?;
        visitor.wait_for_pictures().await?;
        visitor.screenshot("no-edge").await?;
        let asked = "return getComputedStyle(document.body).backgroundColor";
        let background = visitor.window.execute(asked, Vec::new()).await?.convert::<String>()?;
        ensure!(background != "rgba(0, 0, 0, 0)", "the page has no style");
        Ok(())
    };
    let outcome = outcome.await;
    visitor.close().await?;
    stack.heal().await?;
    outcome
}

/// Another print each time, as somebody who only looks.
async fn look_at(stack: &Stack, visitor: &Browser, number: usize) -> Result<()> {
    let product = number % 100 + 1;
    visitor
        .window
        .goto(format!("{}/products/{product}", stack.shop))
        .await?;
    let title = visitor.find(".show-label h1").await?.text().await?;
    ensure!(!title.is_empty(), "print {product} has no title");
    Ok(())
}

/// What a person does after the click: waits while the page says that the order is under way, and does what it says if it
/// couldn't be placed.
async fn follow_to_the_end(buyer: &Browser) -> Result<()> {
    poll_until(
        "the order is confirmed",
        DEADLINE,
        Duration::from_millis(200),
        || async {
            follow(buyer).await.map_err(|error| format!("{error:#}"))?;
            let url = buyer.window.current_url().await.map_err(|error| error.to_string())?;
            match buyer.shows(CONFIRMED).await {
                Ok(true) => Ok(()),
                Ok(false) => Err(url.to_string()),
                Err(error) => Err(format!("{error:#}")),
            }
        },
    )
    .await
}

async fn follow(buyer: &Browser) -> Result<()> {
    if buyer.shows(TRY_AGAIN).await? {
        println!("the buyer is told to try again");
        buyer.find(TRY_AGAIN).await?.click().await?;
        if buyer.shows(BUY).await? {
            fill_checkout(buyer).await?;
            buyer.find(BUY).await?.click().await?;
        }
    }
    Ok(())
}
