//! A database host that dies while it reads for a page: the visitor doesn't notice.

use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::json;
use shop_testkit::wait_until;
use sqlx::{AssertSqlSafe, Executor};

use crate::shop::{PATIENCE, Setup, Shop};

/// Sends a request that reads `table`, kills the host that reads for it, and says what the visitor got.
async fn answer_across_a_kill(shop: &Shop, table: &str, request: RequestBuilder) -> StatusCode {
    let database = &shop.users_dbs[0];
    let mut locker = database.connect().await;
    let lock = format!("begin; lock table {table} in access exclusive mode");
    locker.execute(AssertSqlSafe(lock)).await.expect("the lock");
    let readers = async || -> i64 {
        sqlx::query_scalar(
            "select count(distinct pid) from pg_locks where not granted and relation = to_regclass($1)
                 and database = (select oid from pg_database where datname = current_database())",
        )
        .bind(table)
        .fetch_one(&mut database.connect().await)
        .await
        .expect("a count")
    };
    let answer = tokio::spawn(request.send());
    wait_until("the request reads", PATIENCE, async || readers().await == 1).await;
    shop.proxies[0][0].cut();
    // The first reader's server process doesn't know yet that nobody waits for it.
    wait_until("it reads again, on the other host", PATIENCE, async || {
        readers().await == 2
    })
    .await;
    locker.execute("rollback").await.expect("the lock's end");
    answer.await.expect("a request that ends").expect("an answer").status()
}

async fn open() -> Shop {
    let shop = Shop::open(Setup {
        proxies: 2,
        background: false,
        ..Setup::default()
    })
    .await;
    let cluster = shop.state.shards.for_slot(0).clone();
    wait_until("both hosts are known", PATIENCE, async || {
        cluster.status().iter().all(|host| host.up)
    })
    .await;
    shop
}

#[tokio::test]
async fn an_account_is_shown_although_the_host_that_reads_it_dies() {
    let shop = open().await;
    let customer = shop.customer().await;
    let request = customer.request(Method::GET, &format!("/api/users/{}", customer.user_id.0));
    assert_eq!(answer_across_a_kill(&shop, "accounts", request).await, StatusCode::OK);
    shop.close().await;
}

#[tokio::test]
async fn orders_are_listed_although_the_host_that_reads_them_dies() {
    let shop = open().await;
    let customer = shop.customer().await;
    let request = customer.request(Method::GET, "/orders");
    assert_eq!(answer_across_a_kill(&shop, "orders", request).await, StatusCode::OK);
    shop.close().await;
}

#[tokio::test]
async fn a_login_is_answered_although_the_primary_dies_in_the_middle() {
    let shop = open().await;
    let nobody = json!({"email": "nobody@example.org", "password": "a guess"});
    let request = shop.server.client.post(shop.server.url("/api/sessions")).json(&nobody);
    assert_eq!(
        answer_across_a_kill(&shop, "emails", request).await,
        StatusCode::UNAUTHORIZED
    );
    shop.close().await;
}
