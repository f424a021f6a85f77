//! Checkout as customers meet it: keys, repeats, crowds, and requests that make no sense.

use std::time::Duration;

use futures::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shop_testkit::wait_until;
use user::checkout::Relay;

use crate::shop::{DECLINED, PATIENCE, PAYS, PRICE_CENTS, Setup, Shop, new_key, send_until_served};

#[tokio::test]
async fn a_confirmed_order_is_in_the_history_and_its_lines_leave_the_cart() {
    let shop = Shop::open(Setup::default()).await;
    let (bought, kept) = (shop.print(10).await, shop.print(10).await);
    let customer = shop.customer().await;
    customer.put_in_cart(bought, 2).await;
    let (status, order) = customer.buy(&new_key(), PAYS).await;
    assert_eq!(status, StatusCode::CREATED, "{order}");
    assert_eq!(order["total_cents"], 2 * PRICE_CENTS);
    assert_eq!(order["lines"][0]["title"], "Harbour <at> dusk");
    customer.put_in_cart(kept, 1).await;
    wait_until("the cart has lost what was bought", PATIENCE, async || {
        let cart = customer.json("/api/cart").await;
        let lines: Vec<i64> = cart["lines"]
            .as_array()
            .expect("lines")
            .iter()
            .filter_map(|line| line["product_id"].as_i64())
            .collect();
        lines == [kept]
    })
    .await;
    let id = order["id"].as_i64().expect("an id");
    assert_eq!(customer.json(&format!("/api/orders/{id}")).await["state"], "confirmed");
    assert_eq!(customer.json("/api/orders").await["orders"][0]["id"], id);
    // The order carries its customer's slot.
    assert_eq!(id % 4096, customer.user_id.0 % 4096);
    wait_until("the event is with the broker", PATIENCE, async || {
        let mut conn = shop.users_dbs[0].connect().await;
        let (left,): (i64,) = sqlx::query_as("select count(*) from order_outbox")
            .fetch_one(&mut conn)
            .await
            .expect("a count");
        left == 0
    })
    .await;
    shop.assert_audit_is_clean().await;
    shop.close().await;
}

#[tokio::test]
async fn what_is_put_into_the_cart_again_right_after_buying_it_stays() {
    // The relay comes later than the customer.
    let shop = Shop::open(Setup {
        background: false,
        ..Setup::default()
    })
    .await;
    let product_id = shop.print(10).await;
    let customer = shop.customer().await;
    customer.put_in_cart(product_id, 1).await;
    let key = new_key();
    let confirmed = loop {
        let response = send_until_served(&customer.checkout(&key, PAYS)).await;
        if response.status() != StatusCode::ACCEPTED {
            break response;
        }
    };
    assert_eq!(confirmed.status(), StatusCode::CREATED);
    let positions: Vec<&str> = confirmed
        .headers()
        .get_all("set-cookie")
        .iter()
        .filter_map(|cookie| cookie.to_str().ok()?.split(';').next())
        .collect();
    let positions = positions.join("; ");
    let second = customer.checkout(&new_key(), PAYS).header("cookie", &positions);
    let refused = send_until_served(&second).await;
    assert_eq!(
        refused.status(),
        StatusCode::CONFLICT,
        "what was bought is bought again"
    );
    let again = customer
        .request(Method::PUT, &format!("/api/cart/items/{product_id}"))
        .header("cookie", &positions)
        .json(&json!({"quantity": 1}));
    assert_eq!(send_until_served(&again).await.status(), StatusCode::OK);

    let relay = Relay::new(
        shop.state.checkout.clone(),
        shop.queue.clone(),
        shop.state.carts.clone(),
    );
    relay.relay(shop.state.cluster(customer.user_id)).await;
    let cart = customer.json("/api/cart").await;
    assert_eq!(cart["lines"][0]["quantity"], 1, "{cart}");
    let (jobs,): (i64,) = sqlx::query_as("select count(*) from cart_jobs")
        .fetch_one(&mut shop.users_dbs[0].connect().await)
        .await
        .expect("a count");
    assert_eq!(jobs, 0);
    shop.close().await;
}

#[tokio::test]
async fn one_key_is_one_order_however_often_and_fast_it_comes() {
    let shop = Shop::open(Setup::default()).await;
    let product_id = shop.print(10).await;
    let customer = shop.customer().await;
    customer.put_in_cart(product_id, 1).await;
    let key = new_key();
    let clicks = join_all((0..8).map(|_| customer.buy(&key, PAYS))).await;
    let ids: Vec<&Value> = clicks.iter().map(|(_, order)| &order["id"]).collect();
    assert!(
        clicks.iter().all(|(status, _)| *status == StatusCode::CREATED),
        "{clicks:?}"
    );
    assert!(ids.iter().all(|id| **id == *ids[0]), "{ids:?}");
    // Also when the cart is empty by now.
    wait_until("the cart is empty", PATIENCE, async || {
        customer.json("/api/me").await["cart_count"] == 0
    })
    .await;
    assert_eq!(customer.buy(&key, PAYS).await.1["id"], *ids[0]);
    assert_eq!(shop.stock(product_id).await, (9, 0, 1));
    let (status, problem) = customer.buy(&key, DECLINED).await;
    assert_eq!(
        (status, &problem["type"]),
        (
            StatusCode::UNPROCESSABLE_ENTITY,
            &json!("/problems/idempotency-key-reused")
        )
    );
    shop.assert_audit_is_clean().await;
    shop.close().await;
}

#[tokio::test]
async fn a_double_click_whose_first_connection_is_dropped_is_one_order() {
    let shop = Shop::open(Setup::default()).await;
    let product_id = shop.print(100).await;
    for pause_ms in [0, 2, 5, 10, 20, 40] {
        let customer = shop.customer().await;
        customer.put_in_cart(product_id, 1).await;
        let key = new_key();
        // The browser gives the first request up wherever it is by then.
        let first = customer.checkout(&key, PAYS).send();
        let _ = tokio::time::timeout(Duration::from_millis(pause_ms), first).await;
        let (status, order) = customer.buy(&key, PAYS).await;
        assert_eq!(
            (status, &order["state"]),
            (StatusCode::CREATED, &json!("confirmed")),
            "{order}"
        );
        let orders = customer.json("/api/orders").await;
        assert_eq!(orders["orders"].as_array().map(Vec::len), Some(1), "{orders}");
    }
    assert_eq!(shop.stock(product_id).await, (94, 0, 6));
    shop.assert_audit_is_clean().await;
    shop.close().await;
}

#[tokio::test]
async fn fifty_buyers_of_ten_copies_get_exactly_ten() {
    let shop = Shop::open(Setup {
        clusters: 2,
        ..Setup::default()
    })
    .await;
    let product_id = shop.print(10).await;
    let buyers = join_all((0..50).map(|slot| shop.customer_in(slot))).await;
    join_all(buyers.iter().map(|buyer| buyer.put_in_cart(product_id, 1))).await;
    let answers = join_all(buyers.iter().map(async |buyer| {
        let (status, body) = buyer.buy(&new_key(), PAYS).await;
        (status, body["type"].as_str().unwrap_or_default().to_owned())
    }))
    .await;
    let count = |status, kind: &str| {
        answers
            .iter()
            .filter(|answer| (answer.0, answer.1.as_str()) == (status, kind))
            .count()
    };
    assert_eq!(count(StatusCode::CREATED, ""), 10, "{answers:?}");
    assert_eq!(count(StatusCode::CONFLICT, "/problems/sold-out"), 40, "{answers:?}");
    assert_eq!(shop.stock(product_id).await, (0, 0, 10));
    shop.assert_audit_is_clean().await;
    shop.close().await;
}

#[tokio::test]
async fn nobody_sees_the_orders_of_others() {
    let shop = Shop::open(Setup::default()).await;
    let product_id = shop.print(10).await;
    let (ada, ben) = (shop.customer_in(5).await, shop.customer_in(5).await);
    ada.put_in_cart(product_id, 1).await;
    let (_, order) = ada.buy(&new_key(), PAYS).await;
    let id = order["id"].as_i64().expect("an id");
    assert_eq!(
        ben.get(&format!("/api/orders/{id}")).await.status(),
        StatusCode::NOT_FOUND
    );
    assert_eq!(ben.get(&format!("/orders/{id}")).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(ben.json("/api/orders").await["orders"], json!([]));
    assert_eq!(
        ben.get(&format!("/api/users/{}", ada.user_id)).await.status(),
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        ada.json(&format!("/api/users/{}", ada.user_id)).await["name"],
        "Somebody"
    );
    shop.close().await;
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused_by_name() {
    let shop = Shop::open(Setup {
        background: false,
        ..Setup::default()
    })
    .await;
    let product_id = shop.print(10).await;
    let customer = shop.customer().await;
    let order = |body: Value| {
        customer
            .request(Method::POST, "/api/orders")
            .header("idempotency-key", new_key())
            .json(&body)
    };
    let address = json!({"name": "Ada", "street": "Main 1", "postcode": "1010", "city": "Vienna", "country": "AT"});
    let card = json!({"number": PAYS, "expiry": "12/40", "cvc": "123"});
    let cart = |quantity: Value| {
        customer
            .request(Method::PUT, &format!("/api/cart/items/{product_id}"))
            .json(&json!({"quantity": quantity}))
    };
    let cases = [
        (order(json!({})), 422, "invalid"),
        (order(json!({"card": card})), 422, "invalid"),
        (
            order(json!({"address": address, "card": card, "card_token": "tok_pays"})),
            422,
            "invalid",
        ),
        (
            order(json!({"address": address, "card_token": "tok_of_gold"})),
            422,
            "invalid",
        ),
        (
            order(json!({"address": address, "card": {"number": "12", "expiry": "12/40", "cvc": "123"}})),
            422,
            "invalid",
        ),
        (
            order(json!({"address": address, "card": card, "lines": []})),
            422,
            "invalid",
        ),
        (
            order(json!({"address": address, "card": card, "lines": [{"product_id": 1, "quantity": 0}]})),
            422,
            "invalid",
        ),
        (
            order(json!({"address": address, "card": card, "lines": [{"product_id": 987_654, "quantity": 1}]})),
            409,
            "unknown-product",
        ),
        (order(json!({"address": address, "card": card})), 409, "cart-empty"),
        (
            order(json!([])).header("content-type", "application/json"),
            400,
            "invalid-json",
        ),
        (
            customer
                .request(Method::POST, "/api/orders")
                .json(&json!({"address": address, "card": card})),
            400,
            "idempotency-key-missing",
        ),
        (
            order(json!({})).header("idempotency-key", "another"),
            400,
            "idempotency-key-missing",
        ),
        (cart(json!(-1)), 422, "invalid"),
        (cart(json!(100)), 422, "invalid"),
        (cart(json!("two")), 400, "invalid-json"),
        (
            customer
                .request(Method::PUT, "/api/cart/items/987654")
                .json(&json!({"quantity": 1})),
            404,
            "not-found",
        ),
        (
            customer
                .request(Method::PUT, "/api/cart/items/x")
                .json(&json!({"quantity": 1})),
            404,
            "not-found",
        ),
        (customer.request(Method::GET, "/api/orders?cursor=x"), 422, "invalid"),
        (customer.request(Method::GET, "/api/orders?limit=0"), 422, "invalid"),
        (customer.request(Method::GET, "/api/orders/999999"), 404, "not-found"),
        (customer.request(Method::GET, "/admin/orders"), 403, "forbidden"),
        (cart(json!(1)).header("sec-fetch-site", "cross-site"), 403, "cross-site"),
    ];
    for (request, status, slug) in cases {
        let told = format!("{request:?}");
        let response = request.send().await.expect("an answer");
        let seen = response.status().as_u16();
        let problem: Value = response
            .json()
            .await
            .unwrap_or_else(|error| panic!("no JSON: {error}: {told}"));
        assert_eq!(
            (seen, problem["type"].as_str()),
            (status, Some(format!("/problems/{slug}").as_str())),
            "{problem} for {told}"
        );
        assert!(problem["request_id"].is_string(), "{problem}");
    }
    shop.close().await;
}
