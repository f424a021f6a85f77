//! Positions: what a client has seen, and what services tell each other.

use http::{StatusCode, header};
use serde_json::json;
use shop_db::Freshness;
use shop_web::extract::Consistency;
use shop_web::internal::InternalClient;

use crate::support::{Shop, TOKEN, assert_problem, at, client};

#[tokio::test]
async fn a_client_carries_its_writes_to_its_next_request_and_cannot_make_them_up() {
    let shop = Shop::open().await;
    let written = client()
        .post(shop.url("/write"))
        .send()
        .await
        .expect("the shop answers");
    let cookie = written.headers()[header::SET_COOKIE]
        .to_str()
        .expect("cookies are ASCII")
        .to_owned();
    assert!(
        cookie.starts_with("zp_things=") && cookie.contains("HttpOnly") && cookie.contains("Max-Age=60"),
        "{cookie}"
    );
    let cookie = cookie.split(';').next().expect("there is a first part").to_owned();
    assert_eq!(
        shop.get("/read", &[("cookie", &cookie)])
            .await
            .text()
            .await
            .expect("text"),
        at(77).to_string()
    );
    let forged = cookie.replace("zp_things=", "zp_things=9");
    assert_eq!(
        shop.get("/read", &[("cookie", &forged)])
            .await
            .text()
            .await
            .expect("text"),
        ""
    );
    // The header is for services that show the token.
    assert_eq!(
        shop.get("/read", &[("zillion-positions", "things=1-50")])
            .await
            .text()
            .await
            .expect("text"),
        ""
    );
}

#[tokio::test]
async fn services_show_a_token_and_exchange_positions() {
    let shop = Shop::open().await;
    assert_problem(
        shop.get("/internal/things", &[]).await,
        StatusCode::UNAUTHORIZED,
        "internal-token",
    )
    .await;
    let wrong = shop.get("/internal/things", &[("authorization", "Bearer wrong")]).await;
    assert_problem(wrong, StatusCode::UNAUTHORIZED, "internal-token").await;

    let other = InternalClient::new(&shop.url(""), TOKEN).expect("the address is valid");
    let consistency = Consistency::detached();
    consistency.wrote("things", at(5));
    let answer = other
        .get("/internal/things", &consistency)
        .await
        .expect("the other service answers");
    assert_eq!(
        (answer.status, &answer.body[..]),
        (StatusCode::OK, at(5).to_string().as_bytes())
    );
    assert!(matches!(consistency.freshness("things"), Freshness::After(position) if position == at(78)));
    let answer = other
        .put("/internal/nothing", &json!({}), &consistency)
        .await
        .expect("404 is an answer");
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(answer.problem_slug().as_deref(), Some("not-found"));
}
