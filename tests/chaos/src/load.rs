//! Customers who come at a fixed rate, whether or not those before them have been served.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use reqwest::{RequestBuilder, StatusCode, multipart};
use serde_json::{Value, json};
use tokio::{
    sync::Semaphore,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::{
    customer::{Answer, CARD_PAYS, Customer, PASSWORD},
    ledger::{Ledger, Order},
    plan::Dice,
    pulse::{End, Failure, Kind, Pulse},
};

/// Requests are given up after 15 s, so this many seconds' worth of customers of a kind can be waiting at once.
const WAITING_SECONDS_MAX: f64 = 16.0;
/// Someone who checks out asks again for so long.
const CHECKOUT_DEADLINE: Duration = Duration::from_secs(60);
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// An order's lines leave the cart a moment after it is confirmed.
const CART_DEADLINE: Duration = Duration::from_secs(30);
/// Who buys may register and fill a cart before, and their last question at the checkout may take its time as well.
const REQUEST_DEADLINE: Duration = Duration::from_secs(15);
/// Customers and guests who wait for their next turn; more than these go home.
const IDLE_MAX: usize = 300;
/// What customers upload: one of the prints, small.
const PHOTO: &[u8] = include_bytes!("../photo.jpg");
const REGISTERING_MAX: usize = 2;
/// Prints with more copies than this don't sell out in a run.
const PLENTY: i64 = 10_000;

/// What is for sale.
#[derive(Clone, Debug)]
pub struct Catalogue {
    /// Prints that don't sell out.
    plenty: Vec<i64>,
    /// Prints that do.
    limited: Vec<i64>,
    categories: Vec<String>,
    /// Paths of pictures.
    pictures: Vec<String>,
}

impl Catalogue {
    /// Reads what the shop sells.
    pub async fn read(shop: &str) -> Result<Self> {
        let page = Customer::guest(shop).get("/api/products?limit=100").await?;
        let products = page["products"].as_array().context("a list of products")?;
        let ids = |suits: &dyn Fn(&Value) -> bool| -> Vec<i64> {
            let chosen = products.iter().filter(|product| suits(product));
            chosen.filter_map(|product| product["id"].as_i64()).collect()
        };
        let mut categories: Vec<String> = products
            .iter()
            .filter_map(|product| product["category"].as_str().map(str::to_owned))
            .collect();
        categories.sort();
        categories.dedup();
        let catalogue = Self {
            plenty: ids(&|product| product["available"].as_i64() > Some(PLENTY)),
            limited: ids(&|product| product["edition_size"].is_i64()),
            categories,
            pictures: products
                .iter()
                .filter_map(|product| picture_of(&product["photo"]))
                .collect(),
        };
        ensure!(
            !catalogue.plenty.is_empty(),
            "the shop has nothing to sell yet: wait for the seed (make status)"
        );
        Ok(catalogue)
    }
}

/// The path of a small picture.
fn picture_of(photo: &Value) -> Option<String> {
    let variants = photo["variants"].as_array()?;
    let webp = variants.iter().filter(|variant| variant["format"] == "webp");
    let width = webp.filter_map(|variant| variant["width"].as_i64()).min()?;
    let (id, version) = (photo["id"].as_i64()?, photo["version"].as_i64()?);
    Some(format!("/photos/{id}/{version}/w{width}.webp"))
}

/// A running load.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct Shared {
    shop: String,
    edge: String,
    catalogue: Catalogue,
    pulse: Arc<Pulse>,
    ledger: Arc<Mutex<Ledger>>,
    turn: AtomicU64,
    /// Seats for those who register because nobody else is there.
    registering: Semaphore,
    guests: Idle,
    /// Registered, and nothing else yet.
    newcomers: Idle,
    carters: Idle,
    buyers: Idle,
    uploaders: Idle,
}

/// Those who wait for their next turn; who has waited longest comes first.
#[derive(Debug, Default)]
struct Idle(Mutex<VecDeque<Customer>>);

impl Idle {
    fn take(&self) -> Option<Customer> {
        self.queue().pop_front()
    }

    fn give_back(&self, customer: Customer) {
        let mut queue = self.queue();
        if queue.len() < IDLE_MAX {
            queue.push_back(customer);
        }
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Customer>> {
        self.0.lock().expect("no holder panics")
    }
}

/// The part of all requests that is of a kind. In a real shop it is nearly all browsing; here what can be lost has to
/// happen often enough for its pauses to be seen.
pub fn share(kind: Kind) -> f64 {
    match kind {
        Kind::Browse => 0.40,
        Kind::Picture => 0.10,
        Kind::LogIn => 0.10,
        Kind::Register => 0.025,
        Kind::Cart => 0.20,
        Kind::Checkout => 0.15,
        Kind::Upload => 0.025,
    }
}

impl Load {
    /// Lets customers come, `rate` a second of all kinds together.
    pub fn start(
        (shop, edge): (String, String),
        catalogue: Catalogue,
        rate: f64,
        pulse: Arc<Pulse>,
        ledger: Arc<Mutex<Ledger>>,
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            shop,
            edge,
            catalogue,
            pulse,
            ledger,
            turn: AtomicU64::new(0),
            registering: Semaphore::new(REGISTERING_MAX),
            guests: Idle::default(),
            newcomers: Idle::default(),
            carters: Idle::default(),
            buyers: Idle::default(),
            uploaders: Idle::default(),
        });
        let load = Self {
            shared,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        for kind in Kind::ALL {
            load.tasks.spawn(come(
                kind,
                rate * share(kind),
                load.shared.clone(),
                load.stop.clone(),
                load.tasks.clone(),
            ));
        }
        Ok(load)
    }

    /// Nobody comes any more; those who are there may finish. Whether all of them have.
    pub async fn stop(self) -> bool {
        self.stop.cancel();
        self.tasks.close();
        // Every task has deadlines of its own, so that this one is for what nobody has thought of.
        let deadline = CHECKOUT_DEADLINE + CART_DEADLINE + REQUEST_DEADLINE * 4;
        timeout(deadline, self.tasks.wait()).await.is_ok()
    }
}

/// Sends customers of one kind at their rate. Only so many may be waiting; who comes on top of them is only counted.
async fn come(kind: Kind, rate: f64, shared: Arc<Shared>, stop: CancellationToken, tasks: TaskTracker) {
    let seconds_max = match kind {
        Kind::Checkout => CHECKOUT_DEADLINE.as_secs_f64(),
        _ => WAITING_SECONDS_MAX,
    };
    let room = Arc::new(Semaphore::new((rate * seconds_max).ceil() as usize + 1));
    let mut ticks = interval(Duration::from_secs_f64(1.0 / rate));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let Ok(seat) = room.clone().try_acquire_owned() else {
            shared.pulse.note_not_sent(kind);
            continue;
        };
        let shared = shared.clone();
        tasks.spawn(async move {
            shared.serve(kind).await;
            drop(seat);
        });
    }
}

impl Shared {
    async fn serve(&self, kind: Kind) {
        let mut dice = Dice(self.turn.fetch_add(1, Ordering::Relaxed));
        match kind {
            Kind::Browse => self.browse(&mut dice).await,
            Kind::Picture => self.look_at_picture(&mut dice).await,
            Kind::LogIn => self.log_in(&mut dice).await,
            Kind::Register => {
                if let Some(customer) = self.register().await {
                    self.newcomers.give_back(customer);
                }
            }
            Kind::Cart => self.change_cart(&mut dice).await,
            Kind::Checkout => self.buy(&mut dice).await,
            Kind::Upload => self.upload().await,
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("no holder panics")
    }

    /// Sends a request of a kind and gives status and body; what came to no answer is counted and gives none.
    async fn send(&self, kind: Kind, request: RequestBuilder) -> Option<(StatusCode, Vec<u8>, Instant)> {
        let ticket = self.pulse.begin(kind);
        let sent = ticket.sent;
        let answer = async {
            let response = request.send().await?;
            let status = response.status();
            Ok::<_, reqwest::Error>((status, response.bytes().await?))
        };
        match answer.await {
            Ok((status, body)) if status.is_server_error() => {
                ticket.end(End::Failed(Failure::Status(status.as_u16())));
                drop(body);
                None
            }
            Ok((status, body)) => {
                // Nobody here asks for what they may not have: such an answer serves them as little.
                ticket.end(match status.is_client_error() {
                    true => End::Failed(Failure::Status(status.as_u16())),
                    false => End::Succeeded,
                });
                Some((status, body.to_vec(), sent))
            }
            Err(error) => {
                ticket.end(End::Failed(Failure::from(&error)));
                None
            }
        }
    }

    /// Notes an answer that was not to be expected.
    fn note_unexpected(&self, what: &str, customer: &Customer, status: StatusCode, body: &[u8]) {
        let body: String = String::from_utf8_lossy(body).chars().take(300).collect();
        self.ledger()
            .offends(format!("{what} by {}: {status} {body}", customer.email));
    }

    async fn browse(&self, dice: &mut Dice) {
        let guest = self.guests.take().unwrap_or_else(|| Customer::guest(&self.shop));
        let prints = &self.catalogue.plenty;
        let path = match dice.below(5) {
            0 => "/".to_owned(),
            1 | 2 => format!("/products/{}", dice.one_of(prints)),
            3 => "/api/products?limit=20".to_owned(),
            _ => {
                let categories = &self.catalogue.categories;
                format!(
                    "/categories/{}",
                    categories[dice.below(categories.len() as u64) as usize]
                )
            }
        };
        let answer = self.send(Kind::Browse, guest.http.get(guest.url(&path))).await;
        if let Some((status, body, _)) = answer
            && status != StatusCode::OK
        {
            self.note_unexpected(&path, &guest, status, &body);
        }
        self.guests.give_back(guest);
    }

    /// From the edge; and as the page's script does it, from the shop where the edge gives none.
    async fn look_at_picture(&self, dice: &mut Dice) {
        let pictures = &self.catalogue.pictures;
        if pictures.is_empty() {
            return;
        }
        let guest = self.guests.take().unwrap_or_else(|| Customer::guest(&self.shop));
        let path = &pictures[dice.below(pictures.len() as u64) as usize];
        let from_edge = guest.http.get(format!("{}{path}", self.edge));
        let answer = match self.send(Kind::Picture, from_edge).await {
            None => self.send(Kind::Picture, guest.http.get(guest.url(path))).await,
            answer => answer,
        };
        if let Some((status, body, _)) = answer
            && status != StatusCode::OK
        {
            self.note_unexpected(path, &guest, status, &body);
        }
        self.guests.give_back(guest);
    }

    async fn log_in(&self, dice: &mut Dice) {
        let email = {
            let ledger = self.ledger();
            match ledger.accounts.len() {
                0 => return,
                count => ledger.accounts[dice.below(count as u64) as usize].clone(),
            }
        };
        let mut customer = Customer::guest(&self.shop);
        customer.email = email;
        let body = json!({ "email": customer.email, "password": PASSWORD });
        let request = customer.http.post(customer.url("/api/sessions")).json(&body);
        match self.send(Kind::LogIn, request).await {
            Some((StatusCode::CREATED, ..)) => self.ledger().note_session(customer),
            Some((status, body, _)) => self.note_unexpected("logging in", &customer, status, &body),
            None => {}
        }
    }

    /// A new customer, if the shop could take one.
    async fn register(&self) -> Option<Customer> {
        let customer = Customer::guest(&self.shop);
        let body = json!({ "email": customer.email, "name": "Chaos", "password": PASSWORD });
        let request = customer.http.post(customer.url("/api/users")).json(&body);
        match self.send(Kind::Register, request).await? {
            (StatusCode::CREATED, ..) => {
                self.ledger().accounts.push(customer.email.clone());
                Some(customer)
            }
            (status, body, _) => {
                self.note_unexpected("registering", &customer, status, &body);
                None
            }
        }
    }

    /// Somebody of `idle`, or somebody new. Only so many register at once: a shop that is slow would be swamped by those who
    /// come in place of the ones that it has not served yet, and each password costs it a moment of its processor.
    async fn customer(&self, kind: Kind, idle: &Idle) -> Option<Customer> {
        if let Some(customer) = idle.take().or_else(|| self.newcomers.take()) {
            return Some(customer);
        }
        let Ok(_seat) = self.registering.try_acquire() else {
            self.pulse.note_not_sent(kind);
            return None;
        };
        self.register().await
    }

    /// Sets a quantity. The answer shows the whole cart, which has to be what this customer has made of it.
    async fn change_cart(&self, dice: &mut Dice) {
        let Some(customer) = self.customer(Kind::Cart, &self.carters).await else {
            return;
        };
        let some = &self.catalogue.plenty[..self.catalogue.plenty.len().min(6)];
        let (product, quantity) = (dice.one_of(some), dice.below(9) as u32 + 1);
        let url = customer.url(&format!("/api/cart/items/{product}"));
        let sent = Instant::now();
        let request = customer.http.put(url).json(&json!({ "quantity": quantity }));
        let answer = self.send(Kind::Cart, request).await;
        let mut ledger = self.ledger();
        let (_, memory) = ledger
            .carts
            .entry(customer.email.clone())
            .or_insert_with(|| (customer.clone(), Default::default()));
        match answer {
            None => memory.note_unanswered(product, quantity, sent),
            Some((StatusCode::OK, body, sent)) => {
                memory.note_acknowledged(product, quantity, sent);
                let lines = cart_lines(&body);
                let contradictions = memory.contradictions(&lines);
                if !contradictions.is_empty() {
                    memory.believe(&lines);
                    ledger.offends(format!(
                        "{} has in the cart: {}",
                        customer.email,
                        contradictions.join("; ")
                    ));
                }
            }
            Some((status, body, _)) => {
                drop(ledger);
                self.note_unexpected("changing the cart", &customer, status, &body);
                // Logged out, perhaps: whose cart it is is not clear any more.
                return;
            }
        }
        self.carters.give_back(customer);
    }

    /// Puts one copy into the cart and checks out, with the same key until the answer is final.
    async fn buy(&self, dice: &mut Dice) {
        let Some(customer) = self.customer(Kind::Checkout, &self.buyers).await else {
            return;
        };
        let limited = &self.catalogue.limited;
        let product = match dice.below(5) {
            0 if !limited.is_empty() => dice.one_of(limited),
            _ => dice.one_of(&self.catalogue.plenty),
        };
        if self.put_one(&customer, product).await.is_none() {
            // What is in the cart is not known any more, so this customer does not come again.
            return;
        }
        let key = Uuid::new_v4().to_string();
        let order = |answer: Answer, was_in_doubt: bool| Order {
            customer: customer.clone(),
            key: key.clone(),
            answer,
            was_in_doubt,
        };
        // Written down before it is sent: whatever ends this customer, somebody asks what became of it.
        let under_way = order(Answer::Lost("under way".to_owned()), true);
        self.ledger().under_way.insert(key.clone(), under_way);
        let (answer, was_in_doubt) = self.check_out(&customer, &key).await;
        match &answer {
            Answer::Unexpected(status, body) => {
                let status = StatusCode::from_u16(*status).unwrap_or_default();
                self.note_unexpected("checking out", &customer, status, body.as_bytes());
            }
            Answer::Declined => self.ledger().offends(format!("a good card was declined, key {key}")),
            _ => {}
        }
        {
            let mut ledger = self.ledger();
            ledger.under_way.remove(&key);
            ledger.orders.push(order(answer.clone(), was_in_doubt));
        }
        let is_ready = match answer {
            Answer::Confirmed(_) => self.wait_for_empty_cart(&customer).await,
            Answer::SoldOut | Answer::Cancelled(_) => self.take_out(&customer, product).await,
            _ => false,
        };
        if is_ready {
            self.buyers.give_back(customer);
        }
    }

    async fn put_one(&self, customer: &Customer, product: i64) -> Option<()> {
        let url = customer.url(&format!("/api/cart/items/{product}"));
        let request = customer.http.put(url).json(&json!({ "quantity": 1 }));
        let (status, body, _) = self.send(Kind::Cart, request).await?;
        let expected = BTreeMap::from([(product, 1)]);
        if status != StatusCode::OK || cart_lines(&body) != expected {
            self.note_unexpected("putting one into an empty cart", customer, status, &body);
            return None;
        }
        Some(())
    }

    /// The last answer, and whether there was one that said too little.
    async fn check_out(&self, customer: &Customer, key: &str) -> (Answer, bool) {
        let started = Instant::now();
        let mut was_in_doubt = false;
        loop {
            let ticket = self.pulse.begin(Kind::Checkout);
            let answer = customer.order(key, CARD_PAYS).await;
            ticket.end(match &answer {
                Answer::Confirmed(_) | Answer::SoldOut => End::Succeeded,
                Answer::Pending => End::NotYet,
                Answer::Shed => End::Failed(Failure::Status(503)),
                Answer::Lost(_) => End::Failed(Failure::ConnectionLost),
                Answer::Cancelled(_) | Answer::Declined => End::Failed(Failure::Status(409)),
                Answer::Unexpected(status, _) => End::Failed(Failure::Status(*status)),
            });
            let is_final = !matches!(answer, Answer::Pending | Answer::Shed | Answer::Lost(_));
            if is_final || started.elapsed() > CHECKOUT_DEADLINE {
                return (answer, was_in_doubt);
            }
            was_in_doubt = true;
            sleep(ASK_AGAIN_AFTER).await;
        }
    }

    async fn wait_for_empty_cart(&self, customer: &Customer) -> bool {
        let started = Instant::now();
        while started.elapsed() < CART_DEADLINE {
            let cart = customer.get("/api/cart").await;
            if cart.is_ok_and(|cart| cart["lines"] == json!([])) {
                return true;
            }
            sleep(ASK_AGAIN_AFTER).await;
        }
        false
    }

    async fn take_out(&self, customer: &Customer, product: i64) -> bool {
        let url = customer.url(&format!("/api/cart/items/{product}"));
        let answer = self.send(Kind::Cart, customer.http.delete(url)).await;
        answer.is_some_and(|(status, ..)| status.is_success())
    }

    async fn upload(&self) {
        let Some(customer) = self.customer(Kind::Upload, &self.uploaders).await else {
            return;
        };
        let file = multipart::Part::bytes(PHOTO).file_name("me.jpg");
        let form = multipart::Form::new().text("purpose", "profile").part("file", file);
        let request = customer
            .http
            .post(customer.url("/api/photos"))
            .header("Idempotency-Key", Uuid::new_v4().to_string())
            .multipart(form);
        if let Some((status, body, _)) = self.send(Kind::Upload, request).await {
            let accepted: Value = serde_json::from_slice(&body).unwrap_or_default();
            match accepted["id"].as_i64() {
                Some(id) if status == StatusCode::ACCEPTED => self.ledger().photos.push((customer.clone(), id)),
                _ => self.note_unexpected("uploading", &customer, status, &body),
            }
        }
        self.uploaders.give_back(customer);
    }
}

/// The lines of a cart as the API shows it.
pub fn cart_lines(body: &[u8]) -> BTreeMap<i64, u32> {
    let cart: Value = serde_json::from_slice(body).unwrap_or_default();
    let lines = cart["lines"].as_array().map(Vec::as_slice).unwrap_or_default();
    let line = |line: &Value| {
        Some((
            line["product_id"].as_i64()?,
            u32::try_from(line["quantity"].as_u64()?).ok()?,
        ))
    };
    lines.iter().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_the_whole() {
        let sum: f64 = Kind::ALL.into_iter().map(share).sum();
        assert!((sum - 1.0).abs() < 1e-9, "{sum}");
    }

    #[test]
    fn a_cart_is_read_as_the_api_writes_it() {
        let body =
            br#"{"lines":[{"product_id":3,"title":"A","price_cents":1,"quantity":2,"available":9}],"total_cents":2}"#;
        assert_eq!(cart_lines(body), BTreeMap::from([(3, 2)]));
        assert!(cart_lines(b"nonsense").is_empty());
    }

    #[test]
    fn the_smallest_picture_is_looked_at() {
        let photo = json!({"id": 5, "version": 2, "variants": [
            {"width": 640, "height": 1, "format": "webp"}, {"width": 320, "height": 1, "format": "webp"},
            {"width": 160, "height": 1, "format": "jpeg"}]});
        assert_eq!(picture_of(&photo).as_deref(), Some("/photos/5/2/w320.webp"));
        assert_eq!(picture_of(&Value::Null), None);
    }
}
