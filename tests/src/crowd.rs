//! A crowd that browses and buys while things die, and remembers every answer it got.
//!
//! The crowd is the client-side truth: what it was told is confirmed must be there afterwards.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::customer::{Answer, CARD_PAYS, Customer};

/// What the crowd saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// Pages: answered, and the longest time in which none was.
    pub browsing: Pulse,
    /// Requests for pages that failed, by what was seen.
    pub browse_failures: BTreeMap<String, usize>,
    /// Changes of a cart that failed, by what was seen.
    pub cart_failures: BTreeMap<String, usize>,
    /// Orders: confirmed, and the longest time in which none was.
    pub buying: Pulse,
    /// Orders that were answered as confirmed, each with the customer who may look it up.
    pub confirmed: Vec<(Customer, i64)>,
    /// Answers to checkouts that should never be given.
    pub unexpected: Vec<String>,
}

/// How often something succeeded, and how long it was interrupted at most.
#[derive(Debug, Default)]
pub struct Pulse {
    pub successes: usize,
    pub longest_gap: Duration,
    last: Option<Instant>,
}

impl Pulse {
    fn beat(&mut self) {
        let now = Instant::now();
        if let Some(last) = self.last.replace(now) {
            self.longest_gap = self.longest_gap.max(now - last);
        }
        self.successes += 1;
    }
}

/// A running crowd.
pub struct Crowd {
    stop: CancellationToken,
    tasks: JoinSet<()>,
    seen: Arc<Mutex<Seen>>,
}

impl Crowd {
    /// Starts `browsers` people who only look and `buyers` who buy one copy of `product` again and again.
    pub async fn start(shop: &str, browsers: usize, buyers: usize, product: i64) -> Result<Self> {
        let stop = CancellationToken::new();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let mut tasks = JoinSet::new();
        for number in 0..browsers {
            let (customer, seen, stop) = (Customer::guest(shop), seen.clone(), stop.clone());
            tasks.spawn(async move { browse(&customer, number, &seen, &stop).await });
        }
        for _ in 0..buyers {
            let customer = Customer::registered(shop).await?;
            let (seen, stop) = (seen.clone(), stop.clone());
            tasks.spawn(async move { buy(&customer, product, &seen, &stop).await });
        }
        Ok(Self { stop, tasks, seen })
    }

    /// Orders confirmed so far.
    pub fn confirmed(&self) -> usize {
        lock(&self.seen).buying.successes
    }

    /// Pages answered so far.
    pub fn browsed(&self) -> usize {
        lock(&self.seen).browsing.successes
    }

    /// Lets everybody finish what they do and gives what was seen.
    pub async fn stop(mut self) -> Seen {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("nobody in the crowd panics");
        }
        std::mem::take(&mut *lock(&self.seen))
    }
}

impl Seen {
    /// Looks every confirmed order up: nothing that was acknowledged may be missing.
    pub async fn assert_nothing_lost(&self) -> Result<()> {
        ensure!(
            self.unexpected.is_empty(),
            "answers that should not be given: {:#?}",
            self.unexpected
        );
        for (customer, order) in &self.confirmed {
            let body = customer.get(&format!("/api/orders/{order}")).await?;
            ensure!(
                body["state"] == "confirmed",
                "order {order} was confirmed and is now {}",
                body["state"]
            );
        }
        Ok(())
    }

    /// Every page that was asked for was answered.
    pub fn assert_no_page_failed(&self) -> Result<()> {
        ensure!(self.browse_failures.is_empty(), "{:?}", self.browse_failures);
        Ok(())
    }

    /// Nor a change of a cart.
    pub fn assert_nothing_failed(&self) -> Result<()> {
        self.assert_no_page_failed()?;
        ensure!(self.cart_failures.is_empty(), "{:?}", self.cart_failures);
        Ok(())
    }

    fn note_page(&mut self, failure: Option<String>) {
        match failure {
            None => self.browsing.beat(),
            Some(kind) => *self.browse_failures.entry(kind).or_default() += 1,
        }
    }

    fn note_cart_failure(&mut self, error: &anyhow::Error) {
        // The status, without what is different each time.
        let kind = error.to_string().chars().take(40).collect();
        *self.cart_failures.entry(kind).or_default() += 1;
    }

    fn note_order(&mut self, customer: &Customer, answer: Answer) {
        match answer {
            Answer::Confirmed(order) => {
                self.confirmed.push((customer.clone(), order));
                self.buying.beat();
            }
            // Recovery cancels an order whose process died before it was paid; the customer was told so.
            Answer::Cancelled(_) => {}
            Answer::Unexpected(status, body) => self.unexpected.push(format!("{status} {body}")),
            Answer::SoldOut | Answer::Declined => self.unexpected.push(format!("{answer:?} for an open edition")),
            Answer::Pending | Answer::Shed | Answer::Lost(_) => {
                self.unexpected
                    .push(format!("no final answer in {ANSWER_DEADLINE:?}: {answer:?}"));
            }
        }
    }
}

/// How long a buyer asks again with the same key.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().expect("no holder panics")
}

async fn browse(customer: &Customer, number: usize, seen: &Mutex<Seen>, stop: &CancellationToken) {
    let mut step = number;
    while !stop.is_cancelled() {
        step += 7;
        let path = match step % 4 {
            0 => "/".to_owned(),
            1 => format!("/products/{}", step % 120 + 1),
            2 => "/api/products?limit=20".to_owned(),
            // Of `user`, as all others are of `inventory`.
            _ => "/login".to_owned(),
        };
        let failure = match customer.http.get(customer.url(&path)).send().await {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("{} {path}", response.status())),
            Err(error) if error.is_timeout() => Some("timeout".to_owned()),
            Err(error) if error.is_connect() => Some("could not connect".to_owned()),
            Err(_) => Some("connection lost".to_owned()),
        };
        lock(seen).note_page(failure);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn buy(customer: &Customer, product: i64, seen: &Mutex<Seen>, stop: &CancellationToken) {
    let mut awaits_cart_job = false;
    while !stop.is_cancelled() {
        // An order's lines leave the cart a moment after its confirmation, and would take a new copy with them while the
        // database can't be asked.
        awaits_cart_job = awaits_cart_job && !has_empty_cart(customer).await;
        if !awaits_cart_job {
            match customer.put_in_cart(product, 1).await {
                Ok(()) => {
                    let key = Uuid::new_v4().to_string();
                    let answer = customer.order_until_answered(&key, CARD_PAYS, ANSWER_DEADLINE).await;
                    awaits_cart_job = matches!(answer, Answer::Confirmed(_));
                    lock(seen).note_order(customer, answer);
                }
                Err(error) => lock(seen).note_cart_failure(&error),
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn has_empty_cart(customer: &Customer) -> bool {
    let cart = customer.get("/api/cart").await;
    cart.is_ok_and(|cart| cart["lines"].as_array().is_some_and(Vec::is_empty))
}
