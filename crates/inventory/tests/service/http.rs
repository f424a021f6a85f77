//! Pages, API and internal API of the whole service.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::shop::{Shop, counts, print};

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn customers_walk_through_the_shop(pool: PgPool) {
    let product = print(&pool, "Harbour <at> dusk", 10).await;
    let shop = Shop::open(pool).await;
    for path in [
        "/",
        "/categories/prints",
        "/search?q=harbour",
        &format!("/products/{product}"),
    ] {
        let page = shop.page(path).await;
        assert!(page.contains("Harbour &#60;at&#62; dusk"), "{path}");
        assert!(page.contains("€\u{a0}120.00"), "{path}");
        assert!(page.contains("Edition of 10"), "{path}");
    }
    assert!(shop.page("/search").await.contains("What are you looking for?"));
    assert!(
        shop.page("/search?q=%3Cscript%3E")
            .await
            .contains("Nothing by that name")
    );
    shop.close().await;
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn the_next_page_of_a_search_keeps_to_what_was_asked_for(pool: PgPool) {
    let mut prints = Vec::new();
    for number in 0..4 {
        prints.push(print(&pool, &format!("Harbour {number}"), 10).await);
    }
    let elsewhere = prints[1];
    sqlx::query("insert into categories (slug, name) values ('drawings', 'Drawings')")
        .execute(&pool)
        .await
        .expect("a category");
    sqlx::query("update products set category_slug = 'drawings' where id = $1")
        .bind(elsewhere)
        .execute(&pool)
        .await
        .expect("a print elsewhere");
    let shop = Shop::open(pool).await;
    let mut seen = Vec::new();
    let mut path = Some("/search?q=harbour&category=prints&limit=1".to_owned());
    while let Some(at) = path {
        let page = shop.page(&at).await;
        let shown = prints.iter().filter(|id| page.contains(&format!("\"/products/{id}\"")));
        seen.push(shown.copied().collect::<Vec<_>>());
        path = page.split_once("\" rel=\"next\"").map(|(before, _)| {
            let (_, address) = before.rsplit_once("href=\"").expect("a link has an address");
            address.replace("&#38;", "&")
        });
    }
    assert_eq!(seen, [[prints[0]], [prints[2]], [prints[3]]]);
    shop.close().await;
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn a_page_that_has_not_changed_is_not_sent_again(pool: PgPool) {
    let product = print(&pool, "Harbour", 10).await;
    let shop = Shop::open(pool).await;
    let path = format!("/products/{product}");
    let first = shop.get(&path).await;
    assert_eq!(first.headers()["cache-control"], "private, no-cache");
    assert!(first.headers().contains_key("server-timing"));
    let etag = first.headers()["etag"].clone();
    let again = shop
        .server
        .client
        .get(shop.server.url(&path))
        .header("if-none-match", etag)
        .send()
        .await
        .expect("an answer");
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    shop.close().await;
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn programs_read_the_catalogue_page_by_page(pool: PgPool) {
    for number in 0..5 {
        print(&pool, &format!("Harbour {number}"), 10).await;
    }
    let shop = Shop::open(pool).await;
    for start in [
        "/api/products?limit=2",
        "/api/products?limit=2&category=prints",
        "/api/products?limit=2&q=harbour",
    ] {
        let mut seen = Vec::new();
        let mut path = start.to_owned();
        loop {
            let list = shop.json(&path).await;
            for product in list["products"].as_array().expect("products") {
                assert_eq!(product["available"], 10);
                assert_eq!(product["photo"], Value::Null);
                seen.push(product["id"].as_i64().expect("an id"));
            }
            match list["next_cursor"].as_str() {
                Some(cursor) => path = format!("{start}&cursor={cursor}"),
                None => break,
            }
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 5, "{start}");
    }
    let one = shop.json("/api/products/1").await;
    assert_eq!(one["description"], "Waves at dusk.");
    assert_eq!(one["price_cents"], 12_000);
    let stock = shop.json("/api/products/1/stock").await;
    assert_eq!(stock, json!({"product_id": 1, "available": 10, "edition_size": 10}));
    shop.close().await;
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn nonsense_is_answered_with_a_problem_that_has_a_request_id(pool: PgPool) {
    print(&pool, "Harbour", 10).await;
    let shop = Shop::open(pool).await;
    for (path, status) in [
        ("/products/0", 404),
        ("/products/-7", 404),
        ("/products/abc", 404),
        ("/products/99999999999999999999", 404),
        ("/products/9223372036854775807", 404),
        ("/api/products/77", 404),
        ("/api/products/77/stock", 404),
        ("/api/products?cursor=x", 400),
        ("/api/products?cursor=r-3f800000-1", 400),
        ("/api/products?limit=many", 400),
        ("/api/products?category=No%20Such", 404),
        ("/categories/nowhere", 404),
        ("/categories/..%2fadmin", 404),
        ("/api/photos/77", 404),
        ("/photos/1/1/w320.webp", 404),
        ("/photos/1/1/passwd", 404),
        ("/photos/1/0/w320.webp", 404),
        ("/no/such/route", 404),
        ("/internal/products?ids=1", 401),
        ("/admin/products", 401),
    ] {
        let response = shop.get(path).await;
        assert_eq!(response.status().as_u16(), status, "{path}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{path}");
        let problem: Value = response.json().await.expect("a problem");
        assert!(problem["request_id"].is_string(), "{path}");
        assert_eq!(problem["status"], status, "{path}");
    }
    let long = shop.get(&format!("/search?q={}", "x".repeat(201))).await.status();
    assert_eq!(long, StatusCode::BAD_REQUEST);
    let odd = shop.get("/search?q=%00%22%27%3B--").await.status();
    assert_eq!(odd, StatusCode::OK);
    shop.close().await;
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn an_order_reserves_and_sells_through_the_internal_api(pool: PgPool) {
    let product = print(&pool, "Harbour", 3).await;
    let shop = Shop::open(pool).await;
    let lines = |quantity: i32| Some(json!({"lines": [{"product_id": product, "quantity": quantity}]}));
    let page = format!("/products/{product}");
    assert!(shop.page(&page).await.contains("Add to cart"));

    for _ in 0..2 {
        let (status, body) = shop.internal(Method::PUT, "/internal/reservations/11", lines(3)).await;
        assert_eq!((status, &body["state"]), (StatusCode::OK, &json!("reserved")));
    }
    // The last copy is gone, and the very next visitor is told so.
    assert!(shop.page(&page).await.contains("Sold out"));
    let (status, problem) = shop.internal(Method::PUT, "/internal/reservations/12", lines(1)).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(problem["type"], "/problems/sold-out");
    assert_eq!(problem["lines"], json!([{"product_id": product, "available": 0}]));

    let (status, body) = shop
        .internal(Method::POST, "/internal/reservations/12/release", None)
        .await;
    assert_eq!((status, &body["state"]), (StatusCode::OK, &json!("released")));
    let (status, problem) = shop.internal(Method::PUT, "/internal/reservations/12", lines(1)).await;
    assert_eq!(
        (status, &problem["type"]),
        (StatusCode::CONFLICT, &json!("/problems/released"))
    );
    let (status, problem) = shop
        .internal(Method::POST, "/internal/reservations/12/sell", None)
        .await;
    assert_eq!(
        (status, &problem["type"]),
        (StatusCode::CONFLICT, &json!("/problems/not-reserved"))
    );

    for _ in 0..2 {
        let (status, body) = shop
            .internal(Method::POST, "/internal/reservations/11/sell", None)
            .await;
        assert_eq!((status, &body["state"]), (StatusCode::OK, &json!("sold")));
    }
    let (status, problem) = shop
        .internal(Method::POST, "/internal/reservations/11/release", None)
        .await;
    assert_eq!(
        (status, &problem["type"]),
        (StatusCode::CONFLICT, &json!("/problems/already-sold"))
    );
    assert_eq!(counts(&shop.pool, product).await, (0, 0, 3));

    let (status, known) = shop
        .internal(Method::GET, &format!("/internal/products?ids={product},999,x"), None)
        .await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(known["products"].as_array().map(Vec::len), Some(1));
    assert_eq!(known["products"][0]["currency"], "EUR");
    shop.close().await;
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn orders_that_make_no_sense_are_refused(pool: PgPool) {
    let product = print(&pool, "Harbour", 3).await;
    let shop = Shop::open(pool).await;
    for lines in [
        json!([]),
        json!([{"product_id": product, "quantity": 0}]),
        json!([{"product_id": product, "quantity": -1}]),
        json!([{"product_id": product, "quantity": 1}, {"product_id": product, "quantity": 1}]),
        json!([{"product_id": "x", "quantity": 1}]),
        json!("x"),
    ] {
        let body = Some(json!({ "lines": lines }));
        let (status, problem) = shop.internal(Method::PUT, "/internal/reservations/11", body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{lines}");
        assert!(problem["request_id"].is_string());
    }
    let bad_json = shop
        .server
        .client
        .put(shop.server.url("/internal/reservations/11"))
        .bearer_auth(crate::shop::TOKEN)
        .header("content-type", "application/json")
        .body("{")
        .send()
        .await
        .expect("an answer");
    assert_eq!(bad_json.status(), StatusCode::BAD_REQUEST);
    let without_token = shop
        .server
        .client
        .put(shop.server.url("/internal/reservations/11"))
        .json(&json!({"lines": [{"product_id": product, "quantity": 1}]}))
        .send()
        .await
        .expect("an answer");
    assert_eq!(without_token.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(counts(&shop.pool, product).await, (3, 0, 0));
    shop.close().await;
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn the_shopkeeper_edits_and_sees_it_at_once(pool: PgPool) {
    let product = print(&pool, "Harbour", 3).await;
    let shop = Shop::open(pool).await;
    let path = format!("/products/{product}");
    let admin = format!("/admin/products/{product}");
    assert!(shop.page(&path).await.contains("Harbour"));

    let edit = shop
        .post(&admin, Some(&shop.shopkeeper))
        .form(&[("title", "Quay"), ("price", "99,50")]);
    let edited = edit.send().await.expect("an answer");
    assert_eq!(edited.status(), StatusCode::SEE_OTHER);
    assert!(edited.headers().contains_key("set-cookie"));
    let page = shop.page(&path).await;
    assert!(page.contains("Quay") && page.contains("99.50"));

    let more = shop
        .post(&format!("{admin}/stock"), Some(&shop.shopkeeper))
        .form(&[("copies", "7")]);
    assert_eq!(more.send().await.expect("an answer").status(), StatusCode::SEE_OTHER);
    let stock = shop.json(&format!("/api/products/{product}/stock")).await;
    assert_eq!(stock["available"], 10);
    let late = shop
        .post(&format!("{admin}/stock"), Some(&shop.shopkeeper))
        .form(&[("copies", "7"), ("initial", "3")]);
    assert_eq!(late.send().await.expect("an answer").status(), StatusCode::CONFLICT);
    let stock = shop.json(&format!("/api/products/{product}/stock")).await;
    assert_eq!(stock["available"], 10, "the form was from before");

    for path in ["/admin/products", &admin] {
        let page = shop
            .server
            .client
            .get(shop.server.url(path))
            .header("cookie", &shop.shopkeeper)
            .send()
            .await
            .expect("an answer");
        assert_eq!(page.status(), StatusCode::OK);
        assert!(page.text().await.expect("a page").contains("Quay"));
    }
    shop.close().await;
}

#[sqlx::test(migrations = "../../migrations/inventory")]
async fn nobody_else_edits_and_nonsense_is_refused(pool: PgPool) {
    let product = print(&pool, "Harbour", 3).await;
    let shop = Shop::open(pool).await;
    let admin = format!("/admin/products/{product}");
    let good = [("title", "Quay"), ("price", "1")];
    let send = async |request: reqwest::RequestBuilder| request.send().await.expect("an answer").status();

    assert_eq!(
        send(shop.post(&admin, None).form(&good)).await,
        StatusCode::UNAUTHORIZED
    );
    let browser = shop.post(&admin, None).form(&good).header("accept", "text/html");
    assert_eq!(send(browser).await, StatusCode::SEE_OTHER);
    assert_eq!(
        send(shop.post(&admin, Some(&shop.customer)).form(&good)).await,
        StatusCode::FORBIDDEN
    );
    let forged = shop
        .post(&admin, Some(&shop.shopkeeper))
        .form(&good)
        .header("sec-fetch-site", "cross-site");
    assert_eq!(send(forged).await, StatusCode::FORBIDDEN);

    for (title, price) in [("", "1"), ("Quay", "0"), ("Quay", "cheap"), ("Quay", "-3")] {
        let form = [("title", title), ("price", price)];
        let status = send(shop.post(&admin, Some(&shop.shopkeeper)).form(&form)).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{title} {price}");
    }
    for (copies, status) in [("0", 422), ("9999999999", 422), ("-4", 409), ("many", 400)] {
        let form = [("copies", copies)];
        let request = shop.post(&format!("{admin}/stock"), Some(&shop.shopkeeper)).form(&form);
        assert_eq!(send(request).await.as_u16(), status, "{copies}");
    }
    let unknown = shop.post("/admin/products/999", Some(&shop.shopkeeper)).form(&good);
    assert_eq!(send(unknown).await, StatusCode::NOT_FOUND);
    assert!(shop.page(&format!("/products/{product}")).await.contains("Harbour"));
    shop.close().await;
}
