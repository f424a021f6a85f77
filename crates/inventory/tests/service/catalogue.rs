//! Lists, pages of lists, and search.

use inventory::domain::cursor::Cursor;
use inventory::queries::{products, stock};
use sqlx::PgPool;

use crate::shop::print;

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn pages_of_a_list_show_everything_once(pool: PgPool) {
    let mut hung = Vec::new();
    for number in 0..7 {
        hung.push(print(&pool, &format!("Harbour {number}"), 1).await);
    }
    let mut conn = pool.acquire().await.expect("a connection");
    for category in [None, Some("prints")] {
        let mut seen = Vec::new();
        let mut after = 0;
        loop {
            let page = products::page(&mut conn, category, after, 3).await.expect("a page");
            let Some(last) = page.last() else { break };
            after = last.id;
            seen.extend(page.iter().map(|product| product.id));
        }
        assert_eq!(seen, hung);
    }
    let empty = products::page(&mut conn, Some("nowhere"), 0, 3)
        .await
        .expect("an empty page");
    assert!(empty.is_empty());
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn a_search_finds_titles_before_descriptions_and_names_as_they_are(pool: PgPool) {
    let quay = print(&pool, "Quay", 1).await;
    let dusk = print(&pool, "Dusk over the quay", 1).await;
    let waves = print(&pool, "Waves", 1).await;
    let mut conn = pool.acquire().await.expect("a connection");
    let mut ids = async |words: &str| -> Vec<i64> {
        products::search(&mut conn, words, None, None, 10)
            .await
            .expect("an answer")
            .into_iter()
            .map(|(product, _)| product.id)
            .collect()
    };
    assert_eq!(ids("quay").await, [quay, dusk]);
    // Every description speaks of waves; only one title does.
    assert_eq!(ids("wave").await[0], waves);
    assert_eq!(ids("ines vale").await.len(), 3);
    assert!(ids("nothing-of-the-kind").await.is_empty());
    for odd in ["\"", "& | !", "a:*", "')--", "the"] {
        assert!(ids(odd).await.is_empty(), "{odd}");
    }
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn pages_of_a_search_show_every_hit_once(pool: PgPool) {
    for number in 0..7 {
        print(&pool, if number % 2 == 0 { "Waves" } else { "Harbour" }, 1).await;
    }
    let mut conn = pool.acquire().await.expect("a connection");
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = products::search(&mut conn, "waves", Some("prints"), after, 2)
            .await
            .expect("a page");
        let Some((_, Cursor::Ranked { rank, product_id })) = page.last() else {
            break;
        };
        after = Some((*rank, *product_id));
        seen.extend(page.iter().map(|(product, _)| product.id));
    }
    let distinct: std::collections::BTreeSet<i64> = seen.iter().copied().collect();
    assert_eq!((seen.len(), distinct.len()), (7, 7));
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn stock_comes_in_and_goes_out_but_never_below_what_is_free(pool: PgPool) {
    let product = print(&pool, "Harbour", 5).await;
    let mut conn = pool.acquire().await.expect("a connection");
    assert_eq!(stock::add(&mut conn, product, 3, None).await.expect("more"), Some(8));
    assert_eq!(stock::add(&mut conn, product, -8, None).await.expect("less"), Some(0));
    assert!(stock::add(&mut conn, product, -1, None).await.is_err());
    let in_all = stock::counts(&mut conn, product)
        .await
        .expect("known")
        .expect("there")
        .initial;
    let first = stock::add(&mut conn, product, 2, Some(in_all)).await;
    assert_eq!(first.expect("more"), Some(2));
    let again = stock::add(&mut conn, product, 2, Some(in_all)).await;
    assert_eq!(
        again.expect("an answer"),
        None,
        "sent a second time, it changes nothing"
    );
    assert_eq!(stock::add(&mut conn, 999, 1, None).await.expect("nothing"), None);
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn an_edit_changes_one_product_or_none(pool: PgPool) {
    let product = print(&pool, "Harbour", 5).await;
    let mut conn = pool.acquire().await.expect("a connection");
    assert!(
        products::edit(&mut conn, product, "Quay", 9_900)
            .await
            .expect("an edit")
    );
    assert!(!products::edit(&mut conn, 999, "Quay", 9_900).await.expect("no edit"));
    let edited = products::find(&mut conn, product)
        .await
        .expect("an answer")
        .expect("the product");
    assert_eq!((edited.title.as_str(), edited.price_cents), ("Quay", 9_900));
}
