//! Users in two clusters: whoever lives in either finds the whole shop, and everything lies where the slot map says.

use std::collections::HashSet;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;
use shop_testkit::wait_until;
use sqlx::AssertSqlSafe;
use user::accounts::{log_in, register};
use user::checkout::{Recovery, Timings};
use user::domain::{AccountName, CardToken, Email, Password};

use crate::checkout_orders::place;
use crate::shop::{DECLINED, PATIENCE, PAYS, Setup, Shop, new_key};

/// In the tests' map even slots lie in the first cluster, odd ones in the second.
const SLOTS: [u16; 2] = [10, 11];

async fn count(shop: &Shop, cluster: usize, query: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(query.to_owned()))
        .fetch_one(&mut shop.users_dbs[cluster].connect().await)
        .await
        .expect("a count")
}

async fn two_clusters() -> Shop {
    Shop::open(Setup {
        clusters: 2,
        ..Setup::default()
    })
    .await
}

#[tokio::test]
async fn customers_of_either_cluster_buy_and_see_their_orders() {
    let shop = two_clusters().await;
    let product_id = shop.print(10).await;
    let mut order_ids = Vec::new();
    for slot in SLOTS {
        let customer = shop.customer_in(slot).await;
        customer.put_in_cart(product_id, 2).await;
        let refused = customer.buy(&new_key(), DECLINED).await;
        assert_eq!(refused.0, StatusCode::CONFLICT, "{}", refused.1);
        let (status, order) = customer.buy(&new_key(), PAYS).await;
        assert_eq!(status, StatusCode::CREATED, "{order}");
        let id = order["id"].as_i64().expect("an id");
        let listed = customer.json("/api/orders").await;
        assert_eq!(listed["orders"][0]["id"], id);
        assert_eq!(listed["orders"].as_array().expect("orders").len(), 2);
        assert_eq!(customer.json(&format!("/api/orders/{id}")).await["state"], "confirmed");
        assert_eq!(customer.get(&format!("/orders/{id}")).await.status(), StatusCode::OK);
        let account = customer.json(&format!("/api/users/{}", customer.user_id.0)).await;
        assert_eq!(account["id"], customer.user_id.0);
        wait_until("the cart has lost what was bought", PATIENCE, async || {
            customer.json("/api/me").await["cart_count"] == 0
        })
        .await;
        order_ids.push(id);
    }
    for (cluster, order_id) in order_ids.iter().enumerate() {
        for table in ["accounts", "orders", "order_lines"] {
            let strangers = format!("select count(*) from {table} where user_id % 2 <> {cluster}");
            assert_eq!(
                count(&shop, cluster, &strangers).await,
                0,
                "{table} of cluster {cluster}"
            );
        }
        let own = format!("select count(*) from orders where order_id = {order_id}");
        assert_eq!(count(&shop, cluster, &own).await, 1);
        wait_until("the relay has nothing left", PATIENCE, async || {
            count(
                &shop,
                cluster,
                "select (select count(*) from order_outbox) + (select count(*) from cart_jobs)",
            )
            .await
                == 0
        })
        .await;
    }
    shop.assert_audit_is_clean().await;
    shop.close().await;
}

#[tokio::test]
async fn whoever_registers_can_log_in_wherever_email_and_account_lie() {
    let shop = two_clusters().await;
    let password = "correct horse".to_owned();
    let hash = shop
        .state
        .passwords
        .hash(&Password::parse_new(password.clone()).expect("a password"))
        .await
        .expect("a hash");
    let name = AccountName::parse("Ada").expect("a name");
    let mut placements = HashSet::new();
    for number in 0..200 {
        let email = Email::parse(&format!("ada{number}@example.org")).expect("an e-mail");
        let registration = register(&shop.state.shards, &email, &name, &hash)
            .await
            .expect("an account");
        let placement = (email.slot() % 2, registration.user_id.slot() % 2);
        if placements.insert(placement) {
            let attempt = Password::parse_attempt(password.clone()).expect("a password");
            let state = &shop.state;
            let user = log_in(&state.shards, &state.passwords, &state.failed_logins, &email, &attempt).await;
            assert_eq!(user.expect("a login").id, registration.user_id.0, "{placement:?}");
            let own = format!("select count(*) from emails where email = '{}'", email.as_str());
            assert_eq!(count(&shop, usize::from(placement.0), &own).await, 1);
        }
        if placements.len() == 4 {
            break;
        }
    }
    assert_eq!(
        placements.len(),
        4,
        "an e-mail and an account in each cluster: {placements:?}"
    );
    shop.close().await;
}

#[tokio::test]
async fn recovery_finishes_what_was_left_in_either_cluster() {
    let shop = Shop::open(Setup {
        clusters: 2,
        timings: Timings {
            recovery_deadline: Duration::ZERO,
            ..Timings::default()
        },
        background: false,
        ..Setup::default()
    })
    .await;
    let product_id = shop.print(10).await;
    for slot in SLOTS {
        let user_id = shop.account(slot).await;
        place(&shop, user_id, product_id, CardToken::Pays).await;
    }
    let recovery = Recovery::new(shop.state.checkout.clone());
    for cluster in shop.state.shards.clusters() {
        assert_eq!(recovery.recover(cluster).await, 1, "{}", cluster.name());
    }
    for cluster in 0..2 {
        let cancelled = count(&shop, cluster, "select count(*) from orders where state = 'cancelled'");
        assert_eq!(cancelled.await, 1);
    }
    shop.assert_audit_is_clean().await;
    shop.close().await;
}

#[tokio::test]
async fn a_cluster_that_is_down_does_not_stop_the_customers_of_another() {
    let shop = Shop::open(Setup {
        clusters: 2,
        proxies: 1,
        ..Setup::default()
    })
    .await;
    let product_id = shop.print(10).await;
    let (away, here) = (shop.customer_in(SLOTS[0]).await, shop.customer_in(SLOTS[1]).await);
    away.put_in_cart(product_id, 1).await;
    shop.proxies[0][0].cut();

    here.put_in_cart(product_id, 1).await;
    assert_eq!(here.buy(&new_key(), PAYS).await.0, StatusCode::CREATED);
    wait_until("the relay serves the cluster that is there", PATIENCE / 2, async || {
        here.json("/api/me").await["cart_count"] == 0
    })
    .await;
    // What needs no database of users works for the others too.
    assert_eq!(away.json("/api/me").await["cart_count"], 1);
    let quantity = away.request(Method::PUT, &format!("/api/cart/items/{product_id}"));
    let changed = quantity.json(&json!({"quantity": 2})).send().await.expect("an answer");
    assert_eq!(changed.status(), StatusCode::OK);

    shop.proxies[0][0].thaw();
    assert_eq!(away.buy(&new_key(), PAYS).await.0, StatusCode::CREATED);
    shop.assert_audit_is_clean().await;
    shop.close().await;
}
