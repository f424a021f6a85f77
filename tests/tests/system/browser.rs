//! The shop as a person uses it: Debian's Chromium, clicks and forms, screenshots kept in `target/screenshots`.

use anyhow::{Context as _, Result, ensure};
use system_tests::{browser::Browser, customer::PASSWORD, stack::Stack};
use uuid::Uuid;

/// The button that sends the checkout.
pub(crate) const BUY: &str = "aside.sum button";

/// An open edition of the seed, so that it can always be bought.
pub(crate) async fn open_edition(stack: &Stack) -> Result<String> {
    stack
        .sql("inventory", "select min(id) from products where edition_size is null")
        .await
}

#[tokio::test]
async fn a_person_registers_buys_a_print_and_finds_the_order_again() -> Result<()> {
    let stack = Stack::from_env()?;
    let browser = Browser::open(1280, 900, false).await?;
    let outcome = register_and_buy(&stack, &browser).await;
    if outcome.is_err() {
        browser.screenshot("failed-register-and-buy").await?;
    }
    browser.close().await?;
    outcome
}

async fn register_and_buy(stack: &Stack, browser: &Browser) -> Result<()> {
    let window = &browser.window;
    let product = open_edition(stack).await?;

    let title = fill_cart(stack, browser, &product).await?;
    let email = register_to_check_out(browser).await?;
    fill_checkout(browser).await?;
    browser.screenshot("checkout").await?;
    browser.find(BUY).await?.click().await?;

    browser.find("[data-order-state=confirmed]").await?;
    browser.screenshot("order").await?;
    let order = window.current_url().await?.to_string();
    ensure!(
        browser.find("main").await?.text().await?.contains(&title),
        "the order does not name {title}"
    );

    // The order is in the history.
    window.goto(format!("{}/orders", stack.shop)).await?;
    let history = browser.find("main").await?.inner_html().await?;
    let path = order.trim_start_matches(&stack.shop).to_owned();
    ensure!(history.contains(&path), "{path} is not in the history");

    // Out, and in again.
    window.goto(format!("{}/account", stack.shop)).await?;
    browser.find("form[action='/logout'] button").await?.click().await?;
    // A click may return before its form is on its way, and leaving the page then would call it back.
    browser.wait_for_path("/").await?;
    window.goto(order.clone()).await?;
    fill(browser, "#email", &email).await?;
    fill(browser, "#password", PASSWORD).await?;
    browser.screenshot("login").await?;
    browser.find("main form button").await?.click().await?;
    browser.find("[data-order-state=confirmed]").await?;
    Ok(())
}

/// A guest puts a print into the cart. Gives its title.
pub(crate) async fn fill_cart(stack: &Stack, browser: &Browser, product: &str) -> Result<String> {
    browser
        .window
        .goto(format!("{}/products/{product}", stack.shop))
        .await?;
    let title = browser.find(".show-label h1").await?.text().await?;
    browser.find("form.buy button").await?.click().await?;
    browser.find("ul.lines li").await?;
    browser.screenshot("cart").await?;
    Ok(title)
}

/// Checking out asks who it is; the cart comes along. Gives the new account's e-mail.
pub(crate) async fn register_to_check_out(browser: &Browser) -> Result<String> {
    browser.find("aside.sum a.button").await?.click().await?;
    browser.find("main a[href^='/register']").await?.click().await?;
    let email = format!("{}@browsers.example", Uuid::new_v4().simple());
    browser.find("#name").await?.send_keys("Ada Browser").await?;
    browser.find("#email").await?.send_keys(&email).await?;
    browser.find("#password").await?.send_keys(PASSWORD).await?;
    browser.screenshot("register").await?;
    browser.find("main form button").await?.click().await?;
    Ok(email)
}

/// Says where the print goes and how it is paid.
pub(crate) async fn fill_checkout(browser: &Browser) -> Result<()> {
    let address = [
        ("recipient", "Ada Browser"),
        ("street", "Museumstraat 1"),
        ("postcode", "1071 XX"),
        ("city", "Amsterdam"),
    ];
    for (field, value) in address {
        fill(browser, &format!("[name={field}]"), value).await?;
    }
    browser.find("[name=country]").await?.send_keys("NL").await?;
    for (field, value) in [
        ("card_number", "4242 4242 4242 4242"),
        ("card_expiry", "12/40"),
        ("card_cvc", "123"),
    ] {
        fill(browser, &format!("[name={field}]"), value).await?;
    }
    Ok(())
}

async fn fill(browser: &Browser, css: &str, value: &str) -> Result<()> {
    let field = browser.find(css).await?;
    field.clear().await?;
    field.send_keys(value).await?;
    Ok(())
}

#[tokio::test]
async fn the_anatomy_strip_names_who_answered() -> Result<()> {
    let stack = Stack::from_env()?;
    let browser = Browser::open(1280, 900, false).await?;
    browser.window.goto(format!("{}/products/1", stack.shop)).await?;
    let strip = browser.find("#anatomy").await?.text().await?;
    browser.screenshot("anatomy").await?;
    browser.close().await?;
    for process in ["balancer-", "inventory-"] {
        ensure!(strip.contains(process), "{process} is not in {strip:?}");
    }
    Ok(())
}

#[tokio::test]
async fn pages_fit_every_screen_in_light_and_in_dark() -> Result<()> {
    let stack = Stack::from_env()?;
    for (name, dark) in [("light", false), ("dark", true)] {
        for width in [360, 768, 1440] {
            let browser = Browser::open(width, 900, dark).await?;
            for (page, path) in [
                ("home", "/"),
                ("product", "/products/1"),
                ("cart", "/cart"),
                ("login", "/login"),
            ] {
                browser.window.goto(format!("{}{path}", stack.shop)).await?;
                browser.find("main").await?;
                browser.wait_for_pictures().await?;
                let script = "return document.documentElement.scrollWidth - innerWidth";
                let overflow = browser
                    .window
                    .execute(script, vec![])
                    .await?
                    .json()
                    .as_i64()
                    .context("the page's width is no number")?;
                browser.screenshot(&format!("{page}-{width}-{name}")).await?;
                ensure!(overflow <= 0, "{path} is {overflow} px too wide for {width} px");
            }
            browser.close().await?;
        }
    }
    Ok(())
}
