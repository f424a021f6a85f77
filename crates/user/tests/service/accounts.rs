//! Registration and login, over one cluster and two.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;
use shop_testkit::TestServer;
use user::accounts::{RegisterError, claim_email, finish, register};
use user::domain::{AccountName, Email, UserId};

use crate::shop::{Setup, Shop, send_until_served};

const LONG: Duration = Duration::from_secs(60);

fn email(text: &str) -> Email {
    Email::parse(text).expect("an e-mail")
}

fn name() -> AccountName {
    AccountName::parse("Ada").expect("a name")
}

async fn two_clusters() -> Shop {
    Shop::open(Setup {
        clusters: 2,
        background: false,
        ..Setup::default()
    })
    .await
}

#[tokio::test]
async fn an_email_is_registered_once_whatever_cluster_it_lies_in() {
    let shop = two_clusters().await;
    for number in 0..8 {
        let email = email(&format!("ada{number}@example.org"));
        register(&shop.state.shards, &email, &name(), "hash")
            .await
            .expect("an account");
        let again = register(&shop.state.shards, &email, &name(), "hash").await;
        assert!(matches!(again, Err(RegisterError::EmailTaken)), "{again:?}");
    }
    shop.close().await;
}

#[tokio::test]
async fn many_who_want_one_email_at_once_make_one_account() {
    let shop = two_clusters().await;
    let email = email("ada@example.org");
    let name = name();
    let all = (0..20).map(|_| register(&shop.state.shards, &email, &name, "hash"));
    let made = futures::future::join_all(all)
        .await
        .into_iter()
        .filter(Result::is_ok)
        .count();
    assert_eq!(made, 1);
    shop.close().await;
}

#[tokio::test]
async fn a_claim_that_nobody_finished_expires_and_is_taken_over() {
    let shop = two_clusters().await;
    let shards = &shop.state.shards;
    let email = email("ada@example.org");
    claim_email(shards, &email, LONG).await.expect("a claim");
    let early = register(shards, &email, &name(), "hash").await;
    assert!(matches!(early, Err(RegisterError::EmailClaimed)), "{early:?}");
    shop.close().await;

    let shop = two_clusters().await;
    let shards = &shop.state.shards;
    let slow = claim_email(shards, &email, Duration::ZERO).await.expect("a claim");
    let quick = register(shards, &email, &name(), "hash")
        .await
        .expect("an expired claim is free");
    // The slow one comes too late, and leaves no account behind.
    let late = finish(shards, slow, &email, &name(), "hash").await;
    assert!(matches!(late, Err(RegisterError::Overtaken)), "{late:?}");
    let mut conn = shop.state.cluster(slow).write().await.expect("a primary");
    assert!(
        user::queries::accounts::find(&mut conn, slow)
            .await
            .expect("an answer")
            .is_none()
    );
    let mut conn = shop.state.cluster(quick.user_id).write().await.expect("a primary");
    assert!(
        user::queries::accounts::find(&mut conn, quick.user_id)
            .await
            .expect("an answer")
            .is_some()
    );
    drop(conn);
    shop.close().await;
}

#[tokio::test]
async fn a_number_that_is_given_twice_is_nobody_elses_account() {
    let shop = two_clusters().await;
    let shards = &shop.state.shards;
    let ada = register(shards, &email("ada@example.org"), &name(), "hash").await;
    let ada = ada.expect("an account").user_id;
    let other = finish(shards, ada, &email("ben@example.org"), &name(), "hash").await;
    assert!(
        matches!(other, Err(RegisterError::NumberTaken(id)) if id == ada),
        "{other:?}"
    );
    let mut conn = shop.state.cluster(ada).write().await.expect("a primary");
    let account = user::queries::accounts::find(&mut conn, ada).await.expect("an answer");
    assert_eq!(account.expect("an account").email, "ada@example.org");
    drop(conn);
    shop.close().await;
}

#[tokio::test]
async fn a_registration_that_stopped_before_its_last_step_still_has_its_owner() {
    let shop = two_clusters().await;
    let shards = &shop.state.shards;
    let email = email("ada@example.org");
    let user_id = claim_email(shards, &email, Duration::ZERO).await.expect("a claim");
    let mut conn = shop.state.cluster(user_id).write().await.expect("a primary");
    user::queries::accounts::insert(&mut conn, user_id, &email, &name(), "hash")
        .await
        .expect("an account");
    drop(conn);
    let other = register(shards, &email, &name(), "hash").await;
    assert!(matches!(other, Err(RegisterError::EmailTaken)), "{other:?}");
    shop.close().await;
}

#[tokio::test]
async fn a_registration_that_is_sent_again_is_the_same_one() {
    let shop = two_clusters().await;
    let send = async |password: &str| {
        let account = json!({"email": "ada@example.org", "name": "Ada", "password": password});
        let request = TestServer::new_client()
            .post(shop.server.url("/api/users"))
            .json(&account);
        let answer = request.send().await.expect("an answer");
        let status = answer.status();
        let body: serde_json::Value = answer.json().await.expect("JSON");
        (status, body["id"].as_i64())
    };
    let both = tokio::join!(send("correct horse"), send("correct horse"));
    assert_eq!(both.0.0, StatusCode::CREATED);
    assert_eq!(both.0, both.1);
    assert_eq!(send("correct horse").await, both.0);
    assert_eq!(send("another horse").await, (StatusCode::CONFLICT, None));

    let user_id = UserId(both.0.1.expect("an id"));
    let mut conn = shop.state.cluster(user_id).write().await.expect("a primary");
    sqlx::query("update accounts set created_at = now() - interval '11 minutes'")
        .execute(&mut *conn)
        .await
        .expect("an account that is older");
    drop(conn);
    assert_eq!(send("correct horse").await, (StatusCode::CONFLICT, None));
    shop.close().await;
}

#[tokio::test]
async fn whoever_tries_passwords_by_registering_is_held_to_the_limit_of_logins() {
    let shop = two_clusters().await;
    let register = async |password: &str| {
        let account = json!({"email": "ada@example.org", "name": "Ada", "password": password});
        let request = shop.server.client.post(shop.server.url("/api/users")).json(&account);
        request.send().await.expect("an answer").status()
    };
    assert_eq!(register("correct horse").await, StatusCode::CREATED);
    for _ in 0..10 {
        assert_eq!(register("a wrong guess").await, StatusCode::CONFLICT);
    }
    assert_eq!(register("correct horse").await, StatusCode::CONFLICT);
    let log_in = json!({"email": "ada@example.org", "password": "correct horse"});
    let request = shop.server.client.post(shop.server.url("/api/sessions")).json(&log_in);
    let refused = request.send().await.expect("an answer");
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    shop.close().await;
}

#[tokio::test]
async fn a_visitor_registers_leaves_and_comes_back_with_the_cart() {
    let shop = Shop::open(Setup {
        clusters: 2,
        background: false,
        ..Setup::default()
    })
    .await;
    let product_id = shop.print(10).await;
    let browser = &shop.server.client;
    let url = |path: &str| shop.server.url(path);
    let cart = browser
        .put(url(&format!("/api/cart/items/{product_id}")))
        .json(&json!({"quantity": 2}));
    assert_eq!(send_until_served(&cart).await.status(), StatusCode::OK);

    let account = json!({"email": "Ada@Example.org", "name": "Ada", "password": "correct horse"});
    let created = browser
        .post(url("/api/users"))
        .json(&account)
        .send()
        .await
        .expect("an answer");
    assert_eq!(created.status(), StatusCode::CREATED);
    let me: serde_json::Value = browser
        .get(url("/api/me"))
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    assert_eq!((&me["user"]["name"], &me["cart_count"]), (&json!("Ada"), &json!(2)));

    let left = browser
        .delete(url("/api/sessions/current"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(left.status(), StatusCode::NO_CONTENT);
    let me: serde_json::Value = browser
        .get(url("/api/me"))
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    assert_eq!(me, json!({"user": null, "cart_count": 0}));

    let elsewhere = TestServer::new_client();
    let log_in = |password: &str| {
        elsewhere
            .post(url("/api/sessions"))
            .json(&json!({"email": " ada@example.org", "password": password}))
            .send()
    };
    assert_eq!(
        log_in("correct hoarse").await.expect("an answer").status(),
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        log_in("correct horse").await.expect("an answer").status(),
        StatusCode::CREATED
    );
    let me: serde_json::Value = elsewhere
        .get(url("/api/me"))
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    assert_eq!(me["cart_count"], 2);
    shop.close().await;
}

#[tokio::test]
async fn wrong_passwords_close_an_account_for_a_while() {
    let shop = Shop::open(Setup {
        background: false,
        ..Setup::default()
    })
    .await;
    let try_once = async || {
        let body = json!({"email": "nobody@example.org", "password": "a guess"});
        let request = shop
            .server
            .client
            .request(Method::POST, shop.server.url("/api/sessions"))
            .json(&body);
        request.send().await.expect("an answer")
    };
    for _ in 0..10 {
        assert_eq!(try_once().await.status(), StatusCode::UNAUTHORIZED);
    }
    let refused = try_once().await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()["retry-after"], "60");
    let form = shop
        .server
        .client
        .request(Method::POST, shop.server.url("/login"))
        .header("accept", "text/html")
        .form(&[("email", "nobody@example.org"), ("password", "a guess")]);
    let page = form.send().await.expect("an answer");
    assert_eq!(page.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(page.headers()["retry-after"], "60");
    assert!(page.text().await.expect("a page").contains("Too many wrong passwords"));
    shop.close().await;
}
