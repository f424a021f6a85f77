use std::fmt;

use super::UserId;

/// An order's id; it carries its user's slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrderId(pub i64);

impl OrderId {
    /// The id that a number of the cluster's sequence makes for this user, unless the number is absurdly large.
    pub fn allocate(sequence: i64, user: UserId) -> Option<Self> {
        sequence
            .checked_mul(i64::from(shop_db::SLOTS))?
            .checked_add(i64::from(user.slot()))
            .map(Self)
    }

    pub fn slot(self) -> u16 {
        shop_db::slot_of(self.0)
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where an order stands. `Confirmed` and `Cancelled` are for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OrderState {
    Pending,
    Reserved,
    Paid,
    Confirmed,
    Cancelling,
    Cancelled,
}

impl OrderState {
    const ALL: [Self; 6] = [
        Self::Pending,
        Self::Reserved,
        Self::Paid,
        Self::Confirmed,
        Self::Cancelling,
        Self::Cancelled,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Reserved => "reserved",
            Self::Paid => "paid",
            Self::Confirmed => "confirmed",
            Self::Cancelling => "cancelling",
            Self::Cancelled => "cancelled",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Whether nothing will happen to the order any more.
    pub fn is_at_rest(self) -> bool {
        matches!(self, Self::Confirmed | Self::Cancelled)
    }
}

/// Why an order was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Inventory had too few of something.
    SoldOut,
    CardDeclined,
    /// The gateway did not answer in time, and had not captured.
    PaymentUnanswered,
    /// Inventory could not be asked.
    InventoryUnavailable,
    /// The process that ran the checkout ended before the payment.
    Interrupted,
}

impl Reason {
    const ALL: [Self; 5] = [
        Self::SoldOut,
        Self::CardDeclined,
        Self::PaymentUnanswered,
        Self::InventoryUnavailable,
        Self::Interrupted,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::SoldOut => "sold-out",
            Self::CardDeclined => "card-declined",
            Self::PaymentUnanswered => "payment-unanswered",
            Self::InventoryUnavailable => "inventory-unavailable",
            Self::Interrupted => "interrupted",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }

    /// For the customer: what happened, and what to do.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::SoldOut => "Somebody was faster: not enough copies are left. Nothing was charged.",
            Self::CardDeclined => "Your card was declined. Nothing was charged; please try another card.",
            Self::PaymentUnanswered => "The payment could not be completed. Nothing was charged; please try again.",
            Self::InventoryUnavailable => {
                "We could not set the prints aside for you. Nothing was charged; please try again."
            }
            Self::Interrupted => "We were interrupted while placing your order. Nothing was charged; please try again.",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_and_reasons_are_read_back_as_written() {
        for state in OrderState::ALL {
            assert_eq!(OrderState::parse(state.as_str()), Some(state));
        }
        for reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), Some(reason));
        }
    }

    #[test]
    fn an_order_lies_in_its_users_slot() {
        let user = UserId(7 * 4096 + 4095);
        let order = OrderId::allocate(3, user).unwrap();
        assert_eq!(order, OrderId(3 * 4096 + 4095));
        assert_eq!(order.slot(), user.slot());
        assert_eq!(OrderId::allocate(i64::MAX, user), None);
    }
}
