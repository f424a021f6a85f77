//! One customer over the JSON API, with a cookie jar of their own.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

/// Pays at once.
pub const CARD_PAYS: &str = "4242424242424242";
/// Is refused by the bank.
pub const CARD_DECLINES: &str = "4000000000000002";
/// The gateway answers after some seconds.
pub const CARD_ANSWERS_LATE: &str = "4000000000000259";

/// The password of every customer that tests register.
pub const PASSWORD: &str = "correct horse battery";

/// A browser-less customer.
#[derive(Clone, Debug)]
pub struct Customer {
    pub http: reqwest::Client,
    pub shop: String,
    pub email: String,
}

/// How the shop answered a checkout.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The order is confirmed; the customer has been told so.
    Confirmed(i64),
    /// Accepted, still going.
    Pending,
    SoldOut,
    Declined,
    /// The order with this key was cancelled for another reason.
    Cancelled(String),
    /// 503: nothing happened, or it will be found out by asking again with the same key.
    Shed,
    /// No answer arrived.
    Lost(String),
    /// Anything that should not happen.
    Unexpected(u16, String),
}

impl Customer {
    /// A customer with an empty cookie jar, who is nobody yet.
    pub fn guest(shop: &str) -> Self {
        let http = reqwest::Client::builder()
            .cookie_store(true)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(2))
            .timeout(Duration::from_secs(15))
            .build()
            .expect("a plain HTTP client can always be built");
        Self {
            http,
            shop: shop.to_owned(),
            email: format!("{}@customers.example", Uuid::new_v4().simple()),
        }
    }

    /// Registers an account, which logs in; asks again while the shop is catching its breath.
    pub async fn registered(shop: &str) -> Result<Self> {
        let customer = Self::guest(shop);
        let body = json!({ "email": customer.email, "name": "System Test", "password": PASSWORD });
        let mut failure = String::new();
        for _ in 0..30 {
            let response = customer.http.post(customer.url("/api/users")).json(&body).send().await;
            match response {
                Ok(response) if response.status() == StatusCode::CREATED => return Ok(customer),
                Ok(response) if response.status() == StatusCode::CONFLICT => {
                    customer.log_in(PASSWORD).await?;
                    return Ok(customer);
                }
                Ok(response) if response.status() == StatusCode::SERVICE_UNAVAILABLE => {
                    failure = response.text().await?;
                }
                Ok(response) => anyhow::bail!("registering: {} {}", response.status(), response.text().await?),
                Err(error) => failure = error.to_string(),
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        anyhow::bail!("could not register {} in 30 tries: {failure}", customer.email)
    }

    /// The full URL of a path in the shop.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.shop)
    }

    /// Logs in with the customer's e-mail.
    pub async fn log_in(&self, password: &str) -> Result<()> {
        let body = json!({ "email": self.email, "password": password });
        let response = self.http.post(self.url("/api/sessions")).json(&body).send().await?;
        ensure!(
            response.status() == StatusCode::CREATED,
            "login: {} {}",
            response.status(),
            response.text().await?
        );
        Ok(())
    }

    /// Gets JSON from a path that must answer 200.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let response = self.http.get(self.url(path)).send().await?;
        let status = response.status();
        let text = response.text().await?;
        ensure!(status == StatusCode::OK, "GET {path}: {status} {text}");
        serde_json::from_str(&text).with_context(|| format!("GET {path}: {text}"))
    }

    /// Sets the quantity of a product in the cart.
    pub async fn put_in_cart(&self, product: i64, quantity: u32) -> Result<()> {
        let url = self.url(&format!("/api/cart/items/{product}"));
        let response = self.http.put(url).json(&json!({ "quantity": quantity })).send().await?;
        ensure!(
            response.status().is_success(),
            "cart: {} {}",
            response.status(),
            response.text().await?
        );
        Ok(())
    }

    /// Checks the cart out once and says how that went.
    pub async fn order(&self, key: &str, card: &str) -> Answer {
        let body = json!({
            "card": { "number": card, "expiry": "12/40", "cvc": "123" },
            "address": {
                "name": "System Test", "street": "Museumstraat 1", "postcode": "1071 XX",
                "city": "Amsterdam", "country": "NL"
            }
        });
        let sent = self
            .http
            .post(self.url("/api/orders"))
            .header("Idempotency-Key", key)
            .json(&body)
            .send()
            .await;
        let response = match sent {
            Ok(response) => response,
            Err(error) => return Answer::Lost(error.to_string()),
        };
        let status = response.status();
        let text = match response.text().await {
            Ok(text) => text,
            Err(error) => return Answer::Lost(error.to_string()),
        };
        let body: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        let problem = body["type"]
            .as_str()
            .unwrap_or_default()
            .rsplit('/')
            .next()
            .unwrap_or_default();
        match (status.as_u16(), problem) {
            (200 | 201, _) => match body["id"].as_i64() {
                Some(id) if body["state"] == "confirmed" => Answer::Confirmed(id),
                _ => Answer::Unexpected(status.as_u16(), text),
            },
            (202, _) => Answer::Pending,
            (409, "sold-out") => Answer::SoldOut,
            (409, "card-declined") => Answer::Declined,
            (409, "order-cancelled") => Answer::Cancelled(text),
            (502..=504, _) => Answer::Shed,
            _ => Answer::Unexpected(status.as_u16(), text),
        }
    }

    /// Checks out and asks again with the same key until there is a final answer.
    pub async fn order_until_answered(&self, key: &str, card: &str, deadline: Duration) -> Answer {
        let started = std::time::Instant::now();
        loop {
            let answer = self.order(key, card).await;
            let is_final = !matches!(answer, Answer::Pending | Answer::Shed | Answer::Lost(_));
            if is_final || started.elapsed() > deadline {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }
}
