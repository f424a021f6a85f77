//! One holder's work on one order, a step at a time. A step is either a call to another system or a move of the row;
//! between any two of them the process may end, and any answer may be lost.

use std::sync::Arc;

use super::{Checkout, StepError};
use crate::domain::{CardToken, OrderId, OrderState, Reason};
use crate::inventory::{Release, Reserve, Sell};
use crate::payments::{Capture, Void};
use crate::queries::order_steps::{Attempt, Held, Move, Moved};

/// What it takes to pay. Recovery has none, and so cannot pay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purchase {
    pub lines: Arc<[(i64, u32)]>,
    pub total_cents: i64,
    pub card: CardToken,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The order is confirmed or cancelled.
    Rest(OrderState),
    /// Somebody else has the order.
    Lost,
}

#[derive(Debug, Clone, PartialEq)]
enum Phase {
    Reserve(Purchase),
    Pay(Purchase),
    Sell,
    Void,
    Release,
    /// The purchase goes along for as long as the way leads forward.
    Move(Move, Option<Purchase>),
    Ended(End),
}

/// The work of one attempt. Every step can be repeated, and a clone's step is a step whose answer was lost.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    held: Held,
    phase: Phase,
}

impl Run {
    /// The first attempt at an order that has just been created as `pending`.
    pub fn start(held: Held, purchase: Purchase) -> Self {
        Self {
            held,
            phase: Phase::Reserve(purchase),
        }
    }

    /// Goes on with an order that recovery has taken over in this state: before `paid` it is cancelled, from `paid` on it goes
    /// forward.
    pub fn recover(held: Held, state: OrderState) -> Self {
        let phase = match state {
            OrderState::Pending | OrderState::Reserved => cancel(state, Reason::Interrupted, None),
            OrderState::Cancelling => Phase::Void,
            OrderState::Paid => Phase::Sell,
            OrderState::Confirmed | OrderState::Cancelled => Phase::Ended(End::Rest(state)),
        };
        Self { held, phase }
    }

    pub fn order_id(&self) -> OrderId {
        self.held.order_id
    }

    pub fn attempt(&self) -> Attempt {
        self.held.attempt
    }

    pub fn ended(&self) -> Option<End> {
        match self.phase {
            Phase::Ended(end) => Some(end),
            _ => None,
        }
    }

    /// The step that comes next, for logs and tests.
    pub fn next_step(&self) -> &'static str {
        match &self.phase {
            Phase::Reserve(_) => "reserve",
            Phase::Pay(_) => "pay",
            Phase::Sell => "sell",
            Phase::Void => "void",
            Phase::Release => "release",
            Phase::Move(step, _) => step.to.as_str(),
            Phase::Ended(_) => "ended",
        }
    }

    /// Does the next step. After an error nothing is known of its effect, and the same step comes next.
    pub async fn step(&mut self, checkout: &Checkout) -> Result<(), StepError> {
        let order_id = self.held.order_id;
        self.phase = match self.phase.clone() {
            Phase::Reserve(purchase) => reserve(checkout, order_id, purchase).await,
            Phase::Pay(purchase) => pay(checkout, order_id, purchase).await,
            Phase::Sell => match checkout.inventory.sell(order_id).await? {
                Sell::Sold => advance(OrderState::Paid, OrderState::Confirmed, None),
                Sell::NotReserved => return Err(StepError::PaidWithoutReservation(order_id)),
            },
            Phase::Void => match checkout.gateway.void(order_id).await? {
                Void::Voided => Phase::Release,
                Void::Captured => advance(OrderState::Cancelling, OrderState::Paid, None),
            },
            Phase::Release => match checkout.inventory.release(order_id).await? {
                Release::Released => advance(OrderState::Cancelling, OrderState::Cancelled, None),
                Release::AlreadySold => return Err(StepError::SoldWithoutPayment(order_id)),
            },
            Phase::Move(step, purchase) => {
                let moved = checkout.advance(self.held, &step).await?;
                if moved == Moved::Lost {
                    Phase::Ended(End::Lost)
                } else {
                    arrived(step.to, purchase)
                }
            }
            Phase::Ended(end) => Phase::Ended(end),
        };
        Ok(())
    }
}

/// What follows once the row is in `state` and ours.
fn arrived(state: OrderState, purchase: Option<Purchase>) -> Phase {
    match (state, purchase) {
        (OrderState::Pending, Some(purchase)) => Phase::Reserve(purchase),
        (OrderState::Reserved, Some(purchase)) => Phase::Pay(purchase),
        (OrderState::Pending | OrderState::Reserved, None) => cancel(state, Reason::Interrupted, None),
        (OrderState::Paid, _) => Phase::Sell,
        (OrderState::Cancelling, _) => Phase::Void,
        (OrderState::Confirmed | OrderState::Cancelled, _) => Phase::Ended(End::Rest(state)),
    }
}

fn advance(from: OrderState, to: OrderState, purchase: Option<Purchase>) -> Phase {
    Phase::Move(
        Move {
            from,
            to,
            reason: None,
            reason_lines: None,
        },
        purchase,
    )
}

fn cancel(from: OrderState, reason: Reason, reason_lines: Option<serde_json::Value>) -> Phase {
    Phase::Move(
        Move {
            from,
            to: OrderState::Cancelling,
            reason: Some(reason),
            reason_lines,
        },
        None,
    )
}

async fn reserve(checkout: &Checkout, order_id: OrderId, purchase: Purchase) -> Phase {
    let from = OrderState::Pending;
    match checkout.inventory.reserve(order_id, &purchase.lines).await {
        Ok(Reserve::Reserved) => advance(from, OrderState::Reserved, Some(purchase)),
        Ok(Reserve::SoldOut { lines }) => cancel(from, Reason::SoldOut, lines),
        // Somebody cancels the order already, so the move will find it lost.
        Ok(Reserve::Released) => cancel(from, Reason::Interrupted, None),
        Err(error) => {
            tracing::warn!(order.id = %order_id, error = &error as &dyn std::error::Error, "Could not reserve; cancelling the order");
            cancel(from, Reason::InventoryUnavailable, None)
        }
    }
}

async fn pay(checkout: &Checkout, order_id: OrderId, purchase: Purchase) -> Phase {
    let from = OrderState::Reserved;
    let capture = checkout.gateway.capture(order_id, purchase.total_cents, purchase.card);
    match tokio::time::timeout(checkout.timings.pay_deadline, capture).await {
        Ok(Ok(Capture::Captured)) => advance(from, OrderState::Paid, None),
        Ok(Ok(Capture::Declined)) => cancel(from, Reason::CardDeclined, None),
        Ok(Ok(Capture::Voided)) => cancel(from, Reason::Interrupted, None),
        // The money may have been taken. The void will tell.
        Ok(Err(error)) => {
            tracing::warn!(order.id = %order_id, error = &error as &dyn std::error::Error, "Could not pay; cancelling the order unless it was captured");
            cancel(from, Reason::PaymentUnanswered, None)
        }
        Err(_) => {
            tracing::warn!(order.id = %order_id, "The payment was not answered in time; cancelling the order unless it was captured");
            cancel(from, Reason::PaymentUnanswered, None)
        }
    }
}
