//! A service and a schema of different ages.

use inventory::state::AppState;
use reqwest::StatusCode;
use shop_db::SchemaWatch;
use shop_testkit::release::{WITH_A_LATER_MIGRATION, WITH_NEWEST_MIGRATION, WITHOUT_NEWEST_MIGRATION};
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

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn a_service_newer_than_the_schema_is_not_ready_until_it_is_migrated(pool: PgPool) {
    let shop = Shop::open(pool).await;
    shop.pool
        .execute(WITHOUT_NEWEST_MIGRATION)
        .await
        .expect("a schema of an older release");
    let server = start(&shop).await;
    wait_until("the service is not ready", PATIENCE, async || {
        let (status, why) = server.readiness().await;
        status == StatusCode::SERVICE_UNAVAILABLE && why.contains("inventory")
    })
    .await;
    shop.pool
        .execute(WITH_NEWEST_MIGRATION)
        .await
        .expect("the newest migration");
    wait_until("the service is ready", PATIENCE, async || {
        server.readiness().await.0 == StatusCode::OK
    })
    .await;
    shop.close().await;
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn a_service_older_than_the_schema_goes_on(pool: PgPool) {
    let product = print(&pool, "Harbour", 10).await;
    let shop = Shop::open(pool).await;
    shop.pool
        .execute(WITH_A_LATER_MIGRATION)
        .await
        .expect("a migration of a later release");
    shop.pool
        .execute(
            "alter table products add column weight_grams integer;
             alter table stock add column shelf text not null default ''",
        )
        .await
        .expect("a schema of a later release");
    let server = start(&shop).await;
    let page = shop.page(&format!("/products/{product}")).await;
    assert!(page.contains("Harbour"));
    assert_eq!(server.readiness().await.0, StatusCode::OK);
    shop.close().await;
}
