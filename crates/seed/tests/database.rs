//! What the seed writes past the public API, against real databases.

use seed::prints::{self, OPEN_COPIES, PRINT_COUNT, Print};
use seed::{bulk, fill, restock};
use shop_db::{Cluster, ClusterConfig, Shards, slot_of, slot_of_key};
use shop_testkit::FreshDatabase;

async fn inventory() -> (FreshDatabase, Cluster) {
    let database = FreshDatabase::migrated(&sqlx::migrate!("../../migrations/inventory")).await;
    let cluster = connect("inventory", &database).await;
    (database, cluster)
}

async fn connect(name: &str, database: &FreshDatabase) -> Cluster {
    let config = ClusterConfig::for_url(name, database.url()).unwrap();
    Cluster::connect(config).await.unwrap()
}

async fn number(database: &FreshDatabase, sql: &'static str) -> i64 {
    let mut conn = database.connect().await;
    sqlx::query_scalar(sql).fetch_one(&mut conn).await.unwrap()
}

async fn execute(database: &FreshDatabase, sql: &'static str) {
    let mut conn = database.connect().await;
    sqlx::query(sql).execute(&mut conn).await.unwrap();
}

async fn catalogue(cluster: &Cluster) {
    let prints: Vec<Print> = prints::catalogue().collect();
    fill::write_catalogue(cluster, &prints).await.unwrap();
}

#[tokio::test]
async fn the_catalogue_is_written_once_and_keeps_what_the_shopkeeper_changed() {
    let (database, cluster) = inventory().await;
    catalogue(&cluster).await;
    execute(&database, "update products set title = 'Renamed' where id = 7").await;
    execute(
        &database,
        "update stock set available = available - 1, sold = 1 where product_id = 7",
    )
    .await;
    catalogue(&cluster).await;

    assert_eq!(
        number(&database, "select count(*) from products").await,
        i64::from(PRINT_COUNT)
    );
    assert_eq!(
        number(&database, "select count(*) from products where title = 'Renamed'").await,
        1
    );
    assert_eq!(
        number(&database, "select sold from stock where product_id = 7").await,
        1
    );
    assert_eq!(
        number(&database, "select count(*) from products where edition_size is null").await,
        24
    );
    assert_eq!(
        number(
            &database,
            "insert into products (category_slug, title, artist, year, price_cents)
             values ('line', 'The shopkeeper''s own', 'Nobody', 2026, 100) returning id",
        )
        .await,
        i64::from(PRINT_COUNT) + 1,
    );
}

#[tokio::test]
async fn restocking_brings_the_whole_edition_back_and_forgets_no_sale() {
    let (database, cluster) = inventory().await;
    catalogue(&cluster).await;
    execute(
        &database,
        "update stock set sold = available, available = 0 where product_id in (1, 2)",
    )
    .await;
    execute(
        &database,
        "update stock set reserved = 1, available = available - 1 where product_id = 3",
    )
    .await;
    let sold = number(&database, "select sum(sold)::bigint from stock").await;

    restock::run(&cluster).await.unwrap();
    restock::run(&cluster).await.unwrap();

    let short = "select count(*) from stock s join products p on p.id = s.product_id
                 where s.available <> coalesce(p.edition_size, 500000)";
    assert_eq!(number(&database, short).await, 0);
    assert_eq!(number(&database, "select sum(sold)::bigint from stock").await, sold);
    assert_eq!(
        number(&database, "select reserved from stock where product_id = 3").await,
        1
    );
    let grown = "select initial - available - sold from stock where product_id = 1";
    assert_eq!(number(&database, grown).await, 0);
}

#[tokio::test]
async fn a_large_catalogue_goes_on_where_it_was_cut_off() {
    let (database, cluster) = inventory().await;
    catalogue(&cluster).await;
    bulk::products(&cluster, 200).await.unwrap();
    bulk::products(&cluster, 6000).await.unwrap();
    bulk::products(&cluster, 6000).await.unwrap();

    assert_eq!(number(&database, "select count(*) from products").await, 6000);
    assert_eq!(number(&database, "select max(id) from products").await, 6000);
    assert_eq!(
        number(&database, "select min(available) from stock where product_id > 120").await,
        OPEN_COPIES,
    );
    let next = "select nextval(pg_get_serial_sequence('products', 'id'))";
    assert_eq!(number(&database, next).await, 6001);
}

#[tokio::test]
async fn customers_lie_in_the_cluster_that_their_slots_point_to() {
    let migrations = sqlx::migrate!("../../migrations/users");
    let databases = [
        FreshDatabase::migrated(&migrations).await,
        FreshDatabase::migrated(&migrations).await,
    ];
    let clusters = vec![
        connect("users.low", &databases[0]).await,
        connect("users.high", &databases[1]).await,
    ];
    let shards = Shards::with_slots(clusters, |slot| u8::from(slot >= 2048));
    let demo_id = 4096 * 7 + 12;
    execute(
        &databases[0],
        "insert into accounts (user_id, email, name, password_hash)
         values (28684, 'demo@zillion.example', 'Demo', 'a$hash\\with\\backslashes')",
    )
    .await;

    // More than before, and as many again.
    for count in [70, 300, 300] {
        bulk::users(&shards, demo_id, count).await.unwrap();
    }

    let mut total = 0;
    for (index, database) in databases.iter().enumerate() {
        let rows: Vec<(i64, String, String, String)> = sqlx::query_as(
            "select a.user_id, a.email, a.password_hash, a.role from accounts a
             join emails e on e.email = a.email and e.user_id = a.user_id and e.confirmed_at is not null",
        )
        .fetch_all(&mut database.connect().await)
        .await
        .unwrap();
        total += rows.len();
        for (user_id, email, hash, role) in rows {
            assert_eq!(usize::from(slot_of(user_id) >= 2048), index, "{email}");
            assert_eq!(slot_of(user_id), slot_of_key(email.as_bytes()), "{email}");
            assert_eq!(
                (hash.as_str(), role.as_str()),
                ("a$hash\\with\\backslashes", "customer")
            );
        }
        assert_eq!(
            number(database, "select count(*) from emails").await,
            number(
                database,
                "select count(*) from accounts where email <> 'demo@zillion.example'"
            )
            .await,
        );
    }
    assert_eq!(total, 300);
}
