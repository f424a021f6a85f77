//! All SQL. Functions take a connection, so that the caller owns the transaction and the choice between primary and
//! replica is visible where it is made.

pub mod categories;
pub mod outbox;
pub mod photos;
pub mod products;
pub mod reservations;
pub mod stock;
