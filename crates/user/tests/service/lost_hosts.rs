//! A database host that dies while it reads for a page, or writes an order: the visitor doesn't notice.

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::json;
use shop_testkit::wait_until;
use sqlx::{AssertSqlSafe, Executor};

use crate::shop::{PATIENCE, PAYS, Setup, Shop, new_key};

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

/// Requests that wait for somebody's lock.
async fn waiting(shop: &Shop) -> i64 {
    sqlx::query_scalar(
        "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()",
    )
    .fetch_one(&mut shop.users_dbs[0].connect().await)
    .await
    .expect("a count")
}

/// Sends a request while `lock` keeps it from writing, cuts the host off that it writes on, and lets go once it is written
/// again on the other one.
async fn write_across_a_cut(shop: &Shop, lock: &str, request: RequestBuilder) -> Response {
    let mut locker = shop.users_dbs[0].connect().await;
    locker.execute(AssertSqlSafe(lock.to_owned())).await.expect("the lock");
    let asking = tokio::spawn(request.send());
    wait_until("it is being written", PATIENCE, async || waiting(shop).await == 1).await;
    shop.proxies[0][0].cut();
    wait_until("it is written again", PATIENCE, async || waiting(shop).await == 2).await;
    locker.execute("rollback").await.expect("the lock's end");
    asking.await.expect("a request that ends").expect("an answer")
}

async fn buy_across_a_cut(shop: &Shop, lock: &str) {
    let product_id = shop.print(10).await;
    let customer = shop.customer().await;
    customer.put_in_cart(product_id, 2).await;
    let answer = write_across_a_cut(shop, lock, customer.checkout(&new_key(), PAYS)).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    let order: serde_json::Value = answer.json().await.expect("an order");
    assert_eq!(order["state"], "confirmed");
    let orders = customer.json("/api/orders").await;
    assert_eq!(orders["orders"].as_array().map(Vec::len), Some(1), "{orders}");
    shop.assert_audit_is_clean().await;
}

#[tokio::test]
async fn an_order_is_confirmed_although_the_host_dies_before_it_is_written() {
    let shop = open().await;
    buy_across_a_cut(&shop, "begin; lock table order_lines in access exclusive mode").await;
    shop.close().await;
}

#[tokio::test]
async fn an_order_is_confirmed_although_the_answer_to_its_commit_is_lost() {
    let shop = open().await;
    let wait_at_commit = "create function wait_for_the_test() returns trigger language plpgsql as
             $$ begin perform pg_advisory_xact_lock_shared(4242); return null; end $$;
         create constraint trigger waits after insert on orders deferrable initially deferred
             for each row execute function wait_for_the_test();";
    let mut owner = shop.users_dbs[0].connect().await;
    owner
        .execute(AssertSqlSafe(wait_at_commit.to_owned()))
        .await
        .expect("a trigger");
    buy_across_a_cut(&shop, "begin; select pg_advisory_xact_lock(4242)").await;
    shop.close().await;
}

#[tokio::test]
async fn an_account_is_made_although_the_host_dies_at_any_step_of_it() {
    for table in ["emails", "accounts"] {
        let shop = open().await;
        let lock = format!("begin; lock table {table} in share mode");
        let account = json!({"email": "ada@example.org", "name": "Ada", "password": "correct horse"});
        let request = shop.server.client.post(shop.server.url("/api/users")).json(&account);
        let answer = write_across_a_cut(&shop, &lock, request).await;
        assert_eq!(answer.status(), StatusCode::CREATED, "{table}");
        let mut conn = shop.users_dbs[0].connect().await;
        let accounts: i64 = sqlx::query_scalar("select count(*) from accounts")
            .fetch_one(&mut conn)
            .await
            .expect("a count");
        assert_eq!(accounts, 1, "{table}");
        shop.close().await;
    }
}
