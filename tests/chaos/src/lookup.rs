//! Looking up everything that was acknowledged.

use std::{
    collections::BTreeMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::Result;
use futures::{StreamExt, stream};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::{
    customer::{Answer, CARD_PAYS, Customer, PASSWORD},
    ledger::{CartMemory, Ledger, Order, contradicting_orders},
    load::cart_lines,
};

/// So many are asked at once: on a small machine the shop shouldn't be swamped with questions.
const AT_ONCE: usize = 4;
/// The shop is whole when it is asked; this is for what is slow.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);
/// From acceptance to a processed photo, with a queue to work off.
const PHOTO_DEADLINE: Duration = Duration::from_secs(180);
/// For all that was acknowledged: a shop that has to be asked for longer is broken.
const EVERYTHING_DEADLINE: Duration = Duration::from_secs(900);
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// What of the ledger was looked up, and what contradicts it.
#[derive(Debug, Default)]
pub struct Found {
    pub looked_up: usize,
    /// Acknowledged, and gone or another now.
    pub lost: Vec<String>,
    /// Photos that ended as failed, and are shown so.
    pub photos_failed: usize,
}

impl Found {
    fn of(answers: Vec<Vec<String>>) -> Self {
        Self {
            looked_up: answers.len(),
            lost: answers.into_iter().flatten().collect(),
            photos_failed: 0,
        }
    }

    fn add(&mut self, other: Self) {
        self.looked_up += other.looked_up;
        self.lost.extend(other.lost);
        self.photos_failed += other.photos_failed;
    }
}

/// Looks up the orders that were confirmed, from the `from`th of the ledger on. For a look between two faults.
pub async fn confirmed_orders(ledger: &Mutex<Ledger>, from: usize) -> Found {
    let orders: Vec<Order> = ledger.lock().expect("no holder panics").orders[from..].to_vec();
    let questions = orders.into_iter().filter_map(|order| match order.answer {
        Answer::Confirmed(id) => Some(still_confirmed(order.customer, id)),
        _ => None,
    });
    Found::of(all(questions).await)
}

/// Asks whether these are still logged in. For a look between two faults.
pub async fn sessions(customers: Vec<Customer>) -> Found {
    Found::of(all(customers.into_iter().map(still_logged_in)).await)
}

/// Looks everything up, when nobody changes anything any more.
pub async fn everything(ledger: Ledger, shop: &str) -> Found {
    match timeout(EVERYTHING_DEADLINE, all_of(ledger, shop)).await {
        Ok(found) => found,
        Err(_) => Found {
            lost: vec![format!(
                "looking everything up took longer than {EVERYTHING_DEADLINE:?}"
            )],
            ..Found::default()
        },
    }
}

async fn all_of(ledger: Ledger, shop: &str) -> Found {
    let Ledger {
        accounts,
        mut orders,
        under_way,
        carts,
        sessions,
        photos,
        ..
    } = ledger;
    let mut found = Found::default();
    orders.extend(under_way.into_values());

    // Keys whose answers were in doubt are asked for again, so that from here on every key has a final answer.
    let (doubtful, mut settled): (Vec<Order>, Vec<Order>) = orders.into_iter().partition(|order| match order.answer {
        Answer::Confirmed(_) => order.was_in_doubt,
        Answer::Pending | Answer::Shed | Answer::Lost(_) => true,
        _ => false,
    });
    let asked = all(doubtful.into_iter().map(ask_again)).await;
    for (order, contradictions) in asked {
        settled.push(order);
        found.lost.extend(contradictions);
    }
    let mut by_customer: BTreeMap<String, (Customer, Vec<(String, i64)>)> = BTreeMap::new();
    for order in settled {
        let (_, told) = by_customer
            .entry(order.customer.email.clone())
            .or_insert_with(|| (order.customer.clone(), Vec::new()));
        if let Answer::Confirmed(id) = order.answer {
            found.looked_up += 1;
            told.push((order.key, id));
        }
    }
    let lists = by_customer
        .into_values()
        .map(|(customer, told)| compare_orders(customer, told));
    found.lost.extend(all(lists).await.into_iter().flatten());

    // Before the accounts are tried, which log in anew.
    let visitors = sessions
        .into_iter()
        .chain(carts.values().map(|(customer, _)| customer.clone()));
    found.add(Found::of(all(visitors.map(still_logged_in)).await));
    found.add(Found::of(all(carts.into_values().map(compare_cart)).await));

    let asked = all(photos.into_iter().map(|(customer, id)| photo_came_out(customer, id))).await;
    for outcome in asked {
        found.looked_up += 1;
        match outcome {
            Ok(true) => {}
            Ok(false) => found.photos_failed += 1,
            Err(lost) => found.lost.push(lost),
        }
    }

    let accounts = accounts.into_iter().map(|email| account_is_there(shop, email));
    found.add(Found::of(all(accounts).await));
    found
}

async fn all<F: Future>(questions: impl Iterator<Item = F>) -> Vec<F::Output> {
    stream::iter(questions).buffer_unordered(AT_ONCE).collect().await
}

/// Asks until there is an answer that is no failure of the shop's, or the deadline passes.
async fn ask(request: impl Fn() -> RequestBuilder) -> Result<(StatusCode, Vec<u8>), String> {
    let started = Instant::now();
    loop {
        let answer = async {
            let response = request().send().await?;
            Ok::<_, reqwest::Error>((response.status(), response.bytes().await?.to_vec()))
        };
        let last = match answer.await {
            Ok((status, body)) if !status.is_server_error() => return Ok((status, body)),
            Ok((status, _)) => status.to_string(),
            Err(error) => error.to_string(),
        };
        if started.elapsed() > ANSWER_DEADLINE {
            return Err(format!("no answer in {ANSWER_DEADLINE:?}, last {last}"));
        }
        sleep(ASK_AGAIN_AFTER).await;
    }
}

/// Asks for JSON, which has to be there.
async fn ask_json(customer: &Customer, path: &str) -> Result<Value, String> {
    match ask(|| customer.http.get(customer.url(path))).await? {
        (StatusCode::OK, body) => serde_json::from_slice(&body).map_err(|error| error.to_string()),
        (status, _) => Err(status.to_string()),
    }
}

async fn still_confirmed(customer: Customer, id: i64) -> Vec<String> {
    match ask_json(&customer, &format!("/api/orders/{id}")).await {
        Ok(order) if order["state"] == "confirmed" => Vec::new(),
        Ok(order) => vec![format!("order {id} was confirmed and is now {}", order["state"])],
        Err(seen) => vec![format!("order {id} was confirmed and is not found: {seen}")],
    }
}

/// Asks twice more with the key of an order: all final answers have to be the same.
async fn ask_again(mut order: Order) -> (Order, Vec<String>) {
    let first = order
        .customer
        .order_until_answered(&order.key, CARD_PAYS, ANSWER_DEADLINE)
        .await;
    let second = order
        .customer
        .order_until_answered(&order.key, CARD_PAYS, ANSWER_DEADLINE)
        .await;
    let mut contradictions = Vec::new();
    let before = std::mem::replace(&mut order.answer, first.clone());
    if matches!(before, Answer::Confirmed(_)) && before != first {
        contradictions.push(format!("key {}: {before:?}, and then {first:?}", order.key));
    }
    let same = match (&first, &second) {
        (Answer::Cancelled(_), Answer::Cancelled(_)) => true,
        (Answer::Confirmed(_) | Answer::SoldOut, _) => first == second,
        _ => false,
    };
    if !same {
        contradictions.push(format!("key {}: {first:?}, and then {second:?}", order.key));
    }
    (order, contradictions)
}

/// Compares all orders that the shop lists for a customer with those that it has told them of.
async fn compare_orders(customer: Customer, told: Vec<(String, i64)>) -> Vec<String> {
    let mut listed = Vec::new();
    let mut path = "/api/orders?limit=100".to_owned();
    loop {
        let page = match ask_json(&customer, &path).await {
            Ok(page) => page,
            Err(seen) => return vec![format!("the {} orders of {}: {seen}", told.len(), customer.email)],
        };
        let orders = page["orders"].as_array().map(Vec::as_slice).unwrap_or_default();
        listed.extend(orders.iter().filter_map(|order| {
            let state = order["state"].as_str()?.to_owned();
            Some((order["id"].as_i64()?, state))
        }));
        match page["next_cursor"].as_str() {
            // A cursor is of characters that need no escape.
            Some(cursor) if !orders.is_empty() => path = format!("/api/orders?limit=100&cursor={cursor}"),
            _ => break,
        }
    }
    contradicting_orders(&told, &listed)
}

async fn still_logged_in(customer: Customer) -> Vec<String> {
    match ask_json(&customer, "/api/me").await {
        Ok(me) if me["user"].is_object() => Vec::new(),
        Ok(_) => vec![format!("{} is logged out", customer.email)],
        Err(seen) => vec![format!("whether {} is logged in: {seen}", customer.email)],
    }
}

async fn compare_cart((customer, memory): (Customer, CartMemory)) -> Vec<String> {
    let contradictions = match ask(|| customer.http.get(customer.url("/api/cart"))).await {
        Ok((StatusCode::OK, body)) => memory.contradictions(&cart_lines(&body)),
        Ok((status, _)) => vec![status.to_string()],
        Err(seen) => vec![seen],
    };
    let named = contradictions
        .into_iter()
        .map(|what| format!("cart of {}: {what}", customer.email));
    named.collect()
}

/// Whether a photo was processed, or else is shown as failed.
async fn photo_came_out(customer: Customer, id: i64) -> Result<bool, String> {
    let started = Instant::now();
    loop {
        let seen = match ask_json(&customer, &format!("/api/photos/{id}")).await {
            Ok(photo) if photo["status"] == "ready" => return Ok(true),
            Ok(photo) if photo["status"] == "failed" => return Ok(false),
            Ok(photo) => photo["status"].to_string(),
            Err(seen) => return Err(format!("photo {id} was accepted: {seen}")),
        };
        if started.elapsed() > PHOTO_DEADLINE {
            return Err(format!(
                "photo {id} was accepted and is {seen} after {PHOTO_DEADLINE:?}"
            ));
        }
        sleep(ASK_AGAIN_AFTER).await;
    }
}

async fn account_is_there(shop: &str, email: String) -> Vec<String> {
    let customer = Customer::guest(shop);
    let body = json!({ "email": email, "password": PASSWORD });
    match ask(|| customer.http.post(customer.url("/api/sessions")).json(&body)).await {
        Ok((StatusCode::CREATED, _)) => Vec::new(),
        Ok((status, _)) => vec![format!("the account {email} was made: {status}")],
        Err(seen) => vec![format!("the account {email}: {seen}")],
    }
}
