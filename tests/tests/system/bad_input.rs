//! What is wrong gets a clear answer with a request id, and never a 500.

use anyhow::{Context, Result, ensure};
use reqwest::{Method, RequestBuilder, header};
use serde_json::Value;
use system_tests::{
    customer::{CARD_PAYS, Customer, PASSWORD},
    stack::Stack,
};

/// Sends a request that must be refused with this status and as problem details.
async fn refused(request: RequestBuilder, status: u16) -> Result<Value> {
    let what = format!("{request:?}");
    let response = request.header(header::ACCEPT, "application/json").send().await?;
    let (seen, headers, text) = (
        response.status().as_u16(),
        response.headers().clone(),
        response.text().await?,
    );
    ensure!(seen == status, "{seen} instead of {status} for {what}: {text:.300}");
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    ensure!(
        kind.starts_with("application/problem+json"),
        "{kind} for {what}: {text:.300}"
    );
    ensure!(headers.contains_key("x-request-id"), "no request id for {what}");
    let problem: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
    ensure!(problem["status"] == status && problem["title"].is_string(), "{problem}");
    Ok(problem)
}

#[tokio::test]
async fn unknown_things_are_404() -> Result<()> {
    let stack = Stack::from_env()?;
    let customer = Customer::registered(&stack.shop).await?;
    for path in [
        "/nothing/here",
        "/api/products/not-a-number",
        "/api/products/999999999",
        "/api/orders/999999999",
        "/api/users/4096",
        "/internal/products",
    ] {
        refused(customer.http.get(customer.url(path)), 404).await?;
    }
    let page = customer
        .http
        .get(customer.url("/nothing/here"))
        .header(header::ACCEPT, "text/html")
        .send()
        .await?;
    ensure!(page.status() == 404);
    ensure!(
        page.headers()[header::CONTENT_TYPE].to_str()?.starts_with("text/html"),
        "a browser gets a page"
    );
    Ok(())
}

#[tokio::test]
async fn malformed_requests_are_refused_by_name() -> Result<()> {
    let stack = Stack::from_env()?;
    let customer = Customer::registered(&stack.shop).await?;
    let url = |path: &str| customer.url(path);
    refused(customer.http.get(url("/api/products?cursor=%00broken")), 400).await?;
    let json = |method: Method, path: &str, body: &'static str| {
        customer
            .http
            .request(method, url(path))
            .header(header::CONTENT_TYPE, "application/json")
            .body(body)
    };
    refused(json(Method::POST, "/api/users", "{not json"), 400).await?;
    refused(
        json(
            Method::POST,
            "/api/users",
            r#"{"email":"no-at-sign","name":"x","password":"long enough"}"#,
        ),
        422,
    )
    .await?;
    refused(json(Method::PUT, "/api/cart/items/1", r#"{"quantity":-1}"#), 422).await?;
    refused(json(Method::PUT, "/api/cart/items/1", r#"{"quantity":100000}"#), 422).await?;
    refused(
        json(Method::POST, "/api/orders", "{}").header("idempotency-key", "k"),
        422,
    )
    .await?;
    let without_type = customer.http.post(url("/api/sessions")).body("email=x");
    refused(without_type, 415).await?;
    Ok(())
}

#[tokio::test]
async fn an_order_without_a_key_is_refused() -> Result<()> {
    let stack = Stack::from_env()?;
    let customer = Customer::registered(&stack.shop).await?;
    let body = serde_json::json!({ "card": { "number": CARD_PAYS, "expiry": "12/40", "cvc": "123" },
        "address": { "name": "A", "street": "B 1", "postcode": "1", "city": "C", "country": "NL" } });
    refused(customer.http.post(customer.url("/api/orders")).json(&body), 400).await?;
    let empty = customer
        .http
        .post(customer.url("/api/orders"))
        .header("Idempotency-Key", "empty-cart")
        .json(&body);
    refused(empty, 409).await?;
    Ok(())
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() -> Result<()> {
    let stack = Stack::from_env()?;
    let customer = Customer::registered(&stack.shop).await?;
    let body = format!(r#"{{"email":"{}"}}"#, "x".repeat(3 << 20));
    let request = customer
        .http
        .post(customer.url("/api/users"))
        .header(header::CONTENT_TYPE, "application/json");
    refused(request.body(body), 413).await?;
    Ok(())
}

#[tokio::test]
async fn who_is_not_logged_in_or_wrong_is_told_so() -> Result<()> {
    let stack = Stack::from_env()?;
    let customer = Customer::registered(&stack.shop).await?;
    let wrong = serde_json::json!({ "email": customer.email, "password": "not the password" });
    refused(customer.http.post(customer.url("/api/sessions")).json(&wrong), 401).await?;
    let guest = Customer::guest(&stack.shop);
    refused(guest.http.get(guest.url("/api/orders")), 401).await?;
    let forged = guest
        .http
        .get(guest.url("/api/orders"))
        .header(header::COOKIE, "zillion_session=forged");
    refused(forged, 401).await?;
    customer.log_in(PASSWORD).await?;
    let logout = customer
        .http
        .delete(customer.url("/api/sessions/current"))
        .send()
        .await?;
    ensure!(logout.status() == 204, "{}", logout.status());
    refused(customer.http.get(customer.url("/api/orders")), 401).await?;
    Ok(())
}

#[tokio::test]
async fn a_form_from_another_site_is_refused() -> Result<()> {
    let stack = Stack::from_env()?;
    let customer = Customer::registered(&stack.shop).await?;
    let put = || {
        customer
            .http
            .put(customer.url("/api/cart/items/4"))
            .json(&serde_json::json!({ "quantity": 1 }))
    };
    refused(put().header("Sec-Fetch-Site", "cross-site"), 403).await?;
    refused(put().header("Origin", "https://evil.example"), 403).await?;
    let login = customer
        .http
        .post(customer.url("/login"))
        .header("Sec-Fetch-Site", "cross-site");
    refused(login.form(&[("email", "a@b.example"), ("password", "x")]), 403).await?;
    Ok(())
}
