//! Services and schemas of different ages.

use reqwest::StatusCode;
use shop_testkit::release::{WITH_A_LATER_MIGRATION, WITH_NEWEST_MIGRATION, WITHOUT_NEWEST_MIGRATION};
use shop_testkit::{FreshDatabase, TestServer, wait_until};
use sqlx::{AssertSqlSafe, Executor};
use tokio_util::sync::CancellationToken;
use user::state::watch_schema;

use crate::shop::{PATIENCE, PAYS, Setup, Shop, new_key};

async fn run(database: &FreshDatabase, sql: &str) {
    let mut conn = database.connect().await;
    conn.execute(AssertSqlSafe(sql.to_owned())).await.expect(sql);
}

/// The service as it starts now, over the shop's databases.
async fn start(shop: &Shop) -> TestServer {
    let mut state = shop.state.clone();
    state.schema = watch_schema(&shop.databases.users, &shop.databases.payments);
    TestServer::serve(user::router(state, CancellationToken::new())).await
}

#[tokio::test]
async fn a_service_newer_than_a_schema_is_not_ready_and_says_which_until_it_is_migrated() {
    let shop = Shop::open(Setup {
        clusters: 2,
        ..Setup::default()
    })
    .await;
    for (database, name) in [(&shop.users_dbs[1], "users.1"), (&shop.payments_db, "payments")] {
        run(database, WITHOUT_NEWEST_MIGRATION).await;
        let server = start(&shop).await;
        wait_until("the service is not ready", PATIENCE, async || {
            let (status, why) = server.readiness().await;
            status == StatusCode::SERVICE_UNAVAILABLE && why.contains(name)
        })
        .await;
        run(database, WITH_NEWEST_MIGRATION).await;
        wait_until("the service is ready", PATIENCE, async || {
            server.readiness().await.0 == StatusCode::OK
        })
        .await;
    }
    shop.close().await;
}

#[tokio::test]
async fn a_service_older_than_the_schema_goes_on() {
    let shop = Shop::open(Setup::default()).await;
    run(&shop.users_dbs[0], WITH_A_LATER_MIGRATION).await;
    run(&shop.payments_db, WITH_A_LATER_MIGRATION).await;
    // What an expansion may do: columns that have a default or may be null, and tables.
    run(
        &shop.users_dbs[0],
        "alter table accounts add column phone text; alter table orders add column gift boolean not null default false;
         create table wishes (user_id bigint)",
    )
    .await;
    run(
        &shop.payments_db,
        "alter table payments add column currency text not null default 'EUR'",
    )
    .await;

    let server = start(&shop).await;
    let product_id = shop.print(3).await;
    let customer = shop.customer().await;
    customer.put_in_cart(product_id, 1).await;
    assert_eq!(customer.buy(&new_key(), PAYS).await.0, StatusCode::CREATED);
    assert_eq!(server.readiness().await.0, StatusCode::OK);
    shop.close().await;
}

#[tokio::test]
async fn a_service_whose_database_is_down_is_ready() {
    let shop = Shop::open(Setup {
        proxies: 1,
        background: false,
        ..Setup::default()
    })
    .await;
    shop.proxies[0][0].cut();
    let server = start(&shop).await;
    wait_until("the database is found to be down", PATIENCE, async || {
        let hosts = shop.state.shards.for_slot(0).status();
        hosts.iter().all(|host| !host.up)
    })
    .await;
    assert_eq!(server.readiness().await.0, StatusCode::OK);
    shop.close().await;
}
