//! What customers were told, and what contradicts it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use crate::customer::{Answer, Customer};

/// A request that was given up may still take effect within this time: the balancer's deadline, and as much again.
const LATE_EFFECT_MAX: Duration = Duration::from_secs(30);

/// Of those who logged in, so many are asked at the end whether they still are.
pub const SESSIONS_KEPT: usize = 100;

/// The memory of the load.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Accounts that were acknowledged.
    pub accounts: Vec<String>,
    /// Every key that an order was asked for with, and that was answered or given up.
    pub orders: Vec<Order>,
    /// Those that customers are still asking with.
    pub under_way: BTreeMap<String, Order>,
    /// What customers have put into their carts.
    pub carts: BTreeMap<String, (Customer, CartMemory)>,
    /// The last who logged in.
    pub sessions: VecDeque<Customer>,
    /// Photos that were accepted.
    pub photos: Vec<(Customer, i64)>,
    /// What was seen to contradict an earlier answer, or should never be answered.
    pub offences: Vec<Offence>,
}

/// An order as its customer knows it.
#[derive(Clone, Debug)]
pub struct Order {
    pub customer: Customer,
    pub key: String,
    /// The last answer.
    pub answer: Answer,
    /// Whether some answer never came, or said to ask again.
    pub was_in_doubt: bool,
}

/// Something that may never happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offence {
    pub at: Instant,
    pub what: String,
}

impl Ledger {
    pub fn note_session(&mut self, customer: Customer) {
        if self.sessions.len() == SESSIONS_KEPT {
            self.sessions.pop_front();
        }
        self.sessions.push_back(customer);
    }

    pub fn offends(&mut self, what: String) {
        self.offences.push(Offence {
            at: Instant::now(),
            what,
        });
    }

    /// Those who have logged in last, the newest first.
    pub fn newest_sessions(&self, count: usize) -> Vec<Customer> {
        self.sessions.iter().rev().take(count).cloned().collect()
    }

    /// Things that were acknowledged: orders, accounts, cart lines, photos.
    pub fn acknowledged(&self) -> Acknowledged {
        let confirmed = self.orders.iter().filter(|o| matches!(o.answer, Answer::Confirmed(_)));
        Acknowledged {
            orders: confirmed.count(),
            accounts: self.accounts.len(),
            cart_lines: self.carts.values().map(|(_, cart)| cart.acknowledged).sum(),
            photos: self.photos.len(),
        }
    }
}

/// How much there is to lose.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Acknowledged {
    pub orders: usize,
    pub accounts: usize,
    pub cart_lines: usize,
    pub photos: usize,
}

/// What a customer has set in their cart, one request after another.
#[derive(Clone, Debug, Default)]
pub struct CartMemory {
    lines: BTreeMap<i64, LineMemory>,
    /// Changes that were acknowledged.
    pub acknowledged: usize,
}

#[derive(Clone, Debug, Default)]
struct LineMemory {
    acknowledged: u32,
    /// Quantities that were sent and never answered: each may have taken effect, or may yet.
    doubtful: Vec<(u32, Instant)>,
}

impl CartMemory {
    /// The shop has said that there are so many in the cart.
    pub fn note_acknowledged(&mut self, product: i64, quantity: u32, sent: Instant) {
        self.acknowledged += 1;
        let line = self.lines.entry(product).or_default();
        line.acknowledged = quantity;
        line.doubtful.retain(|(_, before)| *before + LATE_EFFECT_MAX > sent);
    }

    /// So many were asked for, and nobody knows what became of it.
    pub fn note_unanswered(&mut self, product: i64, quantity: u32, sent: Instant) {
        self.lines.entry(product).or_default().doubtful.push((quantity, sent));
    }

    /// What is in the cart and should not be, or the other way round.
    pub fn contradictions(&self, seen: &BTreeMap<i64, u32>) -> Vec<String> {
        let products: BTreeSet<i64> = self.lines.keys().chain(seen.keys()).copied().collect();
        let nothing = LineMemory::default();
        let mut contradictions = Vec::new();
        for product in products {
            let line = self.lines.get(&product).unwrap_or(&nothing);
            let is = seen.get(&product).copied().unwrap_or(0);
            if is != line.acknowledged && !line.doubtful.iter().any(|(quantity, _)| *quantity == is) {
                let was = line.acknowledged;
                contradictions.push(format!("{is} of print {product}, {was} were acknowledged"));
            }
        }
        contradictions
    }

    /// Takes what is there for the truth, so that one loss is counted once.
    pub fn believe(&mut self, seen: &BTreeMap<i64, u32>) {
        for (product, line) in &mut self.lines {
            line.acknowledged = seen.get(product).copied().unwrap_or(0);
        }
        for (product, quantity) in seen {
            self.lines.entry(*product).or_default().acknowledged = *quantity;
        }
    }
}

/// Compares the orders that one customer was told of, by key, with those that the shop lists, by id and state.
pub fn contradicting_orders(told: &[(String, i64)], listed: &[(i64, String)]) -> Vec<String> {
    let mut contradictions = Vec::new();
    let mut keys: BTreeMap<i64, &str> = BTreeMap::new();
    for (key, id) in told {
        if let Some(other) = keys.insert(*id, key) {
            contradictions.push(format!("keys {other} and {key} were both answered with order {id}"));
        }
        match listed.iter().find(|(other, _)| other == id) {
            Some((_, state)) if state == "confirmed" => {}
            Some((_, state)) => contradictions.push(format!("order {id} was confirmed and is now {state}")),
            None => contradictions.push(format!("order {id} was confirmed and is gone")),
        }
    }
    for (id, state) in listed {
        if state != "cancelled" && !keys.contains_key(id) {
            contradictions.push(format!("order {id} is {state}, and no key is answered with it"));
        }
    }
    contradictions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(lines: &[(i64, u32)]) -> BTreeMap<i64, u32> {
        lines.iter().copied().collect()
    }

    #[test]
    fn a_cart_holds_what_was_acknowledged_last() {
        let (mut cart, now) = (CartMemory::default(), Instant::now());
        cart.note_acknowledged(1, 2, now);
        cart.note_acknowledged(1, 3, now);
        assert!(cart.contradictions(&seen(&[(1, 3)])).is_empty());
        assert_eq!(cart.contradictions(&seen(&[(1, 2)])).len(), 1);
        assert_eq!(cart.contradictions(&seen(&[])).len(), 1);
        assert_eq!(cart.contradictions(&seen(&[(1, 3), (2, 1)])).len(), 1);
        cart.believe(&seen(&[(2, 1)]));
        assert!(cart.contradictions(&seen(&[(2, 1)])).is_empty());
    }

    #[test]
    fn what_was_never_answered_may_have_taken_effect_or_not_and_not_for_ever() {
        let (mut cart, now) = (CartMemory::default(), Instant::now());
        cart.note_acknowledged(1, 2, now);
        cart.note_unanswered(1, 5, now);
        for quantity in [2, 5] {
            assert!(cart.contradictions(&seen(&[(1, quantity)])).is_empty());
        }
        cart.note_acknowledged(1, 7, now + Duration::from_secs(5));
        assert!(cart.contradictions(&seen(&[(1, 5)])).is_empty(), "it may come late");
        cart.note_acknowledged(1, 8, now + Duration::from_secs(60));
        assert_eq!(cart.contradictions(&seen(&[(1, 5)])).len(), 1);
    }

    #[test]
    fn an_order_that_was_confirmed_is_listed_as_confirmed_and_belongs_to_one_key() {
        let told = |orders: &[(&str, i64)]| -> Vec<_> { orders.iter().map(|(k, id)| ((*k).to_owned(), *id)).collect() };
        let listed =
            |orders: &[(i64, &str)]| -> Vec<_> { orders.iter().map(|(id, s)| (*id, (*s).to_owned())).collect() };
        let count = |a: &[(&str, i64)], b: &[(i64, &str)]| contradicting_orders(&told(a), &listed(b)).len();
        assert_eq!(count(&[("a", 1)], &[(1, "confirmed"), (2, "cancelled")]), 0);
        assert_eq!(count(&[("a", 1)], &[]), 1, "lost");
        assert_eq!(count(&[("a", 1)], &[(1, "cancelled")]), 1, "taken back");
        assert_eq!(
            count(&[("a", 1)], &[(1, "confirmed"), (2, "confirmed")]),
            1,
            "made twice"
        );
        assert_eq!(count(&[("a", 1), ("b", 1)], &[(1, "confirmed")]), 1, "one for two");
    }
}
