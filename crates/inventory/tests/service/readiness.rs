//! A service and a schema of different ages.

use inventory::state::AppState;
use reqwest::StatusCode;
use shop_db::SchemaWatch;
use shop_testkit::{TestServer, wait_until};
use sqlx::{Executor, PgPool};

use crate::shop::{PATIENCE, Shop, print};

/// The service as it starts now.
async fn start(shop: &Shop) -> TestServer {
    let app = AppState {
        schema: SchemaWatch::start([(shop.app.db.clone(), migrate::newest(&migrate::INVENTORY))]),
        ..shop.app.clone()
    };
    TestServer::serve(inventory::routes::router(app)).await
}

async fn readiness(server: &TestServer) -> (StatusCode, String) {
    let answer = server
        .client
        .get(server.url("/readyz"))
        .send()
        .await
        .expect("an answer");
    (answer.status(), answer.text().await.expect("a text"))
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn a_service_newer_than_the_schema_is_not_ready_until_it_is_migrated(pool: PgPool) {
    let shop = Shop::open(pool).await;
    shop.pool
        .execute(
            "create table later as select * from _sqlx_migrations order by version desc limit 1;
             delete from _sqlx_migrations where version in (select version from later)",
        )
        .await
        .expect("a schema of an older release");
    let server = start(&shop).await;
    wait_until("the service is not ready", PATIENCE, async || {
        let (status, why) = readiness(&server).await;
        status == StatusCode::SERVICE_UNAVAILABLE && why.contains("inventory")
    })
    .await;
    shop.pool
        .execute("insert into _sqlx_migrations select * from later")
        .await
        .expect("the newest migration");
    wait_until("the service is ready", PATIENCE, async || {
        readiness(&server).await.0 == StatusCode::OK
    })
    .await;
    shop.close().await;
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn a_service_older_than_the_schema_goes_on(pool: PgPool) {
    let product = print(&pool, "Harbour", 10).await;
    let shop = Shop::open(pool).await;
    shop.pool
        .execute(
            "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
                 values (9999, 'later', true, '', 0);
             alter table products add column weight_grams integer;
             alter table stock add column shelf text not null default ''",
        )
        .await
        .expect("a schema of a later release");
    let server = start(&shop).await;
    let page = shop.page(&format!("/products/{product}")).await;
    assert!(page.contains("Harbour"));
    assert_eq!(readiness(&server).await.0, StatusCode::OK);
    shop.close().await;
}
