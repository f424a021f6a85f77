//! All SQL of the service. Every function takes a connection, so that the caller decides which host, which freshness
//! and which transaction.

pub mod accounts;
pub mod cart_jobs;
pub mod emails;
pub mod order_outbox;
pub mod order_steps;
pub mod orders;
pub mod payments;
