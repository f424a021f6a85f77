//! What may be true of an order in each state. No I/O: the rules can be read, and tested, by themselves.

use crate::queries::orders::OrderRow;
use crate::queries::payments::PaymentRow;
use crate::queries::reservations::ReservationRow;

/// Whether nothing happens to an order in this state any more.
pub(crate) fn is_at_rest(state: &str) -> bool {
    matches!(state, "confirmed" | "cancelled")
}

/// What is wrong with an order that rests, or has been in the state from before the other databases were read until
/// after it.
pub(crate) fn order(
    order: &OrderRow,
    reservation: Option<&ReservationRow>,
    payment: Option<&PaymentRow>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let reserved = reservation.map_or("none", |reservation| &reservation.state);
    let paid = payment.map_or("none", |payment| &payment.state);
    let (reservations, payments): (&[&str], &[&str]) = match order.state.as_str() {
        "pending" => (&["none", "reserved"], &["none"]),
        "reserved" => (&["reserved"], &["none", "captured", "declined"]),
        "paid" => (&["reserved", "sold"], &["captured"]),
        "confirmed" => (&["sold"], &["captured"]),
        "cancelling" => (
            &["none", "reserved", "released"],
            &["none", "captured", "declined", "voided"],
        ),
        "cancelled" => (&["released"], &["declined", "voided"]),
        other => return vec![format!("the state {other} is unknown")],
    };
    if !reservations.contains(&reserved) {
        wrong.push(format!("the reservation is {reserved}"));
    }
    if !payments.contains(&paid) {
        wrong.push(format!("the payment is {paid}"));
    }
    if reserved == "released" && matches!(paid, "none" | "captured") {
        wrong.push(format!("the reservation was released while the payment is {paid}"));
    }
    if let Some(reservation) = reservation
        && (!reservation.lines.is_empty() || reserved != "released")
        && reservation.lines != order.lines
    {
        wrong.push(format!(
            "inventory has the lines {:?}, the order {:?}",
            reservation.lines, order.lines
        ));
    }
    if let Some(amount_cents) = payment
        .filter(|payment| payment.state == "captured")
        .and_then(|payment| payment.amount_cents)
        && amount_cents != order.total_cents
    {
        wrong.push(format!(
            "{amount_cents} cents were captured, the order is over {}",
            order.total_cents
        ));
    }
    if order.lines.is_empty() || order.lines_cents != order.total_cents {
        wrong.push(format!(
            "the lines make {} cents, the order is over {}",
            order.lines_cents, order.total_cents
        ));
    }
    wrong
}

/// What is wrong with a reservation, given its order's state as read afterwards.
pub(crate) fn reservation(state: &str, order: Option<&str>) -> Option<String> {
    let fits = match (state, order) {
        (_, None) => return Some("there is no such order".to_owned()),
        ("reserved", Some(_)) => true,
        ("sold", Some(order)) => matches!(order, "paid" | "confirmed"),
        ("released", Some(order)) => matches!(order, "cancelling" | "cancelled"),
        _ => false,
    };
    (!fits).then(|| format!("the reservation is {state}, the order {}", order.unwrap_or_default()))
}

/// What is wrong with an entry of the ledger, given its order's state as read afterwards.
pub(crate) fn payment(state: &str, order: Option<&str>) -> Option<String> {
    let fits = match (state, order) {
        (_, None) => return Some("there is no such order".to_owned()),
        ("captured", Some(order)) => {
            matches!(order, "reserved" | "paid" | "confirmed" | "cancelling")
        }
        ("declined", Some(order)) => matches!(order, "reserved" | "cancelling" | "cancelled"),
        ("voided", Some(order)) => matches!(order, "cancelling" | "cancelled"),
        _ => false,
    };
    (!fits).then(|| format!("the payment is {state}, the order {}", order.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(state: &str) -> OrderRow {
        OrderRow {
            user_id: 1,
            order_id: 4097,
            state: state.to_owned(),
            attempt: 1,
            total_cents: 200,
            lines_cents: 200,
            lines: vec!["7 x 2".to_owned()],
            state_seconds: 1.0,
        }
    }

    fn reserved(state: &str, lines: &[&str]) -> ReservationRow {
        let lines = lines.iter().map(|&line| line.to_owned()).collect();
        ReservationRow {
            order_id: 4097,
            state: state.to_owned(),
            lines,
        }
    }

    fn paid(state: &str, amount_cents: i64) -> PaymentRow {
        PaymentRow {
            order_id: 4097,
            state: state.to_owned(),
            amount_cents: Some(amount_cents),
        }
    }

    #[test]
    fn a_confirmed_order_is_sold_and_captured_to_the_row() {
        let sold = reserved("sold", &["7 x 2"]);
        assert!(order(&row("confirmed"), Some(&sold), Some(&paid("captured", 200))).is_empty());
        assert_eq!(order(&row("confirmed"), None, Some(&paid("captured", 200))).len(), 1);
        assert_eq!(order(&row("confirmed"), Some(&sold), None).len(), 1);
        assert_eq!(
            order(&row("confirmed"), Some(&sold), Some(&paid("captured", 199))).len(),
            1
        );
        assert_eq!(
            order(
                &row("confirmed"),
                Some(&reserved("sold", &["7 x 1"])),
                Some(&paid("captured", 200))
            )
            .len(),
            1
        );
    }

    #[test]
    fn a_cancelled_order_has_tombstones_on_both_sides() {
        let released = reserved("released", &[]);
        assert!(order(&row("cancelled"), Some(&released), Some(&paid("voided", 0))).is_empty());
        assert!(!order(&row("cancelled"), None, Some(&paid("voided", 0))).is_empty());
        assert!(!order(&row("cancelled"), Some(&released), None).is_empty());
        assert!(!order(&row("cancelled"), Some(&released), Some(&paid("captured", 200))).is_empty());
    }

    #[test]
    fn what_was_captured_is_never_released() {
        let wrong = order(
            &row("cancelling"),
            Some(&reserved("released", &["7 x 2"])),
            Some(&paid("captured", 200)),
        );
        assert_eq!(wrong.len(), 1);
    }

    #[test]
    fn what_no_order_asked_for_is_wrong() {
        assert!(reservation("released", None).is_some());
        assert!(payment("captured", None).is_some());
        assert!(payment("captured", Some("cancelled")).is_some());
        assert!(
            payment("captured", Some("cancelling")).is_none(),
            "the void will find it and the order goes on"
        );
    }
}
