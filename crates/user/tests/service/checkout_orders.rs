//! Every order in which a checkout and recoveries can step, with every answer lost: whatever happens, the three databases
//! agree in the end.

use std::collections::HashMap;
use std::time::Duration;

use sqlx::Connection;
use user::checkout::{End, Purchase, Run, Timings};
use user::domain::{Address, CardToken, IdempotencyKey, OrderId, OrderState, RequestHash, UserId};
use user::inventory::{Release, Reserve, Sell};
use user::payments::{Capture, Void};
use user::queries::order_steps::{Attempt, Held, take_overdue};
use user::queries::orders::{self, NewOrder, OrderLine};

use crate::shop::{PRICE_CENTS, Setup, Shop, new_key};

/// With no deadline an order is overdue at once, so that recovery may come at any time.
const OVERDUE_AT_ONCE: Duration = Duration::ZERO;

async fn open() -> Shop {
    let timings = Timings {
        recovery_deadline: OVERDUE_AT_ONCE,
        ..Timings::default()
    };
    Shop::open(Setup {
        timings,
        background: false,
        ..Setup::default()
    })
    .await
}

/// A new pending order over two copies, and the run of the process that created it.
pub(crate) async fn place(shop: &Shop, user_id: UserId, product_id: i64, card: CardToken) -> Run {
    let address = Address::parse("Ada", "Main 1", "1010", "Vienna", "Austria").expect("an address");
    let line = OrderLine {
        product_id,
        quantity: 2,
        price_cents: PRICE_CENTS,
        title: "Harbour".to_owned(),
        artist: "Ines Vale".to_owned(),
        photo: None,
    };
    let order = NewOrder {
        user_id,
        key: IdempotencyKey::parse(&new_key()).expect("a key"),
        request_hash: RequestHash::of(&address, card, None),
        address,
        lines: vec![line],
        total_cents: 2 * PRICE_CENTS,
    };
    let mut conn = shop.state.cluster(user_id).write().await.expect("a primary");
    let number = orders::next_number(&mut conn).await.expect("a number");
    let order_id = OrderId::allocate(number, user_id).expect("an id");
    let mut tx = conn.begin().await.expect("a transaction");
    assert!(
        orders::insert(&mut tx, order_id, &order, OVERDUE_AT_ONCE)
            .await
            .expect("an order")
    );
    tx.commit().await.expect("a commit");
    let purchase = Purchase {
        lines: [(product_id, 2)].into(),
        total_cents: order.total_cents,
        card,
    };
    Run::start(
        Held {
            user_id,
            order_id,
            attempt: Attempt::FIRST,
        },
        purchase,
    )
}

/// What recovery does first. Nothing, if the order rests.
async fn take(shop: &Shop, user_id: UserId) -> Option<Run> {
    let mut conn = shop.state.cluster(user_id).write().await.expect("a primary");
    let taken = take_overdue(&mut conn, 2, OVERDUE_AT_ONCE).await.expect("an answer");
    assert!(
        taken.len() <= 1,
        "only one order at a time is in flight here: {taken:?}"
    );
    taken.first().map(|(held, state)| Run::recover(*held, *state))
}

async fn step(shop: &Shop, run: &mut Run) {
    if let Err(error) = run.step(&shop.state.checkout).await {
        panic!("order {}: {} failed: {error:?}", run.order_id(), run.next_step());
    }
}

async fn finish(shop: &Shop, mut run: Run) -> End {
    loop {
        match run.ended() {
            Some(end) => return end,
            None => step(shop, &mut run).await,
        }
    }
}

async fn state_of(shop: &Shop, user_id: UserId, order_id: OrderId) -> OrderState {
    let mut conn = shop.state.cluster(user_id).write().await.expect("a primary");
    orders::find(&mut conn, user_id, order_id)
        .await
        .expect("an answer")
        .expect("the order")
        .state
}

/// Goes through all sequences of choices: each walk repeats the last one up to a choice that still has an alternative.
#[derive(Default)]
struct Choices {
    taken: Vec<(usize, usize)>,
    at: usize,
}

impl Choices {
    fn choose(&mut self, alternatives: usize) -> usize {
        if self.at == self.taken.len() {
            self.taken.push((0, alternatives));
        }
        let (chosen, known) = self.taken[self.at];
        assert_eq!(known, alternatives, "a walk that is repeated meets the same choices");
        self.at += 1;
        chosen
    }

    /// Prepares the next walk, if there is one.
    fn next_walk(&mut self) -> bool {
        self.at = 0;
        while let Some((chosen, alternatives)) = self.taken.pop() {
            if chosen + 1 < alternatives {
                self.taken.push((chosen + 1, alternatives));
                return true;
            }
        }
        false
    }
}

/// One walk: the checkout and one recovery step in the order that `choices` says, and once an answer may be lost.
/// Returns the order and what was done.
async fn walk(
    shop: &Shop,
    user_id: UserId,
    product_id: i64,
    card: CardToken,
    choices: &mut Choices,
) -> (OrderId, String) {
    let mut checkout = place(shop, user_id, product_id, card).await;
    let order_id = checkout.order_id();
    let mut recovery = None;
    let mut recovery_came = false;
    let mut answers_to_lose = 1;
    let mut done = String::new();
    loop {
        let checkout_can = checkout.ended().is_none();
        let recovery_can = !recovery_came || recovery.as_ref().is_some_and(|run: &Run| run.ended().is_none());
        let checkout_steps = match (checkout_can, recovery_can) {
            (false, false) => return (order_id, done),
            (true, false) => true,
            (false, true) => false,
            (true, true) => choices.choose(2) == 0,
        };
        if !checkout_steps && !recovery_came {
            done.push_str(" recovery takes over;");
            recovery = take(shop, user_id).await;
            recovery_came = true;
            continue;
        }
        let (who, run) = match &mut recovery {
            Some(run) if !checkout_steps => ("recovery", run),
            _ => ("checkout", &mut checkout),
        };
        let is_lost = answers_to_lose > 0 && choices.choose(2) == 1;
        done.push_str(&format!(
            " {who}: {}{};",
            run.next_step(),
            if is_lost { ", answer lost" } else { "" }
        ));
        if is_lost {
            answers_to_lose -= 1;
            step(shop, &mut run.clone()).await;
        } else {
            step(shop, run).await;
        }
    }
}

async fn walk_all(card: CardToken) -> HashMap<OrderState, usize> {
    let shop = open().await;
    let user_id = shop.account(7).await;
    let product_id = shop.print(1_000_000).await;
    let mut choices = Choices::default();
    let mut walks = HashMap::new();
    let mut states: HashMap<OrderState, usize> = HashMap::new();
    loop {
        let (order_id, done) = walk(&shop, user_id, product_id, card, &mut choices).await;
        let state = state_of(&shop, user_id, order_id).await;
        assert!(state.is_at_rest(), "order {order_id} is {state:?} after{done}");
        *states.entry(state).or_default() += 1;
        walks.insert(order_id, done);
        if !choices.next_walk() {
            break;
        }
    }
    let report = shop.audit().await;
    let story: Vec<&String> = walks
        .iter()
        .filter(|(id, _)| report.to_string().contains(&id.to_string()))
        .map(|(_, done)| done)
        .collect();
    assert!(report.is_clean(), "{report}\n{story:#?}");
    let (_, reserved, sold) = shop.stock(product_id).await;
    let confirmed = states.get(&OrderState::Confirmed).copied().unwrap_or(0);
    assert_eq!((reserved, sold), (0, 2 * i64::try_from(confirmed).expect("a number")));
    shop.close().await;
    states
}

#[tokio::test]
async fn in_every_order_of_steps_a_card_that_pays_leaves_the_databases_in_agreement() {
    let states = walk_all(CardToken::Pays).await;
    assert!(
        states[&OrderState::Confirmed] > 20 && states[&OrderState::Cancelled] > 20,
        "both ways were walked: {states:?}"
    );
}

#[tokio::test]
async fn in_every_order_of_steps_a_declined_card_leaves_the_databases_in_agreement() {
    let states = walk_all(CardToken::Declined).await;
    assert!(!states.contains_key(&OrderState::Confirmed), "{states:?}");
}

#[tokio::test]
async fn a_process_may_stop_after_any_step() {
    let shop = open().await;
    let user_id = shop.account(7).await;
    let product_id = shop.print(1_000).await;
    let mut ends = Vec::new();
    for steps in 0.. {
        let mut checkout = place(&shop, user_id, product_id, CardToken::Pays).await;
        for _ in 0..steps {
            step(&shop, &mut checkout).await;
        }
        if checkout.ended().is_some() {
            break;
        }
        let last = checkout.next_step();
        let recovery = take(&shop, user_id).await.expect("an order that somebody left");
        let end = finish(&shop, recovery).await;
        ends.push((last, end));
        // What was under way when the process stopped arrives now.
        step(&shop, &mut checkout).await;
    }
    let (cancelled, confirmed) = (End::Rest(OrderState::Cancelled), End::Rest(OrderState::Confirmed));
    // From the capture on an order goes forward, before it back.
    assert_eq!(
        ends,
        [
            ("reserve", cancelled),
            ("reserved", cancelled),
            ("pay", cancelled),
            ("paid", confirmed),
            ("sell", confirmed),
            ("confirmed", confirmed),
        ]
    );
    shop.assert_audit_is_clean().await;
    shop.close().await;
}

#[tokio::test]
async fn several_recoveries_and_lost_answers_in_random_order_do_no_harm() {
    let shop = open().await;
    let user_id = shop.account(7).await;
    let product_id = shop.print(100_000).await;
    for _ in 0..150 {
        let card = if rand::random_bool(0.8) {
            CardToken::Pays
        } else {
            CardToken::Declined
        };
        let mut runs = vec![place(&shop, user_id, product_id, card).await];
        let order_id = runs[0].order_id();
        let mut done = String::new();
        let mut recoveries = 0;
        loop {
            if recoveries < 3 && rand::random_bool(0.15) {
                recoveries += 1;
                done.push_str(" taken over;");
                runs.extend(take(&shop, user_id).await);
                continue;
            }
            let moving: Vec<usize> = (0..runs.len()).filter(|&n| runs[n].ended().is_none()).collect();
            let Some(&number) = moving.get(rand::random_range(0..moving.len().max(1))) else {
                break;
            };
            done.push_str(&format!(" {number}: {};", runs[number].next_step()));
            if rand::random_bool(0.2) {
                done.push_str(" answer lost;");
                step(&shop, &mut runs[number].clone()).await;
            } else {
                step(&shop, &mut runs[number]).await;
            }
        }
        let state = state_of(&shop, user_id, order_id).await;
        assert!(state.is_at_rest(), "order {order_id} is {state:?} after{done}");
    }
    shop.assert_audit_is_clean().await;
    shop.close().await;
}

#[tokio::test]
async fn every_message_may_come_again_when_all_is_over() {
    let shop = open().await;
    let user_id = shop.account(7).await;
    let product_id = shop.print(100).await;
    let inventory = &shop.state.inventory;
    for (card, answers) in [
        (
            CardToken::Pays,
            (
                Reserve::Reserved,
                Capture::Captured,
                Sell::Sold,
                Void::Captured,
                Release::AlreadySold,
            ),
        ),
        (
            CardToken::Declined,
            (
                Reserve::Released,
                Capture::Declined,
                Sell::NotReserved,
                Void::Voided,
                Release::Released,
            ),
        ),
    ] {
        let run = place(&shop, user_id, product_id, card).await;
        let order_id = run.order_id();
        let end = finish(&shop, run.clone()).await;
        let before = shop.stock(product_id).await;
        let again = (
            inventory
                .reserve(order_id, &[(product_id, 2)])
                .await
                .expect("an answer"),
            shop.gateway
                .capture(order_id, 2 * PRICE_CENTS, card)
                .await
                .expect("an answer"),
            inventory.sell(order_id).await.expect("an answer"),
            shop.gateway.void(order_id).await.expect("an answer"),
            inventory.release(order_id).await.expect("an answer"),
        );
        assert_eq!(again, answers);
        assert_eq!(finish(&shop, run).await, End::Lost);
        assert_eq!(End::Rest(state_of(&shop, user_id, order_id).await), end);
        assert_eq!(shop.stock(product_id).await, before);
    }
    shop.assert_audit_is_clean().await;
    shop.close().await;
}
