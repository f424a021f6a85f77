//! Compares orders, reservations and the ledger, to the row, while the shop sells.
//!
//! The databases have no common snapshot. What is final on one side is read first and must be found on the other side
//! afterwards; what moves is judged only if it stood still while the others were read.

mod audit;
pub mod process;
mod queries;
mod report;
mod rules;

pub use audit::{AuditError, Databases, Options, audit, counts, unconfirmed};
pub use report::{Check, Report};
