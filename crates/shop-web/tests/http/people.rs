//! Sessions, logins and who may see what.

use http::{StatusCode, header};
use serde_json::Value;
use shop_session::Role;

use crate::support::{Shop, assert_problem, client};

#[tokio::test]
async fn a_session_that_is_over_leads_to_the_login() {
    let shop = Shop::open().await;
    let over = format!("zillion_session={}", "A".repeat(43));
    assert_problem(
        shop.get("/me", &[("cookie", &over)]).await,
        StatusCode::UNAUTHORIZED,
        "not-logged-in",
    )
    .await;
    assert_problem(
        shop.get("/me", &[("cookie", "zillion_session=\"<>")]).await,
        StatusCode::UNAUTHORIZED,
        "not-logged-in",
    )
    .await;
    let response = shop.get("/me?x=1", &[("cookie", &over), ("accept", "text/html")]).await;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert_eq!(response.headers()[header::LOCATION], "/login?next=%2Fme%3Fx%3D1");
    let who: Value = shop
        .get("/who", &[("cookie", &over)])
        .await
        .json()
        .await
        .expect("an answer is JSON");
    assert_eq!(who["user"], Value::Null);
}

#[tokio::test]
async fn people_see_their_own_and_only_the_shopkeeper_the_studio() {
    let shop = Shop::open().await;
    let customer = shop.cookie_of(Role::Customer).await;
    let shopkeeper = shop.cookie_of(Role::Shopkeeper).await;
    assert_eq!(shop.get("/me", &[("cookie", &customer)]).await.status(), StatusCode::OK);
    assert_problem(
        shop.get("/admin", &[("cookie", &customer)]).await,
        StatusCode::FORBIDDEN,
        "forbidden",
    )
    .await;
    assert_problem(shop.get("/admin", &[]).await, StatusCode::UNAUTHORIZED, "not-logged-in").await;
    assert_eq!(
        shop.get("/admin", &[("cookie", &shopkeeper)]).await.status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_session_store_that_is_away_is_503_and_costs_strangers_nothing() {
    let shop = Shop::open_with("127.0.0.1:1").await;
    assert_eq!(shop.get("/who", &[]).await.status(), StatusCode::OK);
    let cookie = format!("zillion_session={}", "A".repeat(43));
    let response = shop.get("/who", &[("cookie", &cookie)]).await;
    assert!(response.headers().contains_key(header::RETRY_AFTER));
    assert_problem(response, StatusCode::SERVICE_UNAVAILABLE, "unavailable").await;
}

#[tokio::test]
async fn logging_out_takes_the_cookie_away() {
    let shop = Shop::open().await;
    let response = client()
        .post(shop.url("/login"))
        .send()
        .await
        .expect("the shop answers");
    let cookie = response.headers()[header::SET_COOKIE]
        .to_str()
        .expect("cookies are ASCII");
    assert!(
        cookie.starts_with("zillion_session=;") && cookie.contains("Max-Age=0") && cookie.contains("SameSite=Lax"),
        "{cookie}"
    );
}
