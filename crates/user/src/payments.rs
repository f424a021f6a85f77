//! The sandbox payment gateway: a module with a database of its own, which nothing else opens. It behaves as a real
//! gateway would: what was asked of it happens, also if nobody waits for the answer any more.

use std::time::Duration;

use shop_db::{Cluster, DbError};
use tracing::Instrument;

use crate::domain::{CardDetails, CardToken, OrderId};
use crate::queries::payments::{Entry, settle};

/// What a capture came to. A repeat answers the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capture {
    Captured,
    Declined,
    /// The order was voided before.
    Voided,
}

/// What a void came to. A repeat answers the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Void {
    /// Nothing was captured, and nothing ever will be.
    Voided,
    /// Too late: the money is here.
    Captured,
}

#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error("the payment ledger can't be reached")]
    Ledger(#[from] DbError),
    #[error("order {order_id} was captured with {captured_cents} cents and is asked for {asked_cents}")]
    OtherAmount {
        order_id: OrderId,
        captured_cents: i64,
        asked_cents: i64,
    },
    #[error("the payment gateway ended before it answered")]
    Ended,
}

/// How the test cards behave.
#[derive(Debug, Clone, Copy)]
pub struct CardTimings {
    /// When the card that answers late captures, and answers.
    pub late_after: Duration,
    /// How long the card that never answers keeps its caller waiting, if the caller has no deadline of its own.
    pub silence: Duration,
}

impl Default for CardTimings {
    fn default() -> Self {
        Self {
            late_after: Duration::from_secs(4),
            silence: Duration::from_secs(60),
        }
    }
}

/// A handle to the gateway.
#[derive(Clone)]
pub struct Gateway {
    ledger: Cluster,
    timings: CardTimings,
}

impl Gateway {
    pub fn new(ledger: Cluster, timings: CardTimings) -> Self {
        Self { ledger, timings }
    }

    /// Turns a card into what stands for it. Numbers that are no test card are declined.
    pub fn tokenize(card: &CardDetails) -> CardToken {
        match card.number() {
            "4242424242424242" => CardToken::Pays,
            "4000000000009995" => CardToken::TimesOut,
            "4000000000000259" => CardToken::AnswersLate,
            _ => CardToken::Declined,
        }
    }

    /// Captures by order id. The capture is a task of its own: a caller that gives up does not stop it.
    pub async fn capture(
        &self,
        order_id: OrderId,
        amount_cents: i64,
        card: CardToken,
    ) -> Result<Capture, GatewayError> {
        let gateway = self.clone();
        let task = async move { gateway.capture_now(order_id, amount_cents, card).await };
        tokio::spawn(task.in_current_span())
            .await
            .map_err(|_| GatewayError::Ended)?
    }

    async fn capture_now(
        &self,
        order_id: OrderId,
        amount_cents: i64,
        card: CardToken,
    ) -> Result<Capture, GatewayError> {
        if card == CardToken::AnswersLate {
            tokio::time::sleep(self.timings.late_after).await;
        }
        let entry = match card {
            CardToken::Declined => Entry::Declined { amount_cents },
            CardToken::Pays | CardToken::TimesOut | CardToken::AnswersLate => Entry::Captured { amount_cents },
        };
        let settled = self.settle(order_id, entry).await?;
        if card == CardToken::TimesOut {
            tokio::time::sleep(self.timings.silence).await;
        }
        match settled {
            Entry::Captured {
                amount_cents: captured_cents,
            } if captured_cents != amount_cents => Err(GatewayError::OtherAmount {
                order_id,
                captured_cents,
                asked_cents: amount_cents,
            }),
            Entry::Captured { .. } => Ok(Capture::Captured),
            Entry::Declined { .. } => Ok(Capture::Declined),
            Entry::Voided => Ok(Capture::Voided),
        }
    }

    /// Voids by order id; an unknown order gets a tombstone, so that a capture that comes later is refused.
    pub async fn void(&self, order_id: OrderId) -> Result<Void, GatewayError> {
        Ok(match self.settle(order_id, Entry::Voided).await? {
            Entry::Captured { .. } => Void::Captured,
            Entry::Declined { .. } | Entry::Voided => Void::Voided,
        })
    }

    async fn settle(&self, order_id: OrderId, entry: Entry) -> Result<Entry, DbError> {
        let settled = self
            .ledger
            .writing_idempotent(async |mut conn| Ok(settle(&mut conn, order_id, entry).await?));
        settled.await
    }
}
