//! What customers notice when something dies, and what may never happen: something acknowledged is lost.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chaos::{fault::Role, topology::Topology};
use image::ImageFormat;
use system_tests::{
    crowd::{Crowd, Seen},
    customer::Customer,
    stack::{Stack, docker},
    wait_until,
};

use crate::photos::{accepted_id, picture, upload, wait_for_status};

/// An open edition: there are enough copies for everybody.
async fn open_edition(stack: &Stack) -> Result<i64> {
    let product = stack
        .sql("inventory", "select min(id) from products where edition_size is null")
        .await?;
    Ok(product.parse()?)
}

/// Lets a crowd browse and buy, breaks something in the middle, waits until buying goes on, and
/// checks that everything acknowledged is there and the books agree.
pub(crate) async fn while_buying<F, Fut>(stack: &Stack, fault: F) -> Result<Seen>
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<()>>,
{
    stack.heal().await?;
    let crowd = Crowd::start(&stack.shop, 4, 4, open_edition(stack).await?).await?;
    wait_for_more(&crowd, 10).await?;
    let outcome = fault().await;
    let went_on = wait_for_more(&crowd, 15).await;
    let seen = crowd.stop().await;
    println!(
        "pages {} (longest gap {:?}), failures {:?}, orders {} (longest gap {:?}), failures of the cart {:?}",
        seen.browsing.successes,
        seen.browsing.longest_gap,
        seen.browse_failures,
        seen.buying.successes,
        seen.buying.longest_gap,
        seen.cart_failures
    );
    stack.heal().await?;
    outcome?;
    went_on?;
    seen.assert_nothing_lost().await?;
    stack.audit().await?;
    Ok(seen)
}

async fn wait_for_more(crowd: &Crowd, orders: usize) -> Result<()> {
    let (enough_orders, enough_pages) = (crowd.confirmed() + orders, crowd.browsed() + 50);
    wait_until(
        "more orders are confirmed and pages answered",
        Duration::from_secs(90),
        || async {
            let (confirmed, browsed) = (crowd.confirmed(), crowd.browsed());
            if confirmed >= enough_orders && browsed >= enough_pages {
                Ok(())
            } else {
                Err(format!(
                    "{confirmed} of {enough_orders} orders, {browsed} of {enough_pages} pages"
                ))
            }
        },
    )
    .await
}

#[tokio::test]
async fn killing_an_inventory_fails_nothing_and_loses_no_order() -> Result<()> {
    let stack = Stack::from_env()?;
    let seen = while_buying(&stack, || async { stack.kill("inventory").await.map(drop) }).await?;
    seen.assert_nothing_failed()
}

#[tokio::test]
async fn killing_a_user_service_fails_nothing_and_loses_no_order() -> Result<()> {
    let stack = Stack::from_env()?;
    let seen = while_buying(&stack, || async { stack.kill("user").await.map(drop) }).await?;
    seen.assert_nothing_failed()
}

#[tokio::test]
async fn killing_a_balancer_costs_at_most_the_connections_it_held() -> Result<()> {
    let stack = Stack::from_env()?;
    let seen = while_buying(&stack, || async { stack.kill("balancer").await.map(drop) }).await?;
    let failed: usize = seen.browse_failures.values().sum();
    ensure!(
        failed <= 4,
        "four browsers hold at most four requests in flight: {:?}",
        seen.browse_failures
    );
    Ok(())
}

#[tokio::test]
async fn killing_the_postgres_primary_loses_no_confirmed_order() -> Result<()> {
    let stack = Stack::from_env()?;
    let primary = stack.postgres_primary().await?;
    let seen = while_buying(&stack, || async { stack.kill(&primary).await.map(drop) }).await?;
    ensure!(
        seen.browse_failures.is_empty(),
        "browsing goes on from the replicas: {:?}",
        seen.browse_failures
    );
    ensure!(stack.postgres_primary().await? != primary, "nobody was promoted");
    Ok(())
}

#[tokio::test]
async fn killing_a_postgres_replica_is_not_noticed() -> Result<()> {
    let stack = Stack::from_env()?;
    let primary = stack.postgres_primary().await?;
    let replica = ["postgres-1", "postgres-2"]
        .into_iter()
        .find(|name| *name != primary)
        .unwrap_or("postgres-3");
    let seen = while_buying(&stack, || async { stack.kill(replica).await.map(drop) }).await?;
    seen.assert_nothing_failed()
}

#[tokio::test]
async fn killing_a_queue_node_and_an_object_store_node_is_not_noticed() -> Result<()> {
    let stack = Stack::from_env()?;
    let customer = Customer::registered(&stack.shop).await?;
    let seen = while_buying(&stack, || async {
        stack.kill("rabbitmq-2").await?;
        stack.kill("objects-2").await?;
        // One after the other, so that they come to all the nodes that are left, and these ask the dead one.
        for _ in 0..8 {
            accepted_id(upload(&customer, "profile", picture(400, 300, ImageFormat::Jpeg)?).await?).await?;
        }
        let id = accepted_id(upload(&customer, "profile", picture(400, 300, ImageFormat::Jpeg)?).await?).await?;
        let photo = wait_for_status(&customer, id, "ready").await?;
        let version = photo["version"].as_i64().context("version")?;
        let url = format!("{}/photos/{id}/{version}/w320.jpg", stack.edge);
        customer.http.get(&url).send().await?.error_for_status()?;
        Ok(())
    })
    .await?;
    seen.assert_nothing_failed()
}

#[tokio::test]
async fn killing_the_cache_only_makes_pages_slower() -> Result<()> {
    let stack = Stack::from_env()?;
    let seen = while_buying(&stack, || async { stack.kill("cache").await.map(drop) }).await?;
    seen.assert_nothing_failed()
}

#[tokio::test]
async fn killing_the_sessions_primary_logs_nobody_out_and_loses_no_cart() -> Result<()> {
    let stack = Stack::from_env()?;
    stack.heal().await?;
    let customer = Customer::registered(&stack.shop).await?;
    customer.put_in_cart(3, 2).await?;
    let topology = Topology::of(stack.clone()).await?;
    let primary = topology.leader(Role::SessionsPrimary).await?;
    stack.kill(&primary).await?;
    wait_until("the cart can be changed again", Duration::from_secs(40), || async {
        customer.put_in_cart(5, 1).await.map_err(|error| error.to_string())
    })
    .await?;
    let me = customer.get("/api/me").await?;
    let cart = customer.get("/api/cart").await?;
    stack.heal().await?;
    ensure!(me["user"].is_object(), "logged out: {me}");
    ensure!(cart["lines"].as_array().map(Vec::len) == Some(2), "{cart}");
    Ok(())
}

#[tokio::test]
async fn without_any_user_service_the_catalogue_still_browses() -> Result<()> {
    let stack = Stack::from_env()?;
    stack.heal().await?;
    stack.kill("user").await?;
    stack.kill("user").await?;
    let guest = Customer::guest(&stack.shop);
    let outcome = wait_until(
        "pages of people answer 503 and pages of things 200",
        Duration::from_secs(20),
        || async {
            let status = async |path: &str| {
                guest
                    .http
                    .get(guest.url(path))
                    .send()
                    .await
                    .map(|r| r.status().as_u16())
                    .map_err(|error| error.to_string())
            };
            match (
                status("/").await?,
                status("/products/1").await?,
                status("/login").await?,
            ) {
                (200, 200, 503) => Ok(()),
                seen => Err(format!("{seen:?}")),
            }
        },
    )
    .await;
    stack.heal().await?;
    outcome
}

#[tokio::test]
async fn after_the_gateway_comes_back_the_shop_is_open_again() -> Result<()> {
    let stack = Stack::from_env()?;
    stack.heal().await?;
    let gateway = stack.kill("gateway").await?;
    docker(&["start", &gateway.id]).await?;
    wait_until("shop and edge answer", Duration::from_secs(30), || async {
        // A new client: the old connections died with the gateway.
        let guest = Customer::guest(&stack.shop);
        let shop = guest
            .http
            .get(guest.url("/"))
            .send()
            .await
            .map_err(|error| error.to_string())?;
        let edge = guest
            .http
            .get(format!("{}/assets/none", stack.edge))
            .send()
            .await
            .map_err(|error| error.to_string())?;
        match (shop.status().as_u16(), edge.status().as_u16()) {
            (200, 404) => Ok(()),
            seen => Err(format!("{seen:?}")),
        }
    })
    .await?;
    stack.heal().await
}
