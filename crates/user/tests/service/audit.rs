//! The audit finds what does not agree, and says where.

use std::collections::BTreeSet;

use reqwest::StatusCode;
use shop_testkit::FreshDatabase;
use sqlx::{AssertSqlSafe, Connection};

use crate::shop::{PAYS, Setup, Shop, new_key};

async fn run(database: &FreshDatabase, sql: &str) {
    let mut conn = database.connect().await;
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(&mut conn)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    conn.close().await.expect("a connection that closes");
}

/// The names of the checks that something offends.
async fn offended(shop: &Shop) -> BTreeSet<&'static str> {
    let report = shop.audit().await;
    report
        .checks
        .iter()
        .filter(|check| check.offending > 0)
        .map(|check| check.name)
        .collect()
}

#[tokio::test]
async fn the_audit_finds_what_was_tampered_with() {
    let shop = Shop::open(Setup::default()).await;
    let product_id = shop.print(10).await;
    let customer = shop.customer().await;
    customer.put_in_cart(product_id, 2).await;
    assert_eq!(customer.buy(&new_key(), PAYS).await.0, StatusCode::CREATED);
    assert_eq!(offended(&shop).await, BTreeSet::new());

    let (stock, users, ledger) = (&shop.inventory_db, &shop.users_dbs[0], &shop.payments_db);
    // Each tampering, how to undo it, and the checks that must notice.
    let cases: [(&FreshDatabase, &str, &str, &[&str]); 8] = [
        (
            ledger,
            "update payments set amount_cents = amount_cents - 1",
            "update payments set amount_cents = amount_cents + 1",
            &["orders at rest agree"],
        ),
        (
            ledger,
            "update payments set state = 'voided'",
            "update payments set state = 'captured'",
            &["orders at rest agree", "payments have orders"],
        ),
        (
            ledger,
            "insert into payments (order_id, state, amount_cents) values (1, 'captured', 100)",
            "delete from payments where order_id = 1",
            &["payments have orders"],
        ),
        (
            stock,
            "insert into reservations (order_id, state) values (1, 'released')",
            "delete from reservations where order_id = 1",
            &["reservations have orders"],
        ),
        (
            stock,
            "update reservation_lines set quantity = 1",
            "update reservation_lines set quantity = 2",
            &["orders at rest agree", "stock adds up"],
        ),
        (
            stock,
            "update stock set sold = sold - 1, available = available + 1",
            "update stock set sold = sold + 1, available = available - 1",
            &["stock adds up"],
        ),
        (
            users,
            "update orders set state = 'cancelled', reason = 'interrupted'",
            "update orders set state = 'confirmed', reason = null",
            &[
                "orders at rest agree",
                "payments have orders",
                "reservations have orders",
            ],
        ),
        (
            users,
            "update orders set state = 'paid', state_since = now() - interval '1 hour', due_at = 'infinity'",
            "update orders set state = 'confirmed'",
            &["orders in flight move on"],
        ),
    ];
    for (database, tamper, undo, checks) in cases {
        run(database, tamper).await;
        assert_eq!(offended(&shop).await, checks.iter().copied().collect(), "{tamper}");
        run(database, undo).await;
        assert_eq!(offended(&shop).await, BTreeSet::new(), "{undo}");
    }
    shop.close().await;
}
