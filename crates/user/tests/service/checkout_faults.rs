//! Cards and messages that come late, not at all, or twice.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;
use shop_testkit::wait_until;
use user::checkout::{End, Timings};
use user::domain::{CardToken, OrderState};
use user::inventory::{Release, Reserve, Sell};
use user::payments::{Capture, CardTimings, Void};

use crate::checkout_orders::place;
use crate::shop::{ANSWERS_LATE, DECLINED, PATIENCE, PAYS, PRICE_CENTS, Setup, Shop, new_key};

/// A shop that loses patience with a card soon.
fn impatient() -> Setup {
    let timings = Timings {
        pay_deadline: Duration::from_millis(100),
        recovery_period: Duration::from_millis(100),
        ..Timings::default()
    };
    let cards = CardTimings {
        late_after: Duration::from_millis(600),
        silence: Duration::from_secs(60),
    };
    Setup {
        timings,
        cards,
        ..Setup::default()
    }
}

#[tokio::test]
async fn a_card_that_never_answers_but_paid_confirms_the_order() {
    let shop = Shop::open(Setup {
        background: false,
        ..impatient()
    })
    .await;
    let product_id = shop.print(5).await;
    let user_id = shop.account(1).await;
    let mut run = place(&shop, user_id, product_id, CardToken::TimesOut).await;
    // The capture is in the ledger already, so that no deadline decides whether it comes before the void.
    let captured = shop
        .gateway
        .capture(run.order_id(), 2 * PRICE_CENTS, CardToken::Pays)
        .await;
    assert_eq!(captured.expect("an answer"), Capture::Captured);
    while run.ended().is_none() {
        run.step(&shop.state.checkout).await.expect("a step");
    }
    assert_eq!(run.ended(), Some(End::Rest(OrderState::Confirmed)));
    assert_eq!(shop.stock(product_id).await, (3, 0, 2));
    shop.assert_audit_is_clean().await;
    shop.close().await;
}

#[tokio::test]
async fn a_payment_that_lands_after_the_void_takes_no_money() {
    let mut setup = impatient();
    // The checkout's own capture is still on its way when the test is over, however slow the machine.
    setup.cards.late_after = 2 * PATIENCE;
    let shop = Shop::open(setup).await;
    let product_id = shop.print(5).await;
    let customer = shop.customer().await;
    customer.put_in_cart(product_id, 1).await;
    let (status, problem) = customer.buy(&new_key(), ANSWERS_LATE).await;
    assert_eq!(
        (status, &problem["type"]),
        (StatusCode::CONFLICT, &json!("/problems/order-cancelled")),
        "{problem}"
    );
    assert_eq!(problem["reason"], "payment-unanswered");
    let order_id = user::domain::OrderId(problem["order_id"].as_i64().expect("an id"));
    // What is still on its way lands now.
    let capture = shop.gateway.capture(order_id, PRICE_CENTS, CardToken::Pays).await;
    assert_eq!(capture.expect("an answer"), Capture::Voided);
    assert_eq!(shop.stock(product_id).await, (5, 0, 0));
    shop.assert_audit_is_clean().await;
    shop.close().await;
}

#[tokio::test]
async fn a_card_that_answers_late_is_waited_for() {
    let mut setup = impatient();
    setup.timings.pay_deadline = PATIENCE;
    let shop = Shop::open(setup).await;
    let product_id = shop.print(5).await;
    let customer = shop.customer().await;
    customer.put_in_cart(product_id, 1).await;
    let (status, order) = customer.buy(&new_key(), ANSWERS_LATE).await;
    assert_eq!(
        (status, &order["state"]),
        (StatusCode::CREATED, &json!("confirmed")),
        "{order}"
    );
    shop.assert_audit_is_clean().await;
    shop.close().await;
}

#[tokio::test]
async fn whoever_has_little_time_left_is_told_which_order_it_is() {
    let mut setup = impatient();
    setup.timings.pay_deadline = PATIENCE;
    setup.cards.late_after = PATIENCE / 3;
    let shop = Shop::open(setup).await;
    let product_id = shop.print(5).await;
    let customer = shop.customer().await;
    customer.put_in_cart(product_id, 1).await;
    let key = new_key();
    let began = tokio::time::Instant::now();
    let hurried = customer
        .checkout(&key, ANSWERS_LATE)
        .header("x-envoy-expected-rq-timeout-ms", "5000");
    let answer = hurried.send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::ACCEPTED, "{:?}", began.elapsed());
    assert!(answer.headers().contains_key("location"));
    // Under its key it is the same order.
    let later = loop {
        let (status, order) = customer.buy(&key, ANSWERS_LATE).await;
        if status != StatusCode::ACCEPTED {
            break (status, order);
        }
    };
    assert_eq!(later.0, StatusCode::CREATED, "{}", later.1);
    assert_eq!(shop.stock(product_id).await, (4, 0, 1));
    shop.assert_audit_is_clean().await;
    shop.close().await;
}

#[tokio::test]
async fn a_reserve_that_lands_after_the_release_holds_nothing() {
    let shop = Shop::open(Setup {
        background: false,
        ..Setup::default()
    })
    .await;
    let product_id = shop.print(5).await;
    let user_id = shop.account(1).await;
    let order_id = place(&shop, user_id, product_id, CardToken::Pays).await.order_id();
    let inventory = &shop.state.inventory;
    assert_eq!(inventory.release(order_id).await.expect("an answer"), Release::Released);
    assert_eq!(
        inventory
            .reserve(order_id, &[(product_id, 2)])
            .await
            .expect("an answer"),
        Reserve::Released
    );
    assert_eq!(inventory.sell(order_id).await.expect("an answer"), Sell::NotReserved);
    assert_eq!(shop.stock(product_id).await, (5, 0, 0));
    shop.close().await;
}

#[tokio::test]
async fn the_first_entry_of_the_ledger_decides() {
    let shop = Shop::open(Setup {
        background: false,
        ..Setup::default()
    })
    .await;
    let user_id = shop.account(1).await;
    let order_id = place(&shop, user_id, shop.print(5).await, CardToken::Pays)
        .await
        .order_id();
    let gateway = &shop.gateway;
    // Twenty captures and twenty voids at once: all hear of the same winner.
    let captures = futures::future::join_all((0..20).map(|_| gateway.capture(order_id, 100, CardToken::Pays)));
    let voids = futures::future::join_all((0..20).map(|_| gateway.void(order_id)));
    let (captures, voids) = tokio::join!(captures, voids);
    let captured = captures
        .into_iter()
        .filter(|capture| matches!(capture, Ok(Capture::Captured)))
        .count();
    let voided = voids
        .into_iter()
        .filter(|void| matches!(void, Ok(Void::Voided)))
        .count();
    assert!(
        matches!((captured, voided), (20, 0) | (0, 20)),
        "{captured} captured, {voided} voided"
    );
    shop.close().await;
}

#[tokio::test]
async fn what_a_dead_process_left_is_finished_by_another() {
    let mut setup = impatient();
    setup.timings.recovery_deadline = Duration::from_millis(1);
    let shop = Shop::open(setup).await;
    let product_id = shop.print(50).await;
    let customer = shop.customer().await;
    let mut left = Vec::new();
    for steps in 0..6 {
        // This run is the dead process: nobody steps it any further.
        let mut run = place(&shop, customer.user_id, product_id, CardToken::Pays).await;
        for _ in 0..steps {
            if run.ended() == Some(End::Lost) {
                break;
            }
            run.step(&shop.state.checkout).await.expect("a step");
        }
        left.push(run.order_id());
    }
    wait_until("all orders rest", PATIENCE, async || {
        let orders = customer.json("/api/orders").await;
        let rest = |order: &serde_json::Value| matches!(order["state"].as_str(), Some("confirmed" | "cancelled"));
        orders["orders"]
            .as_array()
            .is_some_and(|orders| orders.len() == left.len() && orders.iter().all(rest))
    })
    .await;
    shop.assert_audit_is_clean().await;
    shop.close().await;
}

#[tokio::test]
async fn a_declined_card_gives_the_copies_back_and_a_new_key_may_buy_them() {
    let shop = Shop::open(Setup::default()).await;
    let product_id = shop.print(1).await;
    let customer = shop.customer().await;
    customer.put_in_cart(product_id, 1).await;
    let key = new_key();
    for _ in 0..2 {
        let (status, problem) = customer.buy(&key, DECLINED).await;
        assert_eq!(
            (status, &problem["type"]),
            (StatusCode::CONFLICT, &json!("/problems/card-declined")),
            "{problem}"
        );
    }
    assert_eq!(shop.stock(product_id).await, (1, 0, 0));
    let (status, order) = customer.buy(&new_key(), PAYS).await;
    assert_eq!((status, &order["state"]), (StatusCode::CREATED, &json!("confirmed")));
    let states = [OrderState::Confirmed, OrderState::Cancelled].map(OrderState::as_str);
    let orders = customer.json("/api/orders").await;
    let listed: Vec<&str> = orders["orders"]
        .as_array()
        .expect("orders")
        .iter()
        .filter_map(|order| order["state"].as_str())
        .collect();
    assert_eq!(listed, states, "newest first");
    shop.assert_audit_is_clean().await;
    shop.close().await;
}
