//! The pages, without JavaScript: forms and redirects.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use shop_session::Role;
use shop_testkit::TestServer;

use crate::shop::{Customer, DECLINED, PAYS, Setup, Shop, new_key};

async fn page(customer: &Customer, path: &str) -> String {
    let response = customer
        .request(Method::GET, path)
        .header("accept", "text/html")
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    response.text().await.expect("a page")
}

fn hidden(page: &str, name: &str) -> String {
    let (_, rest) = page
        .split_once(&format!("name=\"{name}\" value=\""))
        .expect("the field");
    rest.split_once('"').expect("its value").0.to_owned()
}

fn checkout_form<'a>(key: &'a str, card: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("idempotency_key", key),
        ("recipient", "Ada"),
        ("street", "Main 1"),
        ("postcode", "1010"),
        ("city", "Vienna"),
        ("country", "Austria"),
        ("card_number", card),
        ("card_expiry", "12/40"),
        ("card_cvc", "123"),
    ]
}

#[tokio::test]
async fn a_customer_buys_with_forms_alone() {
    let shop = Shop::open(Setup::default()).await;
    let product_id = shop.print(10).await;
    let customer = shop.customer().await;
    let form = [("product_id", product_id.to_string()), ("quantity", "2".to_owned())];
    let put = customer
        .request(Method::POST, "/cart")
        .form(&form)
        .send()
        .await
        .expect("an answer");
    assert_eq!(put.status(), StatusCode::SEE_OTHER);
    assert_eq!(put.headers()["location"], "/cart");
    let cart = page(&customer, "/cart").await;
    assert!(
        cart.contains("Harbour &#60;at&#62; dusk") && cart.contains("€\u{a0}240.00"),
        "{cart}"
    );

    let gone = shop.print(10).await;
    for form in [
        vec![("product_id", gone.to_string()), ("quantity", "1".to_owned())],
        vec![
            ("product_id", gone.to_string()),
            ("quantity", "1".to_owned()),
            ("remove", "1".to_owned()),
        ],
    ] {
        let sent = customer
            .request(Method::POST, "/cart")
            .form(&form)
            .send()
            .await
            .expect("an answer");
        assert_eq!(sent.status(), StatusCode::SEE_OTHER);
    }
    assert_eq!(customer.json("/api/me").await["cart_count"], 2);

    let checkout = page(&customer, "/checkout").await;
    let key = hidden(&checkout, "idempotency_key");
    let send = async |key: &str, card: &str| {
        let request = customer
            .request(Method::POST, "/checkout")
            .header("accept", "text/html");
        request.form(&checkout_form(key, card)).send().await.expect("an answer")
    };
    let typo = send(&key, "4242").await;
    assert_eq!(typo.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let typo = typo.text().await.expect("a page");
    assert!(typo.contains("12 to 19 digits") && typo.contains("Main 1"), "{typo}");
    assert_eq!(
        hidden(&typo, "idempotency_key"),
        key,
        "nothing was ordered yet, so the key stays"
    );

    let declined = send(&key, DECLINED).await;
    assert_eq!(declined.status(), StatusCode::CONFLICT);
    let declined = declined.text().await.expect("a page");
    assert!(declined.contains("declined"), "{declined}");
    let next_key = hidden(&declined, "idempotency_key");
    assert_ne!(next_key, key, "a cancelled order needs a new key");

    let bought = send(&next_key, PAYS).await;
    assert_eq!(bought.status(), StatusCode::SEE_OTHER);
    let order = bought.headers()["location"].to_str().expect("a path").to_owned();
    assert!(page(&customer, &order).await.contains("It is yours"));
    let orders = page(&customer, "/orders").await;
    assert!(orders.contains("Confirmed") && orders.contains("Cancelled"), "{orders}");
    assert!(
        page(&customer, "/account").await.contains("Vienna"),
        "the address is remembered"
    );
    shop.close().await;
}

#[tokio::test]
async fn who_tries_again_without_knowing_the_outcome_does_so_under_the_same_key() {
    let shop = Shop::open(Setup::default()).await;
    let customer = shop.customer().await;
    customer.put_in_cart(shop.print(10).await, 1).await;
    let key = new_key();
    let again = format!("/checkout?key={key}");
    assert_eq!(hidden(&page(&customer, &again).await, "idempotency_key"), key);
    let of_another_kind = page(&customer, "/checkout?key=%22%3E").await;
    assert_ne!(hidden(&of_another_kind, "idempotency_key"), "\">");

    let (status, order) = customer.buy(&key, PAYS).await;
    assert_eq!(status, StatusCode::CREATED, "{order}");
    // Something new in the cart makes no second order of what was bought.
    customer.put_in_cart(shop.print(10).await, 1).await;
    let response = customer.get(&again).await;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert_eq!(
        response.headers()["location"],
        format!("/orders/{}", order["id"]).as_str()
    );
    shop.close().await;
}

#[tokio::test]
async fn a_guest_is_asked_to_log_in_and_comes_back() {
    let shop = Shop::open(Setup {
        background: false,
        ..Setup::default()
    })
    .await;
    let browser = &shop.server.client;
    let get = async |path: &str| {
        browser
            .get(shop.server.url(path))
            .header("accept", "text/html")
            .send()
            .await
            .expect("an answer")
    };
    let refused = get("/checkout").await;
    assert_eq!(refused.status(), StatusCode::SEE_OTHER);
    assert_eq!(refused.headers()["location"], "/login?next=%2Fcheckout");
    assert_eq!(
        hidden(
            &get("/login?next=%2Fcheckout").await.text().await.expect("a page"),
            "next"
        ),
        "/checkout"
    );
    let register = [
        ("email", "ada@example.org"),
        ("name", "Ada"),
        ("password", "short"),
        ("next", "/orders"),
    ];
    let post = async |form: &[(&str, &str)]| {
        browser
            .post(shop.server.url("/register"))
            .header("accept", "text/html")
            .form(form)
            .send()
            .await
            .expect("an answer")
    };
    let refused = post(&register).await;
    assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        refused
            .text()
            .await
            .expect("a page")
            .contains("needs at least 8 characters")
    );
    let register = [
        ("email", "ada@example.org"),
        ("name", "Ada"),
        ("password", "correct horse"),
        ("next", "/orders"),
    ];
    let registered = post(&register).await;
    assert_eq!(registered.status(), StatusCode::SEE_OTHER);
    assert_eq!(registered.headers()["location"], "/orders");
    assert!(
        get("/orders")
            .await
            .text()
            .await
            .expect("a page")
            .contains("No orders yet")
    );
    assert!(
        get("/cart")
            .await
            .text()
            .await
            .expect("a page")
            .contains("Your cart is empty")
    );
    // A form that is sent again is the same registration, unless it is another person's.
    assert_eq!(post(&register).await.status(), StatusCode::SEE_OTHER);
    let mut other = register;
    other[2].1 = "another horse";
    let taken = post(&other).await;
    assert_eq!(taken.status(), StatusCode::CONFLICT);
    shop.close().await;
}

#[tokio::test]
async fn the_account_is_changed_and_nonsense_is_not_kept() {
    let shop = Shop::open(Setup {
        background: false,
        ..Setup::default()
    })
    .await;
    let browser = &shop.server.client;
    let show = async |path: &str| -> Value {
        let answer = browser.get(shop.server.url(path)).send().await;
        answer.expect("an answer").json().await.expect("JSON")
    };
    let register = [
        ("email", "ada@example.org"),
        ("name", "Ada"),
        ("password", "correct horse"),
    ];
    let registered = browser
        .post(shop.server.url("/register"))
        .form(&register)
        .send()
        .await
        .expect("an answer");
    assert_eq!(registered.status(), StatusCode::SEE_OTHER);
    let send = async |name: &str, photo_id: &str| {
        let form = [("name", name), ("photo_id", photo_id), ("street", "")];
        let sent = browser.post(shop.server.url("/account")).form(&form).send().await;
        sent.expect("an answer").status()
    };
    assert_eq!(send("Ada Vale", "77").await, StatusCode::SEE_OTHER);
    assert_eq!(send("", "").await, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(send("Ada", "x").await, StatusCode::UNPROCESSABLE_ENTITY);
    let me = show("/api/me").await;
    assert_eq!(me["user"]["name"], "Ada Vale", "the session knows the new name");
    let account = show(&format!("/api/users/{}", me["user"]["id"])).await;
    assert_eq!(
        (&account["name"], &account["photo_id"]),
        (&json!("Ada Vale"), &json!(77))
    );
    assert_eq!(send("Ada Vale", "").await, StatusCode::SEE_OTHER);
    assert!(show(&format!("/api/users/{}", me["user"]["id"])).await["photo_id"].is_null());
    shop.close().await;
}

#[tokio::test]
async fn the_shopkeeper_sees_the_orders_of_all_clusters() {
    let shop = Shop::open(Setup {
        clusters: 2,
        ..Setup::default()
    })
    .await;
    let product_id = shop.print(10).await;
    let mut ids = Vec::new();
    for slot in [0, 1] {
        let customer = shop.customer_in(slot).await;
        customer.put_in_cart(product_id, 1).await;
        let (_, order) = customer.buy(&crate::shop::new_key(), PAYS).await;
        ids.push(order["id"].to_string());
    }
    let shopkeeper = shop.person(shop.account(2).await, Role::Shopkeeper).await;
    let orders = page(&shopkeeper, "/admin/orders").await;
    assert!(ids.iter().all(|id| orders.contains(id.as_str())), "{ids:?} in {orders}");
    shop.close().await;
}

#[tokio::test]
async fn forms_of_other_sites_are_refused() {
    let shop = Shop::open(Setup {
        background: false,
        ..Setup::default()
    })
    .await;
    let customer = shop.customer().await;
    for path in ["/cart", "/checkout", "/account", "/logout"] {
        let request = customer
            .request(Method::POST, path)
            .header("origin", "https://elsewhere.example");
        assert_eq!(
            request.form(&[("x", "y")]).send().await.expect("an answer").status(),
            StatusCode::FORBIDDEN,
            "{path}"
        );
    }
    let nobody = TestServer::new_client()
        .post(shop.server.url("/logout"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(
        nobody.status(),
        StatusCode::SEE_OTHER,
        "who has no session is logged out already"
    );
    shop.close().await;
}
