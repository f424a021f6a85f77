//! Reserve, sell and release, repeated, late and all at once.

use inventory::domain::reservation::{Line, Lines, Release, Reserve, Sell, Shortage};
use inventory::queries::reservations;
use sqlx::{Connection as _, PgPool};

use crate::shop::{counts, print};

fn lines(pairs: &[(i64, i32)]) -> Lines {
    pairs
        .iter()
        .map(|&(product_id, quantity)| Line { product_id, quantity })
        .collect::<Vec<_>>()
        .try_into()
        .expect("good lines")
}

async fn reserve(pool: &PgPool, order_id: i64, wanted: &Lines) -> Reserve {
    let mut conn = pool.acquire().await.expect("a connection");
    let mut tx = conn.begin().await.expect("a transaction");
    let answer = reservations::reserve(&mut tx, order_id, wanted)
        .await
        .expect("an answer");
    if matches!(answer, Reserve::Reserved { .. }) {
        tx.commit().await.expect("a commit");
    } else {
        tx.rollback().await.expect("a rollback");
    }
    answer
}

async fn sell(pool: &PgPool, order_id: i64) -> Sell {
    let mut tx = pool.begin().await.expect("a transaction");
    let answer = reservations::sell(&mut tx, order_id).await.expect("an answer");
    tx.commit().await.expect("a commit");
    answer
}

async fn release(pool: &PgPool, order_id: i64) -> Release {
    let mut tx = pool.begin().await.expect("a transaction");
    let answer = reservations::release(&mut tx, order_id).await.expect("an answer");
    tx.commit().await.expect("a commit");
    answer
}

fn held() -> Reserve {
    Reserve::Reserved { emptied: Vec::new() }
}

fn given_back() -> Release {
    Release::Released { refilled: Vec::new() }
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn fifty_buyers_of_ten_copies_get_exactly_ten(pool: PgPool) {
    let product = print(&pool, "Harbour", 10).await;
    let buyers = (1..=50).map(|order_id| {
        let pool = pool.clone();
        tokio::spawn(async move { reserve(&pool, order_id, &lines(&[(product, 1)])).await })
    });
    let mut served = 0;
    let mut emptied = 0;
    for buyer in buyers.collect::<Vec<_>>() {
        match buyer.await.expect("no panic") {
            Reserve::Reserved { emptied: empty } => {
                served += 1;
                emptied += empty.len();
            }
            Reserve::SoldOut(shortages) => assert_eq!(
                shortages,
                [Shortage {
                    product_id: product,
                    available: 0
                }]
            ),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(served, 10);
    assert_eq!(emptied, 1, "exactly one order took the last copy");
    assert_eq!(counts(&pool, product).await, (0, 10, 0));
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn orders_of_the_same_products_in_any_order_do_not_deadlock(pool: PgPool) {
    let first = print(&pool, "Harbour", 1000).await;
    let second = print(&pool, "Quay", 1000).await;
    let orders = (1..=40).map(|order_id| {
        let pool = pool.clone();
        tokio::spawn(async move {
            let wanted = if order_id % 2 == 0 {
                lines(&[(first, 1), (second, 2)])
            } else {
                lines(&[(second, 2), (first, 1)])
            };
            assert_eq!(reserve(&pool, order_id, &wanted).await, held());
            if order_id % 3 == 0 {
                assert_eq!(release(&pool, order_id).await, given_back());
            } else {
                assert_eq!(sell(&pool, order_id).await, Sell::Sold);
            }
        })
    });
    for order in orders.collect::<Vec<_>>() {
        order.await.expect("no deadlock");
    }
    assert_eq!(counts(&pool, first).await, (1000 - 27, 0, 27));
    assert_eq!(counts(&pool, second).await, (1000 - 54, 0, 54));
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn an_order_gets_all_its_lines_or_none(pool: PgPool) {
    let plenty = print(&pool, "Harbour", 10).await;
    let scarce = print(&pool, "Quay", 1).await;
    let answer = reserve(&pool, 1, &lines(&[(plenty, 2), (scarce, 2), (999_999, 1)])).await;
    assert_eq!(
        answer,
        Reserve::SoldOut(vec![
            Shortage {
                product_id: scarce,
                available: 1
            },
            Shortage {
                product_id: 999_999,
                available: 0
            },
        ])
    );
    assert_eq!(counts(&pool, plenty).await, (10, 0, 0));
    // A refusal is not a tombstone: the order may come back with less.
    assert_eq!(
        reserve(&pool, 1, &lines(&[(scarce, 1)])).await,
        Reserve::Reserved { emptied: vec![scarce] }
    );
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn every_message_may_come_twice(pool: PgPool) {
    let product = print(&pool, "Harbour", 10).await;
    let wanted = lines(&[(product, 3)]);
    for _ in 0..2 {
        assert_eq!(reserve(&pool, 1, &wanted).await, held());
        assert_eq!(counts(&pool, product).await, (7, 3, 0));
    }
    for _ in 0..2 {
        assert_eq!(sell(&pool, 1).await, Sell::Sold);
        assert_eq!(counts(&pool, product).await, (7, 0, 3));
    }
    // A reserve that was delayed until after the sell is still a repeat.
    assert_eq!(reserve(&pool, 1, &wanted).await, held());
    assert_eq!(counts(&pool, product).await, (7, 0, 3));

    assert_eq!(reserve(&pool, 2, &wanted).await, held());
    for _ in 0..2 {
        assert_eq!(release(&pool, 2).await, given_back());
        assert_eq!(counts(&pool, product).await, (7, 0, 3));
    }
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn the_same_message_many_times_at_once_counts_once(pool: PgPool) {
    let product = print(&pool, "Harbour", 10).await;
    let repeats = (0..16).map(|_| {
        let pool = pool.clone();
        tokio::spawn(async move { reserve(&pool, 1, &lines(&[(product, 2)])).await })
    });
    for repeat in repeats.collect::<Vec<_>>() {
        assert_eq!(repeat.await.expect("no panic"), held());
    }
    assert_eq!(counts(&pool, product).await, (8, 2, 0));
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn a_reserve_that_lands_after_the_release_is_refused(pool: PgPool) {
    let product = print(&pool, "Harbour", 10).await;
    assert_eq!(release(&pool, 1).await, given_back());
    assert_eq!(reserve(&pool, 1, &lines(&[(product, 1)])).await, Reserve::Released);
    assert_eq!(counts(&pool, product).await, (10, 0, 0));
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn a_release_after_the_reserve_gives_back_and_leaves_a_tombstone(pool: PgPool) {
    let product = print(&pool, "Harbour", 2).await;
    let wanted = lines(&[(product, 2)]);
    assert_eq!(
        reserve(&pool, 1, &wanted).await,
        Reserve::Reserved { emptied: vec![product] }
    );
    assert_eq!(
        release(&pool, 1).await,
        Release::Released {
            refilled: vec![product]
        }
    );
    assert_eq!(counts(&pool, product).await, (2, 0, 0));
    assert_eq!(reserve(&pool, 1, &wanted).await, Reserve::Released);
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn reserve_and_release_at_once_leave_nothing_reserved(pool: PgPool) {
    let product = print(&pool, "Harbour", 100).await;
    for order_id in 1..=25 {
        let wanted = lines(&[(product, 1)]);
        let (reserved, released) = tokio::join!(reserve(&pool, order_id, &wanted), release(&pool, order_id));
        assert!(matches!(reserved, Reserve::Reserved { .. } | Reserve::Released));
        assert_eq!(released, given_back());
    }
    assert_eq!(counts(&pool, product).await, (100, 0, 0));
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn a_sell_needs_a_reservation_that_was_not_released(pool: PgPool) {
    let product = print(&pool, "Harbour", 10).await;
    assert_eq!(sell(&pool, 1).await, Sell::NotReserved);
    assert_eq!(reserve(&pool, 2, &lines(&[(product, 1)])).await, held());
    assert_eq!(release(&pool, 2).await, given_back());
    assert_eq!(sell(&pool, 2).await, Sell::NotReserved);
    assert_eq!(counts(&pool, product).await, (10, 0, 0));
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn what_is_sold_is_not_released(pool: PgPool) {
    let product = print(&pool, "Harbour", 10).await;
    assert_eq!(reserve(&pool, 1, &lines(&[(product, 4)])).await, held());
    assert_eq!(sell(&pool, 1).await, Sell::Sold);
    assert_eq!(release(&pool, 1).await, Release::AlreadySold);
    assert_eq!(counts(&pool, product).await, (6, 0, 4));
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn an_order_can_not_change_what_it_reserved(pool: PgPool) {
    let product = print(&pool, "Harbour", 10).await;
    assert_eq!(reserve(&pool, 1, &lines(&[(product, 1)])).await, held());
    assert_eq!(reserve(&pool, 1, &lines(&[(product, 5)])).await, Reserve::Different);
    assert_eq!(counts(&pool, product).await, (9, 1, 0));
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn the_table_itself_refuses_what_does_not_add_up(pool: PgPool) {
    let product = print(&pool, "Harbour", 10).await;
    for forged in [
        "update stock set available = available - 1 where product_id = $1",
        "update stock set available = -1, sold = 11 where product_id = $1",
        "update stock set sold = sold + 1 where product_id = $1",
    ] {
        assert!(sqlx::query(forged).bind(product).execute(&pool).await.is_err());
    }
}
